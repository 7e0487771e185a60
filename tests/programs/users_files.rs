//! Users files that keep a server from starting, and those about which it warns.

use server::settings::program;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use proto::transport::Transport;
use tempfile::TempDir;

use crate::reloads::{Folder, logged};
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, installed, path, run, server, users_file};

/// In every file below, and never to be shown.
const SECRET: &str = "hunter2secret";
const REAL_USERS: &str = "[users]\nalice = \"hunter2secret\"\n";

/// Status 2, nothing on standard output, and no password anywhere; gives what was said with the file's name as FILE.
fn complaint(contents: impl AsRef<[u8]>) -> String {
    let file = users_file(contents);
    let ended = Server::refusal(Transport::Udp, &["127.0.0.1:0", "--users", path(&file)]);
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    assert!(!ended.stderr.contains(SECRET), "{ended:?}");
    ended.stderr.replace(path(&file), "FILE")
}

/// Each line comes third in a file, after the section and a user.
fn assert_third_line(line: &str, column: usize, problem: &str) {
    let complaint = complaint(format!("{REAL_USERS}{line}\n"));
    assert_eq!(complaint.lines().count(), 1, "{line}\n{complaint}");
    assert!(complaint.starts_with(&format!("server-udp: FILE:3:{column}: {problem}")), "{line}\n{complaint}");
}

#[test]
fn a_wrong_name_is_shown_with_its_place_and_a_remedy() {
    let long = "u".repeat(65);
    for (name, rule) in [
        (&*long, "is longer than 64 bytes"),
        ("\"al:ice\"", "has a colon in it"),
        ("\"al\\tice\"", "has a control character in it"),
        ("\" bob\"", "begins or ends with white space"),
        ("\"bob \"", "begins or ends with white space"),
        ("\"\"", "is empty"),
    ] {
        let problem = format!("the user name {rule}: choose another");
        assert_third_line(&format!("{name} = \"hunter2secret2\""), 1, &problem);
    }
}

#[test]
fn a_wrong_password_is_not_shown_but_its_place_and_a_remedy_are() {
    let long = format!("\"{}\"", SECRET.repeat(10));
    for (password, problem) in [
        (&*long, "is longer than 128 bytes: choose another"),
        ("\"\"", "is empty: give them one"),
        ("\"hunter2secret\\u0000\"", "has a NUL in it: choose another"),
        ("12345678", "is no string: put it between quotes"),
        ("[\"hunter2secret\"]", "is no string: put it between quotes"),
    ] {
        assert_third_line(&format!("bob = {password}"), 7, &format!("the password of bob {problem}"));
        let in_table = format!("bob = {{ password = {password} }}");
        assert_third_line(&in_table, 20, &format!("the password of bob {problem}"));
    }
}

#[test]
fn a_wrong_condition_is_shown_with_its_place_and_a_remedy() {
    const DAY: &str = "expires is the last good day, as in 2027-01-31, without quotes";
    const NETWORKS: &str = "from is a list of networks, as in [\"10.0.0.0/8\", \"2001:db8::1\"]";
    for (condition, offset, problem) in [
        ("colour = 1", 0, "unknown key \"colour\": a user has password, disabled, expires and from"),
        ("disabled = \"yes\"", 11, "disabled is true or false"),
        ("disabled = 1", 11, "disabled is true or false"),
        ("expires = \"2027-01-31\"", 10, DAY),
        ("expires = 2027-01-31T00:00:00Z", 10, DAY),
        ("from = \"10.0.0.0/8\"", 7, NETWORKS),
        ("from = []", 7, NETWORKS),
        ("from = [\"10.0.0.0/8\", \"office\"]", 22, "no network: write \"10.0.0.0/8\", "),
        ("from = [\"10.0.0.0/33\"]", 8, "no network: write \"10.0.0.0/8\", "),
    ] {
        let before = "bob = { password = \"hunter2secret2\", ";
        assert_third_line(&format!("{before}{condition} }}"), before.len() + offset + 1, problem);
    }
}

