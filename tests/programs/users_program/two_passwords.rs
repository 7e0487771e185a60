//! An old password beside the new one, while a password changes.

use std::process::Command;

use proto::transport::Transport;

use super::{Folder, STRONG, STRONG2, TEXT, done, not_done, text_with};
use crate::running::{Ended, Server, refused, run, welcome};

const KEEP: [&str; 6] = ["passwd", "alice", "--password-stdin", "--keep-old", "--old-until", "2099-12-31"];

/// What is said of an old password that is kept.
fn kept(day: &str) -> Ended {
    let stderr = format!("letmein-users: the old password is good until {day}\n");
    Ended { status: 0, stdout: String::new(), stderr }
}

#[test]
fn a_password_may_change_while_the_old_one_stays_good_up_to_a_day() {
    let folder = Folder::with(&format!("[users]\nalice = \"{STRONG}\" # since 2020\n"));
    assert_eq!(folder.run_with_input(&KEEP, STRONG2), kept("2099-12-31"));
    let keys = format!("password = \"{STRONG2}\", old_password = \"{STRONG}\", old_until = 2099-12-31");
    assert_eq!(folder.text(), format!("[users]\nalice = {{ {keys} }} # since 2020\n"));
    let logins = || {
        let server = Server::with_users(Transport::Udp, &folder.text());
        [STRONG, STRONG2].map(|password| server.login(&["alice", password]))
    };
    assert_eq!(logins(), [welcome(), welcome()]);
    assert_eq!(folder.run(&["passwd", "alice", "--drop-old"]), done(""));
    assert_eq!(folder.text(), format!("[users]\nalice = {{ password = \"{STRONG2}\" }} # since 2020\n"));
    assert_eq!(logins(), [refused(), welcome()]);
}

#[test]
fn without_a_day_the_old_password_is_good_for_thirty_days() {
    let Ended { stdout: day, .. } = run(Command::new("date").args(["--utc", "--date=30 days", "+%F"]));
    let folder = Folder::with(TEXT);
    let ended = folder.run_with_input(&["passwd", "alice", "--password-stdin", "--keep-old"], STRONG);
    let Ended { stdout: day_after, .. } = run(Command::new("date").args(["--utc", "--date=30 days", "+%F"]));
    // Midnight may come between.
    let days = [day.trim_end(), day_after.trim_end()];
    assert!(days.into_iter().any(|day| ended == kept(day)), "{ended:?} {days:?}");
    assert!(days.into_iter().any(|day| folder.text().contains(&format!("old_until = {day} }}"))));
}

#[test]
fn a_user_has_no_third_password() {
    let folder = Folder::with(TEXT);
    folder.run_with_input(&KEEP, STRONG);
    let Ended { status, stderr, .. } = folder.run_with_input(&KEEP, STRONG2);
    let warning =
        "warning: the password before the old one, which was good until 2099-12-31, is refused from now on";
    assert!(status == 0 && stderr.contains(warning), "{stderr}");
    let keys = format!("password = \"{STRONG2}\", old_password = \"{STRONG}\", old_until = 2099-12-31");
    assert_eq!(folder.text(), text_with("\"hunter2secret\"", &format!("{{ {keys} }}")));
    // Taken back, no password goes.
    assert_eq!(folder.run_with_input(&KEEP, STRONG), kept("2099-12-31"));
}

#[test]
fn a_change_that_keeps_nothing_takes_the_old_password_out() {
    let folder = Folder::with(TEXT);
    folder.run_with_input(&KEEP, STRONG);
    assert_eq!(folder.run_with_input(&["passwd", "alice", "--password-stdin"], STRONG2), done(""));
    assert_eq!(folder.text(), text_with("\"hunter2secret\"", &format!("{{ password = \"{STRONG2}\" }}")));
    assert_eq!(folder.run(&["passwd", "bob", "--drop-old"]), done(""));
}

#[test]
fn the_same_password_again_is_no_change_of_it() {
    let folder = Folder::with(&format!("[users]\nalice = \"{STRONG}\"\n"));
    let reason = "FILE: this is the present password of alice, so nothing was changed: give another";
    assert_eq!(folder.run_with_input(&KEEP, STRONG), not_done(2, reason));
}

#[test]
fn options_that_do_not_go_together_are_status_2() {
    for args in [
        &["passwd", "alice", "--drop-old", "--keep-old"][..],
        &["passwd", "alice", "--drop-old", "--generate"],
        &["passwd", "alice", "--drop-old", "--password-stdin"],
        &["passwd", "alice", "--drop-old", "--old-until", "2099-12-31"],
        &["passwd", "alice", "--generate", "--old-until", "2099-12-31"],
        &["passwd", "alice", "--generate", "--keep-old", "--old-until", "soon"],
        &["passwd", "alice", "--generate", "--keep-old", "--old-until", "2020-01-31"],
    ] {
        let folder = Folder::with(TEXT);
        let Ended { status, stdout, stderr } = folder.run(args);
        assert_eq!((status, &*stdout, stderr.lines().count()), (2, "", 3), "{args:?}: {stderr}");
        assert_eq!(folder.text(), TEXT);
    }
}

#[test]
fn a_check_tells_for_how_long_a_user_has_two_passwords() {
    let today = run(Command::new("date").args(["--utc", "+%F"])).stdout;
    let user = |name: &str, day: &str| {
        format!("{name} = {{ password = \"{STRONG}{name}\", old_password = \"old\", old_until = {day} }}\n")
    };
    let text = user("alice", "2099-12-31") + &user("bob", "2001-01-31") + &user("carol", today.trim_end());
    let folder = Folder::with(&format!("[users]\n{text}"));
    let Ended { status, stdout, stderr } = folder.run(&["check"]);
    assert_eq!((status, &*stderr), (0, ""));
    let lines: Vec<_> = stdout.lines().collect();
    let remedy = " days from now: once all have the new one, take it out with passwd --drop-old";
    let days = lines[0].strip_prefix("FILE:2:22: alice has an old password as well, up to 2099-12-31, ");
    let days = days.and_then(|rest| rest.strip_suffix(remedy)).expect(&stdout);
    assert!((20_000..27_000).contains(&days.parse::<u32>().unwrap()), "{days}");
    assert!(lines[1].contains(": the old password of bob is refused since 2001-01-31 is over: "), "{stdout}");
    // Midnight may have come.
    assert!(lines[2].contains(", which is today: ") || lines[2].contains(" is over: "), "{stdout}");
    assert_eq!(lines[3..], ["3 users, 3 warnings"]);
}
