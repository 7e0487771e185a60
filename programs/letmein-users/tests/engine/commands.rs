//! Each command works on users in the database as it does on a users file.

use crate::{STRONG, STRONG2, Site, done, failed, letmein_users};

/// A site with alice, and with bob, who has all that a user can have.
fn two_users() -> Option<Site> {
    let site = Site::new()?;
    let alice = ["add", "alice", "--password-stdin"];
    assert_eq!(site.run_with_input(&alice, STRONG), done(""));
    let bob = [
        "add",
        "bob",
        "--password-stdin",
        "--expires",
        "2999-01-31",
        "--from",
        "10.1.2.3/8",
        "--from",
        "::1",
    ];
    assert_eq!(site.run_with_input(&bob, STRONG2), done(""));
    Some(site)
}

#[test]
fn users_are_added_shown_and_listed() {
    let Some(site) = two_users() else { return };
    let alice = format!("alice {STRONG} false never anywhere");
    assert_eq!(site.users(), format!("{alice}, bob {STRONG2} false 2999-01-31 10.0.0.0/8+::1/128"));
    let table = "NAME   STATE     EXPIRES     FROM\n\
                 alice  enabled   never       anywhere\n\
                 bob    enabled   2999-01-31  10.0.0.0/8 ::1\n";
    assert_eq!(site.run(&["list"]), done(table));
    let json = "{\"name\":\"bob\",\"state\":\"enabled\",\"expires\":\"2999-01-31\",\"from\":[\"10.0.0.0/8\",\"::1\"],\
                \"old_until\":null,\"mechanism\":\"md5\"}\n";
    assert_eq!(site.run(&["show", "bob", "--json"]), done(json));
    let (status, shown, _) = site.run(&["show", "alice"]);
    assert!(status == 0 && shown.starts_with("name          alice\nstate         enabled\n"), "{shown}");
    assert!(!shown.contains("line "), "{shown}");
    assert_eq!(site.run(&["check"]), done("2 users, no problems\n"));
}

#[test]
fn a_generated_password_is_printed_and_is_the_user_s() {
    let Some(site) = Site::new() else { return };
    let (status, password, stderr) = site.run(&["add", "alice", "--generate"]);
    assert_eq!((status, &*stderr), (0, ""));
    let verify = ["verify", "alice", "--password-stdin"];
    assert_eq!(site.run_with_input(&verify, &password), done("alice: the password is right\n"));
    assert_eq!(
        site.run_with_input(&verify, STRONG),
        (1, "alice: the password is wrong\n".into(), String::new())
    );
    assert_eq!(site.run_with_input(&["passwd", "alice", "--password-stdin"], STRONG), done(""));
    assert_eq!(site.run_with_input(&verify, &password).0, 1);
    assert_eq!(site.run_with_input(&verify, STRONG).0, 0);
}

#[test]
fn conditions_and_names_change_and_users_go() {
    let Some(site) = two_users() else { return };
    for (arguments, alice) in [
        (&["disable", "alice"][..], "alice PASSWORD true never anywhere"),
        (&["expire", "alice", "2999-12-31"], "alice PASSWORD true 2999-12-31 anywhere"),
        (&["enable", "alice"], "alice PASSWORD false 2999-12-31 anywhere"),
        (
            &["from", "alice", "10.0.0.1", "2001:db8::/32"],
            "alice PASSWORD false 2999-12-31 10.0.0.1/32+2001:db8::/32",
        ),
        (&["from", "alice", "anywhere"], "alice PASSWORD false 2999-12-31 anywhere"),
        (&["expire", "alice", "never"], "alice PASSWORD false never anywhere"),
        (&["rename", "alice", "al"], "al PASSWORD false never anywhere"),
    ] {
        assert_eq!(site.run(arguments), done(""), "{arguments:?}");
        assert_eq!(
            site.users().split(", ").next().unwrap(),
            alice.replace("PASSWORD", STRONG),
            "{arguments:?}"
        );
    }
    assert_eq!(site.run(&["remove", "al", "--yes"]), done(""));
    assert!(site.users().starts_with("bob "), "{}", site.users());
    assert_eq!(site.database.query("SELECT ARRAY[name] FROM letmein.removed ORDER BY 1"), "al, alice");
    let (status, _, stderr) = site.run(&["expire", "bob", "2001-01-31"]);
    let over = "letmein-users: warning: 2001-01-31 is over: the user is refused from now on\n";
    assert_eq!((status, &*stderr), (0, over));
}