#[test]
fn a_day_that_is_not_in_the_calendar_is_shown_with_its_place() {
    let complaint = complaint("[users]\nalice = { password = \"hunter2secret\", expires = 2027-02-31 }\n");
    assert!(complaint.starts_with("server-udp: FILE:2:"), "{complaint}");
    assert!(complaint.contains("day"), "{complaint}");
}

#[test]
fn a_user_without_a_password_is_shown_with_their_place_and_a_remedy() {
    assert_third_line("bob = { disabled = true }", 7, "bob has no password: add password = \"…\"");
}

#[test]
fn a_name_that_is_there_twice_is_shown_with_its_place_and_a_remedy() {
    // With a colon and a remedy, as all the others.
    assert_third_line("alice = \"hunter2secret2\"", 1, "duplicate key: ");
}

#[test]
fn two_users_who_could_log_in_as_each_other_are_shown_with_a_remedy() {
    let complaint = complaint("[users]\nal = \"icexyz\"\nbob = \"hunter2secret\"\nalice = \"xyz\"\n");
    assert_eq!(
        complaint,
        "server-udp: FILE:4:1: name and password of alice and of al, written together, are the same: \
         change a password\n"
    );
}

#[test]
fn a_file_without_the_section_of_users_is_shown_with_a_remedy() {
    const MISSING: &str = "1:1: there is no section [users]: add it";
    const UNKNOWN: &str = "1:1: unknown key \"alice\": users go into the section [users]";
    for (text, problem) in [
        ("", MISSING),
        ("# alice = \"hunter2secret\"\n", MISSING),
        ("alice = \"hunter2secret\"\n", UNKNOWN),
        ("users = \"hunter2secret\"\n", "1:9: users is no section: write [users]"),
        ("colour = 1\n[users]\nalice = \"hunter2secret\"\n", "1:1: unknown key \"colour\": users go into"),
        ("[users]\nalice = \"hunter2secret\"\n[colour]\n", "3:2: unknown key \"colour\": users go into"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.starts_with(&format!("server-udp: FILE:{problem}")), "{text:?}: {complaint}");
    }
}

#[test]
fn a_text_that_is_not_toml_is_shown_with_its_place_and_what_was_expected() {
    for (text, problem) in [
        ("[users]\nuserone = ", "2:11: string values must be quoted"),
        ("[users]\nuserone = hunter2secret\n", "2:11: string values must be quoted"),
        ("[users]\nuserone = \"hunter2secret\n", "2:25: invalid basic string, expected"),
        ("[users]\nbob hunter2secret\n", "2:5: key with no value, expected `=`"),
        ("[users\nalice = \"hunter2secret\"\n", "1:7: "),
    ] {
        let complaint = complaint(text);
        assert!(complaint.starts_with(&format!("server-udp: FILE:{problem}")), "{text:?}: {complaint}");
    }
}

#[test]
fn a_file_that_is_not_utf8_is_shown_with_its_line_and_a_remedy() {
    let complaint = complaint(b"[users]\nalice = \"hunter2secret\"\nbob = \"hunter2secret\xff\"\n");
    assert_eq!(complaint, "server-udp: FILE:3:1: this line is not UTF-8: save the file as UTF-8\n");
}

#[test]
fn a_file_that_is_not_there_is_shown_with_a_remedy() {
    for transport in TRANSPORTS {
        let ended = Server::refusal(transport, &["127.0.0.1:0", "--users", "/nosuch/users.toml"]);
        assert_eq!((ended.status, &*ended.stdout, ended.stderr.lines().count()), (2, "", 1), "{ended:?}");
        let start = format!("{}: /nosuch/users.toml: ", program(transport));
        assert!(ended.stderr.starts_with(&start), "{ended:?}");
        assert!(ended.stderr.contains("name another with --users FILE"), "{ended:?}");
    }
}

#[test]
fn all_problems_of_a_file_are_listed_in_its_order() {
    let complaint = complaint(
        "colour = 1\n\
         [users]\n\
         \"al:ice\" = \"hunter2secret\"\n\
         bob = 7\n\
         carol = { password = \"hunter2secret\", disabled = 1, expires = 1, from = [1, \"::1\", \"x\"] }\n\
         dave = {}\n",
    );
    let place = |line: &str| line.split(": ").find_map(|word| word.strip_prefix("FILE:").map(str::to_owned));
    let places: Vec<_> = complaint.lines().filter_map(place).collect();
    assert_eq!(places, ["1:1", "3:1", "4:7", "5:50", "5:63", "5:74", "5:84", "6:8"], "{complaint}");
}

