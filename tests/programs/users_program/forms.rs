//! Names and passwords in one form, however a keyboard writes them.

use proto::transport::Transport;

use super::{Folder, STRONG, STRONG2, done, not_done};
use crate::running::{Ended, Server, welcome};

/// Both are "zoë": the first has an e and an accent, as some keyboards write it, the second one character.
const TYPED: &str = "zoe\u{308}";
const NORMAL: &str = "zo\u{eb}";

#[test]
fn names_and_passwords_are_written_in_their_normal_form() {
    for (args, input) in [
        (&["add", TYPED, "--password-stdin"][..], format!("{STRONG}e\u{308}\u{a0}x\n")),
        (&["import", "-"], format!("{TYPED}:{STRONG}e\u{308}\u{a0}x\n")),
    ] {
        let folder = Folder::with("[users]\n");
        assert_eq!(folder.run_with_input(args, input).status, 0);
        assert_eq!(folder.text(), format!("[users]\n\"{NORMAL}\" = \"{STRONG}\u{eb} x\"\n"));
        let server = Server::with_users(Transport::Udp, &folder.text());
        for (name, password) in [(TYPED, "e\u{308} x"), (NORMAL, "\u{eb} x")] {
            assert_eq!(server.login(&[name, &format!("{STRONG}{password}")]), welcome());
        }
    }
}

#[test]
fn a_user_is_found_in_whatever_form_the_name_is_typed_or_written() {
    for written in [TYPED, NORMAL] {
        for typed in [TYPED, NORMAL] {
            let folder = Folder::with(&format!("[users]\n\"{written}\" = \"{STRONG}\"\n"));
            assert_eq!(folder.run(&["disable", typed]), done(""));
            let text = folder.text();
            assert_eq!(
                text,
                format!("[users]\n\"{written}\" = {{ password = \"{STRONG}\", disabled = true }}\n")
            );
            let exists = format!("FILE: there is a user {written} already: change the password with passwd");
            assert_eq!(folder.run(&["add", typed, "--generate"]), not_done(1, &exists));
            let Ended { status, stderr, .. } =
                folder.run_with_input(&["import", "-"], format!("{typed}:x\n"));
            assert!(status == 2 && stderr.contains("already: --replace changes the password"), "{stderr}");
            let ended = folder.run_with_input(&["import", "--replace", "-"], format!("{typed}:new\n"));
            assert_eq!((ended.status, &*ended.stdout), (0, "+0 users, 1 changed\n"));
            assert_eq!(folder.text(), text.replace(STRONG, "new"));
        }
    }
}

#[test]
fn the_length_of_a_name_is_that_of_its_normal_form() {
    let (typed, normal) = ("e\u{308}".repeat(32), "\u{eb}".repeat(32));
    let folder = Folder::with(&format!("[users]\n\"{normal}\" = \"{STRONG}\"\n"));
    assert_eq!(folder.run(&["disable", &typed]), done(""));
    let ended = folder.run(&["disable", &format!("{typed}x")]);
    assert!(ended.status == 2 && ended.stderr.contains("longer than 64 bytes"), "{ended:?}");
}

#[test]
fn a_name_that_is_not_in_its_normal_form_is_renamed_to_itself() {
    for typed in [TYPED, NORMAL] {
        let folder = Folder::with(&format!("[users]\n\"{TYPED}\" = \"{STRONG}\"\n"));
        assert_eq!(folder.run(&["rename", typed, typed]), done(""));
        assert_eq!(folder.text(), format!("[users]\n\"{NORMAL}\" = \"{STRONG}\"\n"));
    }
}

#[test]
fn the_user_whose_name_is_typed_as_it_is_written_comes_first() {
    let folder = Folder::with(&format!("[users]\n\"{TYPED}\" = \"one\"\n\"{NORMAL}\" = \"two\"\n"));
    assert_eq!(folder.run(&["remove", "--yes", TYPED]), done(""));
    assert_eq!(folder.text(), format!("[users]\n\"{NORMAL}\" = \"two\"\n"));
}