#[test]
fn who_is_not_there_or_is_there_already_is_status_1_before_anybody_is_asked() {
    let Some(site) = two_users() else { return };
    let before = site.users();
    let missing = failed(1, "letmein-users: ENGINE: there is no user eve\n");
    for arguments in [
        &["passwd", "eve", "--generate"][..],
        &["disable", "eve"],
        &["enable", "eve"],
        &["expire", "eve", "never"],
        &["from", "eve", "::1"],
        &["rename", "eve", "mallory"],
        &["remove", "eve"],
        &["remove", "eve", "--yes"],
        &["show", "eve"],
        &["verify", "eve"],
        &["migrate", "eve"],
    ] {
        assert_eq!(site.run(arguments), missing, "{arguments:?}");
    }
    let exists = "letmein-users: ENGINE: there is a user alice already: change the password with passwd\n";
    assert_eq!(site.run(&["add", "alice"]), failed(1, exists));
    let taken = "letmein-users: ENGINE: there is a user bob already: choose another name\n";
    assert_eq!(site.run(&["rename", "alice", "bob"]), failed(1, taken));
    assert_eq!(site.users(), before);
    assert_eq!(
        site.run(&["history", "--limit", "1"]).1.lines().last().unwrap().split_whitespace().next(),
        Some("2")
    );
}

#[test]
fn what_changes_nothing_makes_no_revision() {
    let Some(site) = two_users() else { return };
    for arguments in
        [&["enable", "alice"][..], &["rename", "alice", "alice"], &["from", "bob", "10.0.0.0/8", "::1"]]
    {
        assert_eq!(site.run(arguments), done(""), "{arguments:?}");
    }
    assert_eq!(site.database.query("SELECT ARRAY[revision] FROM letmein.head"), "2");
}

#[test]
fn a_name_is_found_in_whatever_form_it_is_typed_and_written() {
    let Some(site) = Site::new() else { return };
    // As SQL by hand may write it: an accent of its own, and letters of full width.
    site.database.batch(&format!(
        "INSERT INTO letmein.users (name, password) VALUES (U&'zoe\\0308', '{STRONG}'), (U&'\\ff41l', '{STRONG2}')"
    ));
    let exists = site.run(&["add", "zo\u{eb}", "--generate"]);
    assert!(exists.0 == 1 && exists.2.contains("there is a user zoe\u{308} already"), "{exists:?}");
    assert_eq!(site.run(&["disable", "zo\u{eb}"]), done(""));
    assert_eq!(site.run(&["disable", "al"]), done(""));
    let (status, warnings, _) = site.run(&["check"]);
    assert!(status == 0 && warnings.contains("is not in its normal form (RFC 8265)"), "{warnings}");
    assert_eq!(site.run(&["rename", "zo\u{eb}", "zo\u{eb}"]), done(""));
    assert_eq!(site.run(&["rename", "al", "al"]), done(""));
    assert_eq!(
        site.database.query("SELECT ARRAY[name, disabled::text] FROM letmein.users ORDER BY 1"),
        "al true, zo\u{eb} true"
    );
}

#[test]
fn old_passwords_are_refused_with_what_to_do() {
    let Some(site) = two_users() else { return };
    let before = site.users();
    for option in ["--keep-old", "--drop-old"] {
        let (status, _, stderr) = site.run(&["passwd", "alice", option]);
        assert_eq!(status, 2, "{stderr}");
        assert!(stderr.contains("leave --keep-old and --drop-old out"), "{stderr}");
    }
    assert_eq!(site.users(), before);
}