#[test]
fn a_user_without_a_password_has_their_other_problems_listed_too() {
    let complaint = complaint("[users]\nalice = { disabled = 1 }\n# hunter2secret\n");
    assert!(complaint.contains("FILE:2:9: alice has no password"), "{complaint}");
    assert!(complaint.contains("FILE:2:22: disabled is true or false"), "{complaint}");
}

#[test]
fn of_very_many_problems_the_first_are_listed_and_the_others_counted() {
    let users: String = (0..25).map(|number| format!("u{number} = {number}\n")).collect();
    let complaint = complaint(format!("{REAL_USERS}{users}"));
    assert_eq!(complaint.lines().count(), 21, "{complaint}");
    assert!(complaint.ends_with("\nFILE: 5 more problems\n"), "{complaint}");
}

#[test]
fn a_file_as_editors_on_windows_save_it_is_good() {
    let text = format!("\u{feff}{REAL_USERS}").replace('\n', "\r\n");
    let server = Server::with_users(Transport::Udp, &text);
    assert_eq!(server.login(&["alice", SECRET]).status, 0);
}

/// What a server with this file of this mode said about it, over its whole life.
fn said(users: &str, mode: u32) -> String {
    let file = users_file(users);
    fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
    let server = Server::start(Transport::Udp, &["127.0.0.1:0", "--users", path(&file)]);
    let Ended { status, stdout, stderr } = server.stop(libc::SIGTERM);
    assert_eq!((status, &*stdout), (0, ""));
    stderr.replace(path(&file), "FILE")
}

#[test]
fn passwords_that_others_can_read_are_warned_of() {
    let said = said(REAL_USERS, 0o644);
    let warning = " WARN FILE: others can read the passwords in it: chmod o-r FILE\n";
    assert!(said.contains(warning) && !said.contains(SECRET), "{said}");
}

#[test]
fn a_file_that_everybody_can_write_is_refused() {
    for mode in [0o602, 0o666] {
        let file = users_file(REAL_USERS);
        fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        let ended = Server::refusal(Transport::Udp, &["127.0.0.1:0", "--users", path(&file)]);
        assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains("everybody can write it, and so log in: chmod o-w"), "{ended:?}");
    }
}

#[test]
fn a_link_is_followed_if_root_or_the_servers_user_made_it() {
    let (folder, file) = (tempfile::tempdir().unwrap(), users_file(REAL_USERS));
    let link = folder.path().join("users.toml");
    symlink(file.path(), &link).unwrap();
    let link = link.to_str().unwrap();
    drop(Server::start(Transport::Udp, &["127.0.0.1:0", "--users", link]));
    if lchown(link, Some(1), None).is_err() {
        println!("skipped: only root can make a link that another user owns");
        return;
    }
    let ended = Server::refusal(Transport::Udp, &["127.0.0.1:0", "--users", link]);
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    assert!(ended.stderr.contains("a symbolic link that another user owns"), "{ended:?}");
}

#[test]
fn a_file_that_is_private_or_holds_nothing_but_samples_is_not_warned_of() {
    let samples = fs::read_to_string(SAMPLES).unwrap();
    for (users, mode) in [(REAL_USERS, 0o600), (REAL_USERS, 0o640), (&samples, 0o644), (&samples, 0o600)] {
        let said = said(users, mode);
        assert!(!said.contains("WARN FILE"), "{said}");
    }
}

#[test]
fn a_file_without_users_is_warned_of() {
    let said = said("[users]\n", 0o600);
    assert!(said.contains(" WARN FILE: there are no users in it: everybody will be refused\n"), "{said}");
}

