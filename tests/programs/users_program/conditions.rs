//! Conditions of users, and their names.

use proto::transport::Transport;

use super::{Folder, STRONG, STRONG2, TEXT, done};
use crate::running::{Ended, Server, welcome};

#[test]
fn a_user_is_added_with_conditions() {
    let folder = Folder::with("[users]\n");
    let args = [
        "add",
        "eve",
        "--expires",
        "2099-12-31",
        "--from",
        "10.0.0.0/8",
        "--from",
        "::1",
        "--password-stdin",
    ];
    assert_eq!(folder.run_with_input(&args, STRONG), done(""));
    let keys = format!("password = \"{STRONG}\", expires = 2099-12-31, from = [\"10.0.0.0/8\", \"::1\"]");
    assert_eq!(folder.text(), format!("[users]\neve = {{ {keys} }}\n"));
    for anywhere in ["anywhere", "all", "any"] {
        let folder = Folder::with("[users]\n");
        let args = ["add", "frank", "--expires", "never", "--from", anywhere, "--password-stdin"];
        assert_eq!(folder.run_with_input(&args, STRONG2), done(""));
        assert_eq!(folder.text(), format!("[users]\nfrank = \"{STRONG2}\"\n"));
    }
}

#[test]
fn a_last_day_that_is_over_is_set_with_a_warning() {
    let folder = Folder::with(TEXT);
    let warning = "letmein-users: warning: 2001-01-31 is over: the user is refused from now on\n";
    for args in
        [&["expire", "alice", "2001-01-31"][..], &["add", "eve", "--expires", "2001-01-31", "--generate"]]
    {
        let Ended { status, stderr, .. } = folder.run(args);
        assert_eq!((status, &*stderr), (0, warning));
        assert!(folder.text().contains("expires = 2001-01-31"));
    }
}

#[test]
fn a_wrong_condition_is_shown_with_a_remedy() {
    for (args, reason) in [
        (&["expire", "alice", "31.1.2027"][..], "invalid day: write the last day as in 2027-01-31"),
        (&["expire", "alice", "2027-02-30"], "invalid day: there is no such day"),
        (
            &["from", "alice", "10/8"],
            "invalid network: write 10.0.0.0/8, 2001:db8::/32 or one address, or anywhere",
        ),
        (
            &["from", "alice", "10.0.0.0/8,::1"],
            "invalid network: from takes several with spaces between them",
        ),
        (&["from", "alice", "10.0.0.0/8", "anywhere"], "anywhere goes without networks: give either"),
        (&["add", "eve", "--generate", "--from", "office"], "invalid network: "),
        (&["add", "eve", "--generate", "--expires", "soon"], "invalid day: "),
    ] {
        let folder = Folder::with(TEXT);
        let Ended { status, stdout, stderr } = folder.run(args);
        assert_eq!((status, &*stdout), (2, ""), "{args:?}");
        assert!(stderr.lines().nth(1).is_some_and(|line| line.starts_with(reason)), "{stderr}");
        assert_eq!(folder.text(), TEXT);
    }
}

#[test]
fn a_renamed_user_logs_in_with_the_same_password() {
    let folder = Folder::with(&format!("[users]\nalice.password = \"{STRONG}\"\nalice.disabled = false\n"));
    assert_eq!(folder.run(&["rename", "alice", "alice.smith"]), done(""));
    let server = Server::with_users(Transport::Udp, &folder.text());
    assert_eq!(server.login(&["alice.smith", STRONG]), welcome());
    assert_eq!(server.login(&["alice", STRONG]).status, 1);
}