#[test]
fn a_new_name_has_nothing_in_it_that_is_not_seen_or_looks_like_something_else() {
    for (name, shown) in
        [("al\u{200b}ice", "U+200B"), ("\u{202e}ecila", "U+202E"), ("alice\u{1f600}", "U+1F600")]
    {
        let folder = Folder::with("[users]\n");
        let Ended { status, stdout, stderr } = folder.run(&["add", name, "--generate"]);
        assert_eq!((status, &*stdout), (2, ""));
        assert!(stderr.contains(&format!("the user name has {shown} in it, ")), "{stderr}");
        let ended = folder.run_with_input(&["import", "-"], format!("{name}:x"));
        assert!(ended.status == 2 && ended.stderr.contains(shown), "{ended:?}");
        assert_eq!(folder.text(), "[users]\n");
    }
}

#[test]
fn a_new_password_has_no_control_characters() {
    let folder = Folder::with("[users]\n");
    let problem = "the password has a control character in it, such as a tab";
    for (args, input) in [
        (&["add", "alice", "--password-stdin"][..], "hunter2secret\t\n"),
        (&["import", "-"], "alice:hunter2secret\t"),
    ] {
        let Ended { status, stderr, .. } = folder.run_with_input(args, input);
        assert!(status == 2 && stderr.contains(problem), "{stderr}");
    }
}

#[test]
fn a_check_tells_of_names_and_passwords_that_clients_send_in_another_form() {
    let folder = Folder::with(&format!(
        "[users]\n\"{TYPED}\" = \"{STRONG}1\"\nbob = \"{STRONG}e\u{308}\"\ncarol = \"{STRONG}\u{a0}\"\n\
         dave = \"{STRONG}\\t\"\n\"al\u{200b}ice\" = \"{STRONG}\"\n\"{NORMAL}y\" = \"{STRONG}\u{eb}2\"\n"
    ));
    let Ended { status, stdout, stderr } = folder.run(&["check"]);
    assert_eq!((status, &*stderr), (0, ""));
    let expected = [
        &*format!(
            "FILE:2:10: the name {TYPED} is not in its normal form (RFC 8265), which is what clients send: "
        ),
        "FILE:3:7: the password of bob is not in its normal form (RFC 8265), which is what clients send: ",
        "FILE:4:9: the password of carol is not in its normal form",
        "FILE:5:8: the password of dave is not in its normal form",
        "FILE:6:12: the name al\\u{200b}ice has U+200B in it, ",
        "6 users, 5 warnings",
    ];
    assert_eq!(stdout.lines().count(), expected.len(), "{stdout}");
    assert!(stdout.lines().zip(expected).all(|(line, start)| line.starts_with(start)), "{stdout}");
}

#[test]
fn a_check_tells_of_two_names_that_are_one_to_clients() {
    let folder =
        Folder::with(&format!("[users]\n\"{TYPED}\" = \"{STRONG}\"\n\"{NORMAL}\" = \"{STRONG2}\"\n"));
    let warning = format!("FILE:3:9: {NORMAL} in lines 2 and 3 is one name to clients: remove one of them\n");
    assert_eq!(folder.run(&["check"]), done(&format!("{warning}2 users, 1 warning\n")));
    assert_eq!(folder.run(&["remove", "--yes", TYPED]), done(""));
    assert_eq!(folder.run(&["check"]), done("1 user, no problems\n"));
}

#[test]
fn a_list_shows_names_as_they_are_in_columns() {
    let folder =
        Folder::with(&format!("[users]\n\"{TYPED}\" = \"a\"\n\"\u{4e2d}\u{6587}\" = \"b\"\nbob = \"c\"\n"));
    let table = format!(
        "\
NAME  STATE     EXPIRES     FROM
{TYPED}   enabled   never       anywhere
\u{4e2d}\u{6587}  enabled   never       anywhere
bob   enabled   never       anywhere
"
    );
    assert_eq!(folder.run(&["list"]), done(&table));
}
