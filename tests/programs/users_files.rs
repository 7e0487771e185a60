//! Users files that keep a server from starting, and those about which it warns.

mod permissions;

use server::settings::program;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use proto::transport::Transport;

use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, path, refused, run, server, users_file, welcome};

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

/// The first problem of a file, or the only one.
fn assert_problem(text: &str, problem: &str) {
    let complaint = complaint(text);
    assert!(complaint.starts_with(&format!("server-udp: FILE:{problem}")), "{text:?}: {complaint}");
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
        ("\"\"", "is empty: give one"),
        ("\"hunter2secret\\u0000\"", "has a NUL in it: choose another"),
        ("12345678", "is not a string: put it between quotes"),
    ] {
        assert_third_line(&format!("bob = {password}"), 7, &format!("the password of bob {problem}"));
        let in_table = format!("bob = {{ password = {password} }}");
        assert_third_line(&in_table, 20, &format!("the password of bob {problem}"));
    }
}

#[test]
fn a_wrong_condition_is_shown_with_its_place_and_a_remedy() {
    const DAY: &str = "expires must be the last good day, as in 2027-01-31, without quotes";
    const NETWORKS: &str = "from must be a list of networks, as in [\"10.0.0.0/8\", \"2001:db8::1\"]";
    for (condition, offset, problem) in [
        (
            "colour = 1",
            0,
            "unknown key \"colour\": a user has password or opaque, disabled, expires, from, old_password and",
        ),
        ("disabled = \"yes\"", 11, "disabled must be true or false"),
        ("disabled = 1", 11, "disabled must be true or false"),
        ("expires = \"2027-01-31\"", 10, DAY),
        ("expires = 2027-01-31T00:00:00Z", 10, DAY),
        ("from = \"10.0.0.0/8\"", 7, NETWORKS),
        ("from = []", 7, "from is empty: name a network, or take it out"),
        ("from = [\"10.0.0.0/8\", \"office\"]", 22, "invalid network: write \"10.0.0.0/8\", "),
        ("from = [\"10.0.0.0/33\"]", 8, "invalid network: write \"10.0.0.0/8\", "),
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
fn a_wrong_old_password_is_shown_with_its_place_and_a_remedy() {
    for (keys, offset, problem) in [
        ("old_password = \"hunter2secret\"", 15, "the old password of bob has no last day: add old_until = "),
        ("old_until = 2027-01-31", 12, "bob has old_until without old_password: take it out"),
        ("old_password = 7, old_until = 2027-01-31", 15, "the old password of bob is not a string: "),
        ("old_password = \"\", old_until = 2027-01-31", 15, "the old password of bob is empty: "),
        (
            "old_password = \"a\", old_until = true",
            32,
            "old_until must be the last good day, as in 2027-01-31",
        ),
    ] {
        let before = "bob = { password = \"hunter2secret2\", ";
        assert_third_line(&format!("{before}{keys} }}"), before.len() + offset + 1, problem);
    }
    let same =
        "bob = { password = \"hunter2secret2\", old_password = \"hunter2secret2\", old_until = 2027-01-31 }";
    assert_third_line(same, 1, "the passwords of bob are the same: take old_password and old_until out");
    let list = "the password of bob is a list: write one string; for a time with two passwords, add old_password and";
    assert_third_line("bob = [\"hunter2secret2\", \"hunter2secret3\"]", 7, list);
}

#[test]
fn a_user_may_have_an_old_password_up_to_a_day() {
    let users = |day: &str| {
        format!(
            "[users]\nalice = {{ password = \"new\", old_password = \"hunter2secret\", old_until = {day} }}\n"
        )
    };
    for transport in TRANSPORTS {
        let server = Server::with_users(transport, &users("2099-12-31"));
        assert_eq!(
            [server.login(&["alice", "new"]), server.login(&["alice", SECRET])],
            [welcome(), welcome()]
        );
        let server = Server::with_users(transport, &users("2001-01-31"));
        assert_eq!(
            [server.login(&["alice", "new"]), server.login(&["alice", SECRET])],
            [welcome(), refused()]
        );
    }
}

#[test]
fn a_user_without_a_password_is_shown_with_their_place_and_a_remedy() {
    assert_third_line("bob = { disabled = true }", 7, "bob has no password: add password = \"…\"");
}

#[test]
fn a_name_that_is_there_twice_is_shown_with_its_place_and_a_remedy() {
    assert_third_line(
        "alice = \"hunter2secret2\"",
        1,
        "duplicate key: alice occurs twice: remove one of the two",
    );
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
    const MISSING: &str = "1:1: the section [users] is missing: add it";
    const UNKNOWN: &str = "1:1: unknown key \"alice\": users go into the section [users]";
    for (text, problem) in [
        ("", MISSING),
        ("# alice = \"hunter2secret\"\n", MISSING),
        ("alice = \"hunter2secret\"\n", UNKNOWN),
        ("users = \"hunter2secret\"\n", "1:9: users is not a section: write [users]"),
        ("colour = 1\n[users]\nalice = \"hunter2secret\"\n", "1:1: unknown key \"colour\": users go into"),
        ("[users]\nalice = \"hunter2secret\"\n[colour]\n", "3:2: unknown key \"colour\": users go into"),
    ] {
        assert_problem(text, problem);
    }
}

#[test]
fn a_name_with_a_dot_that_is_not_between_quotes_is_shown_with_a_remedy() {
    for text in [
        "[users]\nalice.smith = \"hunter2secret\"\n",
        "[users]\nalice.smith.hunter = \"hunter2secret\"\n",
        "[users]\nalice.smith = { password = \"hunter2secret\" }\n",
    ] {
        let complaint = complaint(text);
        let problems: Vec<_> = complaint.lines().filter(|line| line.contains("FILE:2:")).collect();
        let [problem] = problems[..] else { panic!("{complaint}") };
        assert!(problem.contains("FILE:2:7: unknown key \"smith\": "), "{problem}");
        assert!(
            problem.ends_with("; a user name with a dot goes between quotes, as in \"a.b\""),
            "{problem}"
        );
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
        assert_problem(text, problem);
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
    assert!(complaint.contains("FILE:2:22: disabled must be true or false"), "{complaint}");
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
    assert!(said.contains(" WARN FILE: no users in it: every login will be refused\n"), "{said}");
}

#[test]
fn sample_passwords_are_not_served_to_other_machines_unless_the_operator_insists() {
    let with_one = users_file("[users]\nalice = \"hunter2secret\"\nbob = \"passwordtwo\"\n");
    let with_old = users_file(
        "[users]\ncarol = { password = \"hunter2secret\", old_password = \"passwordone\", old_until = 2099-12-31 }\n",
    );
    for transport in TRANSPORTS {
        for (users, user) in [(SAMPLES, "user"), (path(&with_one), "bob"), (path(&with_old), "carol")] {
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
            "failed logins allowed per address 5 in 30 s".to_owned(),
            "failed logins allowed per user 60 in 60 s".to_owned(),
            "guesses by OPAQUE allowed per address 20 in 60 s".to_owned(),
            "guesses by OPAQUE allowed per user 60 in 60 s, and 1000 in a day".to_owned(),
            "nodes among which limits per user are divided 1".to_owned(),
            "networks that are never blocked 10.0.0.0/8".to_owned(),
            "audit off".to_owned(),
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

#[test]
fn a_check_of_a_file_without_users_is_status_2() {
    let empty = users_file("[users]\n");
    let ended = run(server(Transport::Udp).args(["--users", path(&empty), "--check"]));
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    assert!(ended.stderr.contains("there are no users in it, so nobody can log in: add one"), "{ended:?}");
}

#[test]
fn a_check_warns_of_users_whose_time_is_over_and_of_a_file_by_which_nobody_can_log_in() {
    let checked = |users: &str| {
        let users = users_file(users);
        let Ended { status, stderr, .. } =
            run(server(Transport::Udp).args(["--users", path(&users), "--check"]));
        assert_eq!(status, 0, "{stderr}");
        stderr
    };
    let over = "{password = \"password\", expires = 2020-01-31}";
    let disabled = "{password = \"password\", disabled = true}";
    let stderr = checked(&format!("[users]\nalice = {over}\nbob = {disabled}\ncarol = \"password\"\n"));
    assert!(
        stderr.contains("WARN ") && stderr.contains(": expired, so their logins are refused: 1 user (alice)")
    );
    assert!(!stderr.contains("nobody can log in"), "{stderr}");
    let stderr = checked(&format!("[users]\nalice = {over}\nbob = {disabled}\n"));
    assert!(stderr.contains(": all users are disabled or expired: nobody can log in"), "{stderr}");
    assert_eq!(checked("[users]\nalice = {password = \"password\", expires = 9999-01-31}\n"), "");
    let old = "{password = \"new\", old_password = \"old\", old_until = 2020-01-31}";
    let stderr = checked(&format!("[users]\nalice = {old}\n"));
    assert!(stderr.contains("old passwords that are refused by now") && stderr.contains("1 user (alice)"));
}