#[test]
fn sample_passwords_are_not_served_to_other_machines_unless_the_operator_insists() {
    let with_one = users_file("[users]\nalice = \"hunter2secret\"\nbob = \"passwordtwo\"\n");
    for transport in TRANSPORTS {
        for (users, user) in [(SAMPLES, "user"), (path(&with_one), "bob")] {
            let ended = Server::refusal(transport, &["0.0.0.0:0", "--users", users]);
            assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
            let start = format!("{}: {users}: {user}", program(transport));
            assert!(ended.stderr.starts_with(&start), "{ended:?}");
            assert!(ended.stderr.contains("--allow-sample-users"), "{ended:?}");
            Server::start(transport, &["0.0.0.0:0", "--users", users, "--allow-sample-users"]);
        }
    }
}

#[test]
fn the_refusal_to_serve_sample_passwords_is_one_line() {
    let ended = Server::refusal(Transport::Udp, &["0.0.0.0:0", "--users", SAMPLES]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("  ") && !ended.stderr.contains('\\'), "{}", ended.stderr);
}

#[test]
fn users_with_passwords_of_their_own_are_served_to_other_machines() {
    let users = users_file(REAL_USERS);
    for transport in TRANSPORTS {
        let server = Server::start(transport, &["0.0.0.0:0", "--users", path(&users)]);
        assert!(server.address.ip().is_unspecified());
    }
}

#[test]
fn a_check_says_how_a_server_would_run_and_takes_no_socket() {
    let users = users_file("[users]\nalice = \"password\"\n");
    for transport in TRANSPORTS {
        let running = Server::over(transport);
        let address = running.address.to_string();
        let args =
            [&*address, "--users", path(&users), "--check", "--failures", "5/30s", "--trust", "10.0.0.0/8"];
        let Ended { status, stdout, stderr } = run(server(transport).args(args));
        assert_eq!((status, &*stderr), (0, ""));
        let settings: Vec<_> =
            stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for setting in [
            format!("address {address}"),
            format!("service logins over {transport}"),
            "failed logins of a source that are free 5 in 30 s".to_owned(),
            "failed logins of a user that are free 60 in 60 s".to_owned(),
            "networks whose failed logins are all free 10.0.0.0/8".to_owned(),
            "audit none".to_owned(),
            "sandbox on".to_owned(),
            "users 1".to_owned(),
        ] {
            assert!(settings.contains(&setting), "{setting}: {stdout}");
        }
    }
}

