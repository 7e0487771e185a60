//! Help, and command lines that are wrong.

use super::{Folder, SECRET, STRONG, TEXT};
use crate::running::{Ended, letmein_users, run};

const COMMANDS: [&str; 17] = [
    "add", "passwd", "disable", "enable", "expire", "from", "rename", "remove", "list", "show", "migrate",
    "verify", "check", "import", "export", "key", "keys",
];

#[test]
fn a_wrong_command_line_is_status_2_and_shows_no_password() {
    for (args, reason) in [
        (&[][..], "no command given (--help lists all commands)"),
        (&["add"], "the following required arguments were not provided: <NAME>"),
        (
            &["add", "eve", SECRET],
            "too many arguments: one user at a time; a password comes from --generate, ",
        ),
        (&["verify", "alice", SECRET], "too many arguments: one user at a time; a password comes from "),
        (&["add", "eve", "-xhunter2secret"], "too many arguments, or an unknown option"),
        (&["add", "eve", "--hunter2secret"], "too many arguments, or an unknown option"),
        (&["add", "eve", "--generate", "--password-stdin"], "the argument '--generate' cannot be used with "),
        (&["add", "a:hunter2secret", "--generate"], "the user name has a colon in it"),
        (&["hunter2secret"], "unknown command (--help lists all commands)"),
    ] {
        let folder = Folder::with(TEXT);
        let Ended { status, stdout, stderr } = folder.run(args);
        assert_eq!((status, &*stdout, stderr.lines().count()), (2, "", 3), "{args:?}: {stderr}");
        assert!(stderr.lines().nth(1).unwrap().starts_with(reason), "{args:?}: {stderr}");
        assert_eq!(folder.text(), TEXT);
    }
}

/// Scripts say `letmein-users disable "$user" && …`.
#[test]
fn a_name_that_looks_like_a_request_for_help_is_no_success_beside_options() {
    for args in [
        &["verify", "-h", "--password-stdin"][..],
        &["verify", "--help"],
        &["verify", "-hx", "--password-stdin"],
        &["test", "-h"],
        &["--users", "users.toml", "verify", "-h"],
        &["remove", "-h", "--yes"],
        &["passwd", "-h", "--generate"],
    ] {
        assert_eq!(Folder::with(TEXT).run(args).status, 2, "{args:?}");
    }
}

#[test]
fn a_command_or_an_option_that_is_nearly_right_is_told_with_what_was_meant() {
    for (args, nearest) in [
        (&["delte", "alice"][..], "unknown command: did you mean remove?"),
        (&["lst"], "unknown command: did you mean list?"),
        (&["pasword", "alice"], "unknown command: did you mean passwd?"),
        (&["ad", "eve"], "unknown command: did you mean add?"),
        (&["add", "eve", "--generat"], "unknown option: did you mean --generate?"),
        (&["add", "eve", "--password", SECRET], "unknown option: did you mean --password-file?"),
        (&["passwd", "alice", "--keep"], "unknown option: did you mean --keep-old?"),
        (&["remove", "alice", "--yess"], "unknown option: did you mean --yes?"),
        (&["deny", "alice"], "to refuse a user from now on, use disable\n"),
        (&["allow", "alice"], "to let a disabled user log in again, use enable\n"),
        (&["erase", "alice"], "to remove a user, use remove\n"),
        (&["set", "alice"], "passwd sets a password, expire the last day, from the networks\n"),
        (&["dump"], "to print all users with their passwords, use export\n"),
        (&["edit"], "change the file with any editor; check tells what is wrong in it\n"),
        (&["reload"], "the server reads the file again by itself\n"),
        (&["unblock", "alice"], "pkill -USR1 server-udp lifts all blocks\n"),
        (
            &["engine", "status"],
            "users in PostgreSQL need a letmein-users that is built with --features engine\n",
        ),
    ] {
        let Ended { status, stderr, .. } = Folder::with(TEXT).run(args);
        assert!(status == 2 && stderr.contains(nearest), "{args:?}: {stderr}");
    }
}

#[test]
fn a_command_that_is_hardly_alike_is_not_suggested() {
    for command in ["unset", "forget", "restrict", "addition"] {
        let Ended { status, stderr, .. } = Folder::with(TEXT).run(&[command, "alice"]);
        assert!(
            status == 2 && stderr.contains("\nunknown command (--help lists all commands)\n"),
            "{stderr}"
        );
    }
}