#[test]
fn two_users_with_one_login_are_refused() {
    let Some(site) = Site::new() else { return };
    site.database.batch(&format!("INSERT INTO letmein.users (name, password) VALUES ('al', 'ice{STRONG}')"));
    let (add, before) = (["add", "alice", "--password-stdin"], site.users());
    let equal = "letmein-users: ENGINE: name and password of alice and of al, written together, are the same: change a password\n";
    assert_eq!(site.run_with_input(&add, STRONG), failed(2, equal));
    let list = format!("bo:b{STRONG2}\nbob:{STRONG2}\n");
    let equal = "letmein-users: ENGINE: name and password of bob and of bo, written together, are the same: change a password\n";
    assert_eq!(site.run_with_input(&["import", "-"], &list), failed(2, equal));
    assert_eq!(site.users(), before);
    assert_eq!(site.run_with_input(&add, STRONG2), done(""));
    assert_eq!(site.run_with_input(&["passwd", "alice", "--password-stdin"], STRONG).0, 2);
    site.database.batch(&format!("UPDATE letmein.users SET password = '{STRONG}' WHERE name = 'al'"));
    assert_eq!(
        site.run_with_input(&["passwd", "alice", "--password-stdin"], &format!("x{STRONG}")),
        done("")
    );
    assert_eq!(site.run(&["rename", "al", "alicex"]).0, 2);
}

#[test]
fn more_networks_than_the_database_takes_are_refused_without_asking_it() {
    let Some(site) = two_users() else { return };
    let networks: Vec<_> = (0..65).map(|net| format!("10.{net}.0.0/16")).collect();
    let arguments: Vec<_> =
        ["from", "alice"].into_iter().chain(networks.iter().map(String::as_str)).collect();
    let too_many = "letmein-users: ENGINE: alice has more than 64 networks: put some of them together\n";
    assert_eq!(site.run(&arguments), failed(2, too_many));
    assert_eq!(site.run(&arguments[..66]), done(""));
}

#[test]
fn rows_that_no_server_takes_are_told_and_can_be_changed_and_removed() {
    let Some(site) = two_users() else { return };
    site.database.batch("INSERT INTO letmein.users (name, opaque) VALUES ('carol', '$opaque-3dh$v=9$'), ('dave', '$opaque-3dh$v=1$')");
    let wrong = "letmein-users: ENGINE: the record of carol has a version that this program does not know: install a newer \
                 letmein, or set a new password\n\
                 letmein-users: ENGINE: the record of dave is damaged: take it from a backup, or set a new password\n";
    for command in ["check", "list", "export"] {
        assert_eq!(site.run(&[command]), failed(2, wrong), "{command}");
    }
    assert_eq!(site.run(&["show", "alice"]).0, 0);
    assert_eq!(
        site.run_with_input(&["passwd", "carol", "--md5", "--password-stdin"], &format!("x{STRONG}")),
        done("")
    );
    assert_eq!(site.run(&["remove", "dave", "--yes"]), done(""));
    assert_eq!(site.run(&["check"]), done("3 users, no problems\n"));
}

#[test]
fn rows_whose_rules_somebody_has_dropped_are_told() {
    let Some(site) = two_users() else { return };
    site.database.batch(
        "ALTER TABLE letmein.users DROP CONSTRAINT users_name_colon, DROP CONSTRAINT users_password_length;
         INSERT INTO letmein.users (name, password) VALUES ('a:b', 'p'), ('carol', '')",
    );
    let wrong = "letmein-users: ENGINE: the name a:b has a colon in it: delete its row by SQL\n\
                 letmein-users: ENGINE: the password of carol is empty: set another with passwd\n";
    for command in ["check", "list", "export"] {
        assert_eq!(site.run(&[command]), failed(2, wrong), "{command}");
    }
}

#[test]
fn days_and_networks_that_are_none_are_problems_of_their_rows() {
    let Some(site) = two_users() else { return };
    site.database.batch(
        "ALTER TABLE letmein.users DROP CONSTRAINT users_expires_since_1970, DROP CONSTRAINT users_networks_null;
         UPDATE letmein.users SET expires = 'infinity' WHERE name = 'alice';
         UPDATE letmein.users SET networks = '{::1,NULL}' WHERE name = 'bob';
         INSERT INTO letmein.users (name, password, expires) VALUES ('carol', 'c', '-infinity'), ('dave', 'd', '1969-12-30')",
    );
    let wrong = "letmein-users: ENGINE: the last day infinity of alice is none for logins: set another with expire\n\
                 letmein-users: ENGINE: the network NULL of bob is none for logins: set others with from\n\
                 letmein-users: ENGINE: the last day -infinity of carol is none for logins: set another with expire\n\
                 letmein-users: ENGINE: the last day 1969-12-30 of dave is none for logins: set another with expire\n";
    for command in ["check", "list", "export"] {
        assert_eq!(site.run(&[command]), failed(2, wrong), "{command}");
    }
    for name in ["alice", "carol", "dave"] {
        assert_eq!(site.run(&["expire", name, "2999-12-31"]), done(""));
    }
    assert_eq!(site.run(&["from", "bob", "::1"]), done(""));
    assert_eq!(site.run(&["list"]).0, 0);
}

