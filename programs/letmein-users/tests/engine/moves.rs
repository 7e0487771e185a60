//! All users, from a file into the database and back.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{STRONG, STRONG2, Site, done, letmein_users, run_with_input};

/// A users file beside the settings.
fn users_file(site: &Site, name: &str, text: &str) -> PathBuf {
    let file = site.file(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

/// What a file has, as it is printed.
fn exported(file: &Path, format: &str) -> String {
    let (status, stdout, stderr) = letmein_users(&["--users", file.to_str().unwrap(), "export", format]);
    assert_eq!((status, &*stderr), (0, ""));
    stdout
}

#[test]
fn nothing_is_lost_from_a_file_into_the_database_and_back() {
    let Some(site) = Site::new() else { return };
    let file = users_file(
        &site,
        "users.toml",
        &format!(
            "# Staff\n[users]\nalice = '{STRONG}'\n\"bob, jr.\" = {{ password = 'a \"b\", c', disabled = true }}\n\
             carol = {{ password = '{STRONG2}', expires = 2027-01-31, from = [\"10.0.0.0/8\", \"2001:db8::1\"] }}\n"
        ),
    );
    for name in ["dave", "erin"] {
        let add = ["--users", file.to_str().unwrap(), "add", name, "--opaque", "--generate", "--from", "::1"];
        assert_eq!(letmein_users(&add).0, 0);
    }
    let table = exported(&file, "--csv");
    assert!(table.contains("\n\"bob, jr.\",\"a \"\"b\"\", c\",true,,\n"), "{table}");

    let key = site.file("letmein.key");
    let import = ["--key-file", key.to_str().unwrap(), "import", "--csv", "-"];
    let (status, stdout, _) = site.run_with_input(&import, &table);
    assert_eq!((status, &*stdout), (0, "+5 users, 0 changed\n"));
    let rows = format!(
        "alice {STRONG} false never anywhere, bob, jr. a \"b\", c true never anywhere, \
         carol {STRONG2} false 2027-01-31 10.0.0.0/8+2001:db8::1/128, dave record false never ::1/128, \
         erin record false never ::1/128"
    );
    assert_eq!(site.users(), rows);
    assert_eq!(site.run(&["export", "--csv"]), done(&table));
    assert_eq!(site.run(&["export"]), done(&table));

    let back = site.file("back.toml");
    let import =
        ["--users", back.to_str().unwrap(), "--key-file", key.to_str().unwrap(), "import", "--csv", "-"];
    assert_eq!(run_with_input(&import, &site.run(&["export"]).1).0, 0);
    assert_eq!(exported(&back, "--csv"), table);
    assert_eq!(exported(&back, "--toml"), exported(&file, "--toml"));

    // As a file, too.
    let toml = users_file(&site, "toml.toml", &site.run(&["export", "--toml"]).1);
    assert_eq!(exported(&toml, "--csv"), table);
}

#[test]
fn a_table_leaves_old_passwords_out_and_says_so() {
    let Some(site) = Site::new() else { return };
    let text = format!(
        "[users]\nalice = {{ password = '{STRONG}', old_password = 'old', old_until = 2999-01-31 }}\n"
    );
    let file = users_file(&site, "users.toml", &text);
    let (status, stdout, stderr) = letmein_users(&["--users", file.to_str().unwrap(), "export", "--csv"]);
    assert_eq!((status, stdout), (0, format!("name,password,disabled,expires,from\nalice,{STRONG},,,\n")));
    let left_out = "letmein-users: warning: the old password of alice is left out: a table has no column for it, and --toml \
                    writes it\n";
    assert_eq!(stderr, left_out);
    let toml = exported(&file, "--toml");
    assert!(toml.contains("old_password = \"old\", old_until = 2999-01-31"), "{toml}");
    assert_eq!(exported(&users_file(&site, "again.toml", &toml), "--toml"), toml);
}

#[test]
fn a_list_is_imported_whole_or_not_at_all() {
    let Some(site) = Site::new() else { return };
    let list = format!(
        "name,password,disabled,expires,from\nalice,{STRONG},true,2999-01-31,::1 10.0.0.0/8\nbob,{STRONG2},,,\n"
    );
    assert_eq!(site.run_with_input(&["import", "--csv", "-"], &list), done("+2 users, 0 changed\n"));
    let users = site.users();
    assert_eq!(
        users,
        format!("alice {STRONG} true 2999-01-31 ::1/128+10.0.0.0/8, bob {STRONG2} false never anywhere")
    );
    let (status, _, stderr) =
        site.run_with_input(&["import", "-"], &format!("carol:x{STRONG}\nbob:x{STRONG2}\n"));
    let exists =
        "letmein-users: standard input:2: there is a user bob already: --replace changes the password\n";
    assert_eq!((status, &*stderr), (2, exists));
    assert_eq!(site.users(), users);
    let list = format!("carol:x{STRONG}\nbob:x{STRONG2}\nalice:{STRONG}\n");
    assert_eq!(site.run_with_input(&["import", "--replace", "-"], &list), done("+1 user, 1 changed\n"));
    let changes = "SELECT ARRAY[what] FROM letmein.changes WHERE revision > 0 ORDER BY revision";
    assert_eq!(site.database.query(changes), "import 2 users, import 3 users");
    assert!(site.users().starts_with(&format!("alice {STRONG} true 2999-01-31")), "{}", site.users());
}

#[test]
fn a_list_may_give_a_new_user_the_login_that_another_has_had() {
    let Some(site) = Site::new() else { return };
    assert_eq!(
        site.run_with_input(&["import", "-"], &format!("al:ice{STRONG}\n")),
        done("+1 user, 0 changed\n")
    );
    let list = format!("al:{STRONG2}\nalice:{STRONG}\n");
    assert_eq!(site.run_with_input(&["import", "--replace", "-"], &list), done("+1 user, 1 changed\n"));
}

#[test]
fn a_hundred_thousand_users_are_imported_in_one_change_and_exported() {
    let Some(site) = Site::new() else { return };
    // Of weak passwords there are warnings, which are soon enough; to say that one is strong takes longer.
    let rows = (0..100_000).map(|number| format!("user{number:06},first,,,\n"));
    let table: String =
        ["name,password,disabled,expires,from\n".to_owned()].into_iter().chain(rows).collect();
    let (status, stdout, _) = site.run_with_input(&["import", "--csv", "-"], &table);
    assert_eq!((status, &*stdout), (0, "+100000 users, 0 changed\n"));
    assert_eq!(site.database.query("SELECT ARRAY[revision] FROM letmein.head"), "1");
    assert_eq!(site.run(&["export"]), done(&table));
    let table = table.replace("first", "second");
    let (status, stdout, _) = site.run_with_input(&["import", "--csv", "--replace", "-"], &table);
    assert_eq!((status, &*stdout), (0, "+0 users, 100000 changed\n"));
    assert_eq!(site.run(&["export"]), done(&table));
}