#[test]
fn a_check_refuses_what_a_server_would_refuse() {
    let wrong = users_file("[users]\nalice = 5\n");
    let ended = run(server(Transport::Udp).args(["--users", path(&wrong), "--check"]));
    assert_eq!((ended.status, &*ended.stdout), (2, ""));
    assert!(ended.stderr.contains(":2:9: "), "{ended:?}");
    let ended = run(server(Transport::Udp).args(["0.0.0.0:0", "--users", SAMPLES, "--check"]));
    assert!(ended.status == 2 && ended.stderr.contains("sample password"), "{ended:?}");
    assert_eq!(
        run(server(Transport::Udp).args(["--users", SAMPLES, "--check", "--user", "nobody-of-this-name"]))
            .status,
        3
    );
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives a file to another user, which only root can.
fn give_away(path: &Path) -> bool {
    let given = chown(path, Some(1), None).is_ok();
    if !given {
        println!("skipped: only root can give a file to another user");
    }
    given
}

/// What a server says that does not start with this file, and what a check says of it, which is the same.
fn refused_with(users: &Path) -> String {
    let args = ["127.0.0.1:0", "--users", users.to_str().unwrap()];
    let ended = Server::refusal(Transport::Udp, &args);
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    assert_eq!(run(server(Transport::Udp).args(args).arg("--check")), ended);
    ended.stderr
}

#[test]
fn a_file_that_everybody_can_replace_is_refused_at_the_start_and_at_a_reload() {
    let outer = TempDir::new().unwrap();
    let (inner, users) = (outer.path().join("inner"), outer.path().join("inner/users.toml"));
    fs::create_dir(&inner).unwrap();
    fs::write(&users, REAL_USERS).unwrap();
    for open in [&*inner, outer.path()] {
        let open_folder = open.canonicalize().unwrap();
        set_mode(open, 0o777);
        let remedy = format!("so replace the file: chmod o-w {}, or keep", open_folder.display());
        assert!(refused_with(&users).contains(&remedy));
        set_mode(open, 0o755);
    }
    let links = TempDir::new().unwrap();
    symlink(&inner, links.path().join("link")).unwrap();
    set_mode(links.path(), 0o777);
    assert!(refused_with(&links.path().join("link/users.toml")).contains("so replace the file: chmod o-w"));
    let mut server = Server::start(Transport::Udp, &["127.0.0.1:0", "--users", users.to_str().unwrap()]);
    set_mode(&inner, 0o777);
    fs::write(&users, "[users]\nmallory = 'one'\n").unwrap();
    logged(&mut server, "so replace the file: chmod o-w");
    logged(&mut server, "the users stay as they were");
    assert_eq!(server.login(&["alice", SECRET]).status, 0);
}

#[test]
fn where_everybody_can_make_files_only_those_of_root_and_the_servers_user_are_taken_and_no_links() {
    let folder = TempDir::new().unwrap();
    set_mode(folder.path(), 0o1777);
    let (users, link) = (folder.path().join("users.toml"), folder.path().join("link.toml"));
    fs::write(&users, REAL_USERS).unwrap();
    let mut server = Server::start(Transport::Udp, &["127.0.0.1:0", "--users", users.to_str().unwrap()]);
    symlink(&users, &link).unwrap();
    assert!(refused_with(&link).contains("a symbolic link in a folder in which everybody can make files"));
    if give_away(&users) {
        assert!(refused_with(&users).contains("another user owns it, in a folder in which everybody"));
        server.signal(libc::SIGHUP);
        logged(&mut server, "another user owns it, in a folder in which everybody can make files");
    }
}

#[test]
fn a_folder_that_another_user_made_where_everybody_can_is_refused() {
    let outer = TempDir::new().unwrap();
    let inner = outer.path().join("inner");
    let (users, linked) = (inner.join("users.toml"), outer.path().join("link/users.toml"));
    fs::create_dir(&inner).unwrap();
    fs::write(&users, REAL_USERS).unwrap();
    symlink(&inner, outer.path().join("link")).unwrap();
    set_mode(outer.path(), 0o1777);
    if !give_away(&inner) {
        return;
    }
    let reason = "another user owns it, in a folder in which everybody can make files";
    assert!(refused_with(&users).contains(reason));
    let args = ["--users", users.to_str().unwrap()];
    let ended = run(server(Transport::Udp).arg("--self-test").args(args));
    assert!(ended.status == 2 && ended.stderr.contains(reason), "{ended:?}");
    set_mode(outer.path(), 0o755);
    assert_eq!(run(server(Transport::Udp).arg("--check").args(args)).status, 0);
    set_mode(outer.path(), 0o1777);
    chown(&inner, Some(0), None).unwrap();
    lchown(outer.path().join("link"), Some(1), None).unwrap();
    assert!(refused_with(&linked).contains(reason));
}

/// What a check says of a file in a folder of this mode on a mount that is read-only.
fn checked_on_a_read_only_mount(mount: &str, mode: &str) -> Option<Ended> {
    let folder = TempDir::new().unwrap();
    let script = "cd $0 && mkdir volume && eval $1 && mkdir volume/data && cp $4 volume/data/users.toml && \
        chmod 600 volume/data/users.toml && ln -s data/users.toml volume/users.toml && chmod $2 volume && \
        mount -o remount,bind,ro volume && exec $3 --check --users $0/volume/users.toml";
    let users = users_file(REAL_USERS);
    let mut command = installed("unshare")?;
    if !installed("unshare")?.args(["--mount", "true"]).status().unwrap().success() {
        println!("skipped: only root can mount");
        return None;
    }
    command.args(["--mount", "sh", "-c", script, folder.path().to_str().unwrap(), mount, mode]);
    Some(run(command.args([env!("CARGO_BIN_EXE_server-udp"), path(&users)])))
}

#[test]
fn a_folder_that_everybody_can_write_is_refused_on_a_read_only_mount_too_but_a_secret_of_kubernetes_is_not() {
    let (disk, memory) = ("mount --bind volume volume", "mount -t tmpfs tmpfs volume");
    for (mount, mode, status) in
        [(disk, "777", 2), (disk, "1777", 2), (memory, "777", 2), (memory, "1777", 0)]
    {
        let Some(ended) = checked_on_a_read_only_mount(mount, mode) else { return };
        assert_eq!(ended.status, status, "{mount} {mode}: {ended:?}");
    }
}

#[test]
fn a_file_that_another_user_owns_is_warned_of_unless_the_server_becomes_that_user() {
    let folder = Folder::with("alice = 'hunter2secret'");
    if !give_away(&folder.path()) {
        return;
    }
    let users = folder.path();
    let args = ["127.0.0.1:0", "--users", users.to_str().unwrap()];
    let mut warned = Server::start(Transport::Udp, &args);
    let warning = format!("WARN {}: another user owns it, and can make themselves a user", users.display());
    logged(&mut warned, &warning);
    set_mode(users.parent().unwrap(), 0o755);
    let own = run(server(Transport::Udp).args(args).args(["--check", "--user", "daemon"]));
    assert!(own.status == 0 && !own.stderr.contains("another user"), "{own:?}");
}

#[test]
fn a_check_reads_the_file_and_opens_the_audit_as_the_servers_user() {
    let folder = Folder::with("alice = 'hunter2secret'");
    let (users, audit) = (folder.path(), folder.path().with_file_name("audit.jsonl"));
    let check = |more: &[&str]| {
        let users = ["--users", users.to_str().unwrap(), "--check", "--user", "nobody"];
        run(server(Transport::Udp).args(users).args(more))
    };
    if !give_away(&users) {
        return;
    }
    set_mode(users.parent().unwrap(), 0o755);
    set_mode(&users, 0o640);
    let ended = check(&[]);
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    let remedy = format!("(chgrp letmein-auth {users}; chmod 640 {users})", users = users.display());
    assert!(ended.stderr.contains("Permission denied") && ended.stderr.contains(&remedy), "{ended:?}");

    let args = ["127.0.0.1:0", "--users", users.to_str().unwrap(), "--user", "nobody"];
    let mut running = Server::start(Transport::Udp, &args);
    assert!(logged(&mut running, "Permission denied").contains(&remedy));
    logged(&mut running, "cannot be read again: changes to it will have no effect");

    set_mode(&users, 0o644);
    assert_eq!(check(&[]).status, 0);
    let with_audit = ["--audit", audit.to_str().unwrap()];
    let ended = check(&with_audit);
    assert!(ended.status == 3 && ended.stderr.contains("let the server's user write it"), "{ended:?}");
    fs::write(&audit, "").unwrap();
    assert_eq!(check(&with_audit).status, 3);
    set_mode(&audit, 0o666);
    assert_eq!(check(&with_audit).status, 0);
    fs::remove_file(&audit).unwrap();
    set_mode(users.parent().unwrap(), 0o1777);
    chown(&users, Some(0), None).unwrap();
    assert_eq!(check(&with_audit).status, 0);
    assert!(!audit.exists());
}

#[test]
fn a_server_that_does_not_see_its_way_to_the_file_reads_it_again_all_the_same() {
    let outer = TempDir::new().unwrap();
    let users = outer.path().join("inner/users.toml");
    fs::create_dir(users.parent().unwrap()).unwrap();
    fs::write(&users, REAL_USERS).unwrap();
    let args = ["127.0.0.1:0", "--users", users.to_str().unwrap(), "--user", "nobody"];
    if !give_away(&users) {
        return;
    }
    set_mode(outer.path(), 0o700);
    let mut server = Server::start(Transport::Udp, &args);
    fs::write(&users, "[users]\nalice = 'another'\n").unwrap();
    logged(&mut server, "1 changed (alice)");
    assert_eq!(server.login(&["alice", "another"]).status, 0);
}

#[test]
fn a_check_of_a_file_without_users_is_status_2() {
    let empty = users_file("[users]\n");
    let ended = run(server(Transport::Udp).args(["--users", path(&empty), "--check"]));
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    assert!(ended.stderr.contains("there are no users in it, so nobody can log in: add one"), "{ended:?}");
}