#[test]
fn a_change_of_which_the_database_leaves_rows_out_is_not_made() {
    let Some(site) = two_users() else { return };
    let before = site.users();
    site.database.batch(
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER leave_out BEFORE INSERT OR UPDATE OR DELETE ON letmein.users
            FOR EACH ROW EXECUTE FUNCTION leave_out()",
    );
    let add = ["add", "carol", "--generate"];
    for arguments in
        [&add[..], &["disable", "alice"], &["rename", "alice", "al"], &["remove", "alice", "--yes"]]
    {
        let (status, stdout, stderr) = site.run(arguments);
        assert!(status == 3 && stdout.is_empty(), "{arguments:?}: {status} {stdout}");
        assert!(stderr.contains("0 of 1 users were written"), "{arguments:?}: {stderr}");
    }
    assert_eq!(site.users(), before);
}

#[test]
fn what_a_role_may_not_do_is_told() {
    let Some(site) = two_users() else { return };
    let node = format!("node_of_{}", site.database.name);
    site.database.batch(&format!("CREATE ROLE {node} LOGIN IN ROLE letmein_server"));
    site.log_in_as(&node);
    assert_eq!(site.run(&["list"]).0, 0);
    for (arguments, remedy) in [
        (&["disable", "alice"][..], "run it as a member of letmein_admin\n"),
        (&["engine", "purge"], "run it as a member of letmein_owner or as a superuser\n"),
    ] {
        let (status, stdout, stderr) = site.run(arguments);
        assert!(
            status == 3 && stdout.is_empty() && stderr.ends_with(remedy),
            "{arguments:?}: {status} {stderr}"
        );
    }
}

#[test]
fn options_that_do_not_go_together_are_a_wrong_command_line() {
    for (arguments, reason) in [
        (&["--engine", "E", "--users", "users.toml", "list"][..], "give --engine or --users"),
        (&["--users", "users.toml", "list", "--engine", "E"], "give --engine or --users"),
        (&["--engine", "E", "keys", "list"], "key and keys are about files: leave --engine out"),
        (&["--engine", "E", "key", "show"], "key and keys are about files: leave --engine out"),
        (&["history"], "say where that is with --engine <FILE>"),
        (&["nodes"], "say where that is with --engine <FILE>"),
    ] {
        let (status, stdout, stderr) = letmein_users(arguments);
        assert!(
            status == 2 && stdout.is_empty() && stderr.contains(reason),
            "{arguments:?}: {status} {stderr}"
        );
    }
    // The example is of the command, wherever that is.
    for arguments in [&["nodes", "x"][..], &["--engine", "E", "nodes", "x"], &["--engine=E", "nodes", "x"]] {
        let (status, _, stderr) = letmein_users(arguments);
        let example = "Example: letmein-users engine status --engine FILE\n";
        assert!(status == 2 && stderr.ends_with(example), "{arguments:?}: {stderr}");
    }
    let (status, _, stderr) = letmein_users(&["--engine", "/nonexistent/engine", "list"]);
    assert!(status == 2 && stderr.contains("/nonexistent/engine"), "{stderr}");
}

#[test]
fn short_help_is_one_screen() {
    for command in ["", "engine", "history", "nodes", "export", "add"] {
        let arguments: Vec<_> = [command, "-h"].into_iter().filter(|word| !word.is_empty()).collect();
        let (status, stdout, _) = letmein_users(&arguments);
        assert!(status == 0 && stdout.lines().count() <= 24, "{command}:\n{stdout}");
        assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{command}:\n{stdout}");
    }
}
