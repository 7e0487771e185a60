//! What is shown of one user, and whether a password is theirs.

use std::fs;

use proto::transport::Transport;

use super::{Folder, SECRET, STRONG, STRONG2, TEXT, done, not_done};
use crate::running::{Ended, Server, path, users_file};

const FORM: &str = "in a form that clients do not send (RFC 8265)";

/// Users of every kind.
fn folder() -> Folder {
    Folder::with(&format!(
        "[users]
alice = \"hunter2secret\"
bob = {{ password = \"{STRONG}\", disabled = true, expires = 2099-12-31, from = [\"10.0.0.0/8\", \"::1\"] }}
carol = {{ password = \"{STRONG2}\", old_password = \"hunter2secret2\", old_until = 2099-12-31 }}
dave = {{ password = \"{STRONG}x\", old_password = \"hunter2secret3\", old_until = 2001-01-31, expires = 2001-01-31 }}
erik = \"{STRONG}e\u{308}\"
\"zoe\u{308}\" = \"{STRONG}z\"
"
    ))
}

#[test]
fn all_about_a_user_is_shown_but_the_password() {
    let Ended { status, stdout, stderr } = folder().run(&["show", "bob"]);
    assert_eq!((status, &*stderr), (0, ""));
    assert!(!stdout.contains(STRONG), "{stdout}");
    let rows: Vec<_> = stdout.lines().map(|line| line.split_at(14)).collect();
    let shown: Vec<_> = rows.iter().filter(|(what, _)| what.trim_end() != "password").copied().collect();
    assert_eq!(
        shown,
        [
            ("name          ", "bob"),
            ("state         ", "disabled"),
            ("expires       ", "2099-12-31"),
            ("from          ", "10.0.0.0/8 ::1"),
            ("old password  ", "none"),
            ("line          ", "3 of FILE"),
        ]
    );
    for (name, row) in [
        ("alice", "password      one GPU needs "),
        ("alice", " to guess it, so it is weak\n"),
        ("alice", "expires       never\nfrom          anywhere\n"),
        ("carol", "old password  good until 2099-12-31\n"),
        ("dave", "state         expired\n"),
        ("dave", "old password  was good until 2001-01-31\n"),
        ("zo\u{eb}", "name          zoe\u{308}\n"),
    ] {
        let Ended { stdout, .. } = folder().run(&["show", name]);
        assert!(stdout.contains(row), "{name}: {stdout}");
    }
    let json = "{\"name\":\"carol\",\"state\":\"enabled\",\"expires\":null,\"from\":[],\"old_until\":\"2099-12-31\",\"mechanism\":\"md5\"}\n";
    assert_eq!(folder().run(&["show", "carol", "--json"]), done(json));
    assert_eq!(folder().run(&["show", "eve"]), not_done(1, "FILE: there is no user eve"));
}

#[test]
fn a_password_is_the_users_or_not() {
    for (name, password, status, what) in [
        ("alice", SECRET, 0, "alice: the password is right"),
        ("alice", "hunter2", 1, "alice: the password is wrong"),
        ("bob", STRONG, 0, "bob: the password is right; the user is disabled"),
        ("bob", SECRET, 1, "bob: the password is wrong; the user is disabled"),
        ("carol", STRONG2, 0, "carol: the password is right"),
        ("carol", "hunter2secret2", 0, "carol: this is the old password, which is good until 2099-12-31"),
        ("dave", "hunter2secret3", 1, "dave: this was the password until 2001-01-31; the user is expired"),
        (
            "erik",
            &format!("{STRONG}\u{eb}"),
            1,
            &format!("erik: the password is right, but the file has it {FORM}: set it again with passwd"),
        ),
        (
            "zo\u{eb}",
            &format!("{STRONG}z"),
            1,
            &format!(
                "zoe\u{308}: the password is right, but the file has the name {FORM}: rename it to itself"
            ),
        ),
        ("zoe\u{308}", "hunter2", 1, "zoe\u{308}: the password is wrong"),
    ] {
        let expected = Ended { status, stdout: format!("{what}\n"), stderr: String::new() };
        let folder = folder();
        assert_eq!(folder.run_with_input(&["verify", name, "--password-stdin"], password), expected);
        let file = users_file(password);
        assert_eq!(folder.run(&["verify", name, "--password-file", path(&file)]), expected);
        // A server agrees, unless the user may not log in at all.
        if !what.contains("; the user is ") {
            let server = Server::with_users(Transport::Udp, &folder.text());
            assert_eq!(server.login(&[name, password]).status, status, "{what}");
        }
    }
}

#[test]
fn a_password_without_a_user_a_file_or_a_terminal_is_not_verified() {
    let folder = folder();
    let no_user = not_done(1, "FILE: there is no user eve");
    assert_eq!(folder.run_with_input(&["verify", "eve", "--password-stdin"], SECRET), no_user);
    let Ended { status, stderr, .. } = folder.run(&["verify", "alice"]);
    let reason = "no password given, and no terminal to ask for one: add --password-file or --password-stdin";
    assert!(status == 2 && stderr.contains(reason), "{stderr}");
    let Ended { status, stderr, .. } = folder.run(&["verify", "alice", "--password-file", "/nosuch/file"]);
    assert_eq!(status, 2);
    assert!(stderr.starts_with("letmein-users: cannot read the password from /nosuch/file: "), "{stderr}");
    let empty = folder.run_with_input(&["verify", "alice", "--password-stdin"], "\n");
    assert_eq!(empty, not_done(2, "the password is empty"));
}

#[test]
fn a_new_password_is_read_from_a_file() {
    let folder = Folder::with(TEXT);
    let file = users_file(format!("{STRONG}\nmore\n"));
    assert_eq!(folder.run(&["add", "eve", "--password-file", path(&file)]), done(""));
    assert!(folder.text().contains(&format!("eve = \"{STRONG}\"\n")), "{}", folder.text());
    fs::write(&file, STRONG2).unwrap();
    assert_eq!(folder.run(&["passwd", "eve", "--password-file", path(&file)]), done(""));
    assert!(folder.text().contains(&format!("eve = \"{STRONG2}\"\n")), "{}", folder.text());
}