#[test]
fn arguments_in_the_wrong_order_or_the_wrong_place_are_told_with_the_right_one() {
    for (args, reason) in [
        (
            &["expire", "2027-01-01", "alice"][..],
            "invalid day: write the name first, then the last day as in 2027-01-31, or never\n",
        ),
        (
            &["from", "10.0.0.0/8", "alice"],
            "invalid network: write the name first, then 10.0.0.0/8, 2001:db8::/32 or one address, or anywhere\n",
        ),
        (&["check", "users.toml"], "too many arguments: name the users file with --users FILE (--help"),
        (&["list", "users.toml"], "too many arguments: name the users file with --users FILE (--help"),
    ] {
        let Ended { status, stderr, .. } = run(letmein_users().args(args));
        assert!(status == 2 && stderr.contains(&format!("\n{reason}")), "{args:?}: {stderr}");
    }
}

#[test]
fn a_long_option_with_one_dash_is_told_with_two() {
    for (args, nearest) in [
        (&["-users", "users.toml", "list"][..], "did you mean --users? ("),
        (&["-users=users.toml", "list"], "did you mean --users? ("),
        (&["remove", "alice", "-yes"], "did you mean --yes? ("),
        (&["-v"], "did you mean --version? ("),
    ] {
        let Ended { status, stderr, .. } = run(letmein_users().args(args));
        assert!(status == 2 && stderr.contains(nearest), "{args:?}: {stderr}");
    }
}

#[test]
fn commands_have_the_names_that_people_know_from_elsewhere() {
    for (name, args) in [
        ("delete", &["alice", "--yes"][..]),
        ("del", &["alice", "--yes"]),
        ("rm", &["alice", "--yes"]),
        ("remove", &["alice", "-y"]),
        ("remove", &["alice", "-f"]),
        ("remove", &["alice", "--force"]),
        ("lock", &["alice"]),
        ("unlock", &["alice"]),
        ("ls", &[]),
        ("info", &["alice"]),
        ("mv", &["alice", "zoe"]),
        ("new", &["eve", "--generate"]),
        ("password", &["alice", "--generate"]),
        ("lint", &[]),
    ] {
        let ended = Folder::with(TEXT).run(&[&[name], args].concat());
        assert_eq!((ended.status, &*ended.stderr), (0, ""), "{name}: {ended:?}");
    }
    assert_eq!(Folder::with(TEXT).run_with_input(&["test", "alice", "--password-stdin"], STRONG).status, 1);
}

#[test]
fn help_of_the_program_and_of_each_command_is_status_0_and_one_screen_if_it_is_asked_for_in_short() {
    for command in COMMANDS.into_iter().chain([""]) {
        for option in ["-h", "--help"] {
            let args = [command, option].into_iter().filter(|word| !word.is_empty());
            let Ended { status, mut stdout, stderr } = run(letmein_users().args(args));
            if command == "verify" {
                // A user may have this name, and a script must not let them in.
                assert_eq!((status, &*stdout), (2, ""));
                stdout = stderr;
            } else {
                assert_eq!((status, &*stderr), (0, ""), "{command}");
            }
            assert!(stdout.contains(&format!("Usage: letmein-users {command}")), "{stdout}");
            let width = stdout.lines().map(|line| line.chars().count()).max().unwrap();
            if option == "-h" {
                assert!(stdout.lines().count() <= 24 && width <= 80, "{command}: {width}\n{stdout}");
            } else {
                assert!(width <= 80, "{command}: {width}\n{stdout}");
            }
        }
    }
    for args in [&["help"][..], &["help", "verify"], &["help", "help"], &["help", "-h"], &["help", "--help"]]
    {
        let Ended { status, stdout, stderr } = run(letmein_users().args(args));
        assert_eq!((status, &*stderr), (0, ""), "{args:?}");
        assert!(stdout.contains("Usage: letmein-users "), "{args:?}: {stdout}");
    }
    let Ended { stdout, .. } = run(letmein_users().arg("-h"));
    let commands = stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands.map_while(|line| line.split_whitespace().next()).collect();
    let main: Vec<_> = COMMANDS.into_iter().filter(|command| *command != "key").collect();
    assert_eq!(commands, main);
}

#[test]
fn help_of_a_command_of_a_command_is_status_0_and_a_missing_one_is_told() {
    for words in [["key", "show"], ["key", "check"], ["keys", "add"], ["keys", "list"]] {
        for option in ["-h", "--help"] {
            let Ended { status, stdout, stderr } = run(letmein_users().args(words).arg(option));
            assert_eq!((status, &*stderr), (0, ""), "{words:?}");
            assert!(stdout.contains(&format!("Usage: letmein-users {} ", words.join(" "))), "{stdout}");
        }
        let Ended { status, stderr, .. } = run(letmein_users().arg(words[0]));
        assert!(
            status == 2 && stderr.contains("\nno command given (--help lists all commands)\n"),
            "{stderr}"
        );
    }
}
