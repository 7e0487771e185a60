//! Command lines that are wrong, and what is said about them.

use server::settings::program;
use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::running::{
    Ended, SAMPLES, TRANSPORTS, bench, exchange, letmein, letmein_http, path, run, server, users_file,
};

const INVALID: &str = "Invalid input argument, please enter a correct format command.";
const EXAMPLE: &str = "Example: letmein 127.0.0.1:8591 userone passwordone";
const AT: &str = "127.0.0.1:8591";
const SECRET: &str = "hunter2secret";

/// The reason given for a wrong command line, after a look at all that is said around it.
fn reason(command: &mut Command, example: &str) -> String {
    let ended = run(command);
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    let [invalid, reason, last] = *ended.stderr.lines().collect::<Vec<_>>() else { panic!("{ended:?}") };
    assert_eq!(invalid, INVALID);
    assert!(last.contains(example), "{ended:?}");
    reason.to_owned()
}

#[test]
fn each_mistake_in_the_arguments_of_letmein_has_its_own_reason() {
    let (long_name, long_password) = (&*"u".repeat(65), &*"p".repeat(129));
    let mistakes: &[(&[&str], &str)] = &[
        (&[], "not provided: <HOST[:PORT]> <USER>"),
        (&[AT], "not provided: <USER>"),
        (&["127.0.0.1,", "userone", "p"], "nothing after the comma: write several servers as A:8591,B:8591"),
        (&[",127.0.0.1", "userone", "p"], "the host is missing: write HOST:PORT"),
        (&["0.0.0.0:8591", "userone", "p"], "0.0.0.0 is only for listening: give the server's address"),
        (&["18591", "userone", "p"], "\"18591\" is a port: write HOST:18591"),
        (
            &["http://127.0.0.1:8591", "userone", "p"],
            "invalid server: write HOST:PORT, without a scheme or a path",
        ),
        (&["127.0.0.1:", "userone", "p"], "no port after the colon: write HOST:PORT"),
        (&["127.0.0.1:http", "userone", "p"], "invalid port: a port is"),
        (&["::1:8591", "userone", "p"], "an IPv6 address goes in brackets: write [::1]:8591"),
        (&["[::1", "userone", "p"], "the ] after the IPv6 address is missing"),
        (&["localhost:8591:", "userone", "p"], "more than one colon"),
        (&["a:8591;b:8591", "userone", "p"], "invalid server: write HOST:PORT, or several as A:8591,B:8591"),
        (&[AT, "127.0.0.2:8591", "userone"], "a colon in it: write several servers as A:8591,B:8591"),
        (&[AT, "", "p"], "user name is empty"),
        (&[AT, "user:one", "p"], "user name has a colon in it"),
        (&[AT, "user\none", "p"], "user name has a control character"),
        (&[AT, " userone", "p"], "user name begins or ends with white space"),
        (&[AT, long_name, "p"], "user name is longer than 64 bytes"),
        (&[AT, "userone", long_password], "password is longer than 128 bytes"),
        (&[AT, "userone", "p\n"], "the password has a control character, such as a line end"),
        (
            &[AT, "userone", "p", "extra"],
            "too many arguments: put quotes around one that has spaces; the port follows the host",
        ),
        (&[AT, "userone", "-"], "for standard input use --password-stdin"),
        (&[AT, "userone", "p", "-4", "-6"], "'-4' cannot be used with '-6'"),
        (&[AT, "userone", "p", "--timeout"], "a value is required for '--timeout"),
        (&[AT, "userone", "p", "--timeout", "1e9"], "500ms, 15s, 2m, 1h, 7d; from 1ms to a year"),
    ];
    let mut reasons = HashSet::new();
    for (args, expected) in mistakes {
        let reason = reason(letmein().args(*args), EXAMPLE);
        assert!(reason.contains(expected), "{args:?}: {reason}");
        assert!(reasons.insert(reason), "{args:?}");
    }
}

#[test]
fn an_unknown_option_is_reported_as_one() {
    for option in ["--nosuch", "-x"] {
        let reason = reason(letmein().args([AT, "userone", "p", option]), EXAMPLE);
        assert!(reason.contains("unknown option (--help lists all options"), "{option}: {reason}");
    }
}

#[test]
fn several_servers_are_one_argument() {
    for servers in [&["a:8591", "b:8591"][..], &["a", "[::1]:8591"], &["a;b"], &["a:8591 b:8591"], &["a, b"]]
    {
        let reason = reason(letmein().args(servers).args(["userone", "p"]), EXAMPLE);
        assert!(reason.contains("A:8591,B:8591"), "{servers:?}: {reason}");
    }
    let reason = reason(letmein().args([AT, "user:8591x", "p"]), EXAMPLE);
    assert!(reason.ends_with("user name has a colon in it"), "{reason}");
}

/// The word after an empty variable may be a password.
#[test]
fn values_that_are_wrong_are_not_shown_where_one_may_be_a_password() {
    for value in ["0", "x", "-1", "inf", "1e9", SECRET] {
        let reason = reason(letmein().args([AT, "userone", "p", "--timeout", value]), EXAMPLE);
        assert!(reason.starts_with("invalid time: give seconds, as in 15 or 0.5"), "{reason}");
    }
    for port in ["0", "65536", "http", ""] {
        let reason = reason(letmein().args([&format!("127.0.0.1:{port}"), "userone", "p"]), EXAMPLE);
        assert!(reason.contains("port"), "{reason}");
    }
}

#[test]
fn words_too_many_are_not_shown_since_one_may_be_a_password() {
    for words in [&["userone", SECRET, "extra"][..], &["userone", "p", SECRET], &["user", "one", SECRET, "p"]]
    {
        let ended = run(letmein().arg(AT).args(words));
        assert!(!ended.stderr.contains(SECRET), "{ended:?}");
    }
    for server in [format!("userone:{SECRET}@127.0.0.1"), format!("127.0.0.1:{SECRET}")] {
        let ended = run(letmein().args([&server, "userone"]));
        assert!(ended.status == 2 && !ended.stderr.contains(SECRET), "{ended:?}");
    }
}

#[test]
fn a_password_stuck_to_an_option_is_not_shown() {
    for option in ["--password", "--pasword", "--password-stdin", "--tcp", "--quiet"] {
        let ended = run(letmein().args([AT, "userone", &format!("{option}={SECRET}")]));
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(!ended.stderr.contains(SECRET), "{ended:?}");
    }
}

/// Scripts say `letmein HOST:PORT "$user" "$password" && …`.
#[test]
fn no_user_and_no_password_makes_a_command_line_end_with_status_0_without_a_login() {
    for words in [["userone", "-hunter2"], ["userone", "--version"], ["--help", "passwordone"], ["-V", "p"]] {
        assert_ne!(run(letmein().arg(AT).args(words)).status, 0, "{words:?}");
    }
}

#[test]
fn what_was_meant_is_asked_where_an_option_is_nearly_right() {
    for (option, nearest) in [
        ("--tpc", "--tcp"),
        ("--password", "--password-file"),
        ("--quite", "--quiet"),
        ("--pasword", "--password-file"),
        ("-tcp", "--tcp"),
        ("-quiet", "--quiet"),
        ("-v", "--version"),
    ] {
        let reason = reason(letmein().args([AT, "userone", "p", option]), EXAMPLE);
        assert!(reason.contains(&format!("unknown option: did you mean {nearest}?")), "{reason}");
    }
}

#[test]
fn an_option_that_is_hardly_alike_is_not_suggested() {
    for option in ["--tls", "--verbose", "--port8591"] {
        let reason = reason(letmein().args([AT, "userone", "p", option]), EXAMPLE);
        assert!(!reason.contains("did you mean"), "{reason}");
    }
}

#[test]
fn an_option_that_many_programs_have_is_told_with_what_to_give_instead() {
    for (option, remedy) in [
        ("--udp", "unknown option: UDP is the default (--help"),
        ("--port", "unknown option: the address is an argument, as in the example (--help"),
        ("--user", "unknown option: the user is an argument, as in the example (--help"),
        ("-p", "unknown option (--help"),
    ] {
        let reason = reason(letmein().args([AT, "userone", option]), EXAMPLE);
        assert!(reason.contains(remedy), "{reason}");
    }
    let reason = reason(exchange().args(["md5", AT, "--udp"]), "exchange md5");
    assert!(reason.starts_with("unknown option --udp: UDP is the default (--help"), "{reason}");
}

#[test]
fn a_wrong_number_is_told_with_its_option_and_without_its_value_where_that_may_be_a_password() {
    for (value, remedy) in [("0", "give a number from 1 to "), ("many", "give a whole number")] {
        let reason = reason(bench().args(["udp", AT, "--clients", value]), "letmein-bench");
        assert!(reason.starts_with(&format!("invalid value for --clients: {remedy}")), "{reason}");
    }
}

#[test]
fn an_address_that_a_server_cannot_understand_is_status_2_with_a_remedy() {
    const NAME: &str = "give an IP address, as in 127.0.0.1:8591; names are not looked up";
    const SCOPE: &str = "write the number of the interface, as in [fe80::1%2]:8591; ip link shows it";
    for transport in TRANSPORTS {
        for (address, remedy) in [
            ("", NAME),
            ("x", NAME),
            ("256.1.1.1:8591", NAME),
            ("tcp:8591", "run server-tcp 8591, or add --also tcp:8591"),
            ("udp:[::1]:8591", "run server-udp [::1]:8591, or add --also udp:[::1]:8591"),
            ("[fe80::1%eth0]:8591", SCOPE),
            ("fe80::1%eth0", SCOPE),
            ("http://127.0.0.1:8591", "write ADDRESS:PORT, without a scheme"),
            ("::1:8591", "an IPv6 address goes in brackets: write [::1]:8591"),
            ("127.0.0.1:", "a port is a number up to 65535"),
            ("127.0.0.1", "it has no port: write 127.0.0.1:PORT"),
            ("::1", "it has no port: write [::1]:PORT"),
            ("[::1]", "it has no port: write [::1]:PORT"),
            ("localhost:8591", NAME),
            ("127.0.0.1:65536", "a port is a number up to 65535"),
        ] {
            let reason = reason(server(transport).args([address, "--users", SAMPLES]), "--users users.toml");
            assert_eq!(reason, format!("invalid address {address:?}: {remedy}"));
        }
        for address in ["65536", ":65536", "*:65536"] {
            let reason = reason(server(transport).args([address, "--users", SAMPLES]), "--users users.toml");
            assert!(reason.contains("invalid port \"65536\": a port is a number up to 65535"), "{reason}");
        }
    }
}

/// The sandbox of the gateway cannot look an interface up.
#[test]
fn a_service_of_the_gateway_has_no_scope() {
    for service in ["[fe80::1%eth0]:8591", "[fe80::1%2]:8591"] {
        let reason = reason(letmein_http().args(["127.0.0.1:0", service]), "letmein-http");
        let remedy = "give an address without a scope, and a port from 1 to 65535";
        assert_eq!(reason, format!("invalid service address {service:?}: {remedy}"));
    }
}

/// Each line of it would break the file.
#[test]
fn an_audit_that_is_the_users_file_is_status_2() {
    let (users, folder) = (users_file("[users]\nalice = 'hunter2secret'\n"), tempfile::tempdir().unwrap());
    let link = folder.path().join("audit");
    fs::hard_link(&users, &link).unwrap();
    for transport in TRANSPORTS {
        for audit in [path(&users), link.to_str().unwrap()] {
            for more in [&[][..], &["--check"]] {
                let args = ["0", "--users", path(&users), "--audit", audit];
                let reason = reason(server(transport).args(args).args(more), "--users users.toml");
                assert!(reason.starts_with("the audit and the users file are the same file"), "{reason}");
            }
        }
    }
}

#[test]
fn a_server_that_anyone_can_guess_at_as_long_as_they_like_says_so() {
    for (args, warning) in [
        (&["--failures", "off", "--user-failures", "off"][..], Some("failed logins are not limited")),
        (&["--guesses", "off", "--user-guesses", "off"], Some("guesses by OPAQUE are not limited")),
        (&["--guesses", "off", "--user-guesses", "off", "--mechanisms", "md5"], None),
        (&["--user-guesses", "off"], None),
        (&["--trust", "0.0.0.0/0"], Some("--trust 0.0.0.0/0 is every address")),
        (&["--failures", "off", "--trust", "10.0.0.0/8"], None),
    ] {
        let ended = run(server(TRANSPORTS[0]).args(["--check", "--users", SAMPLES]).args(args));
        assert_eq!(ended.status, 0, "{ended:?}");
        assert_eq!(ended.stderr.contains("anyone can guess passwords"), warning.is_some(), "{ended:?}");
        assert!(ended.stderr.contains(warning.unwrap_or_default()), "{ended:?}");
    }
}

#[test]
fn a_server_that_leaves_out_the_mechanism_of_its_users_says_so() {
    for (mechanisms, warns) in [("md5", false), ("md5,opaque", false), ("opaque", true)] {
        let ended =
            run(server(TRANSPORTS[0]).args(["--check", "--users", SAMPLES, "--mechanisms", mechanisms]));
        let warning = "--mechanisms leaves out md5: users with a password cannot log in";
        assert_eq!((ended.status, ended.stderr.contains(warning)), (0, warns), "{ended:?}");
    }
}

/// No argument of a server is a password.
#[test]
fn an_argument_that_a_server_does_not_know_is_status_2_and_shown() {
    for transport in TRANSPORTS {
        for (arguments, expected) in [
            (&["0", "1"][..], "unexpected argument \"1\" (--help"),
            (
                &["0", "--port", "8591"],
                "unknown option --port: the address is an argument, as in the example (--help",
            ),
            (&["0", "-p"], "unknown option -p: the address is an argument"),
            (&["0", "-x"], "unknown option -x (--help lists all options)"),
            (&["0", "--verbose"], "unknown option --verbose (--help"),
            (&["0", "--workers", "many"], "invalid value \"many\" for --workers: give a whole number"),
            (
                &["0", "--guesses", "0/60s"],
                "invalid limit \"0/60s\": give 1 to 255 guesses and a time of 1 s to",
            ),
            (&["0", "--workers", "0"], "invalid value \"0\" for --workers: give a number from 1 to 1024"),
            (&["0", "--usres", "x"], "unknown option --usres: did you mean --users? (--help"),
            (&["0", "-users", "x"], "unknown option -u: did you mean --users? (--help"),
            (&["-v"], "unknown option -v: did you mean --version? (--help"),
            (&["0", "--user", "u.toml"], "invalid user \"u.toml\": that is a file: did you mean --users?"),
            (&["0", "--user", "./u"], "invalid user \"./u\": that is a file: did you mean --users?"),
            (&["0", "--audit", ""], "invalid audit \"\": name a file, or write - for standard output"),
            (&["0", "--check=yes"], "unexpected value 'yes' for '--check' found; no more were expected"),
        ] {
            let reason = reason(server(transport).args(arguments), "--users users.toml");
            assert!(reason.starts_with(expected), "{reason}");
        }
    }
}

#[test]
fn a_log_that_a_server_does_not_know_is_status_2() {
    let mistakes: &[(&[&str], &str)] = &[
        (&["--log-format", "xml"], "invalid log format \"xml\": choose text or json"),
        (&["--log-format", ""], "invalid log format \"\": choose text or json"),
        (&["--log-level", "loud"], "invalid log level \"loud\": choose error, warn, info, debug or trace"),
        (&["--log-level", "off"], "invalid log level \"off\": choose error"),
        (&["--debug", "--log-level", "debug"], "'--debug' cannot be used with '--log-level <LEVEL>'"),
        (&["--log-level", "info", "-d"], "'--log-level <LEVEL>' cannot be used with '--debug'"),
    ];
    for transport in TRANSPORTS {
        for (args, expected) in mistakes {
            let reason = reason(server(transport).args(*args), "--users users.toml");
            assert!(reason.contains(expected), "{args:?}: {reason}");
        }
    }
}

#[test]
fn the_example_of_a_server_is_one_of_that_server() {
    for transport in TRANSPORTS {
        let example = format!("Example: {} 127.0.0.1:8591", program(transport));
        reason(server(transport).arg("x"), &example);
    }
}

fn programs() -> [(&'static str, Command); 6] {
    let [udp, tcp] = TRANSPORTS.map(|transport| (program(transport), server(transport)));
    [
        ("letmein", letmein()),
        udp,
        tcp,
        ("exchange", exchange()),
        ("letmein-http", letmein_http()),
        ("letmein-bench", bench()),
    ]
}

/// The width of the widest line.
fn width(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap()
}

#[test]
fn help_is_on_standard_output_and_tells_the_statuses() {
    for (name, mut program) in programs() {
        let Ended { status, stdout, stderr } = run(program.arg("--help"));
        assert_eq!((status, &*stderr), (0, ""));
        assert!(stdout.contains(&format!("Usage: {name} ")), "{stdout}");
        assert!(stdout.contains("Examples:\n") && stdout.contains("Exit status: 0 "), "{stdout}");
        assert!(width(&stdout) <= 80, "{stdout}");
    }
}

#[test]
fn short_help_is_one_screen() {
    for (name, mut program) in programs() {
        let Ended { status, stdout, stderr } = run(program.arg("-h"));
        assert_eq!((status, &*stderr), (0, ""));
        assert!(stdout.contains(&format!("Usage: {name} ")), "{stdout}");
        assert!(stdout.lines().count() <= 24 && width(&stdout) <= 80, "{stdout}");
    }
}

#[test]
fn help_of_a_server_has_its_options_under_headings() {
    for transport in TRANSPORTS {
        let help = run(server(transport).arg("--help")).stdout;
        for heading in [
            "Users and addresses:",
            "Limits on guessing:",
            "Log and audit:",
            "Monitoring:",
            "Sandbox:",
            "Check and test:",
            "Small services:",
        ] {
            assert!(help.lines().any(|line| line == heading), "{heading}\n{help}");
        }
    }
}

/// `letmein` takes a password as an argument, which may begin with a dash.
#[test]
fn help_beside_other_arguments_is_a_success_where_none_may_be_a_password() {
    let server_help = TRANSPORTS.map(|transport| run(server(transport).args(["8591", "--help"])));
    for ended in [run(exchange().args(["md5", "--help"])), run(letmein_http().args(["--tcp", "-h"]))]
        .into_iter()
        .chain(server_help)
    {
        assert!(ended.status == 0 && ended.stdout.contains("Usage: "), "{ended:?}");
    }
}

#[test]
fn the_version_is_on_standard_output_with_the_name_of_the_program() {
    for (name, mut program) in programs() {
        let stdout = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(run(program.arg("--version")), Ended { status: 0, stdout, stderr: String::new() });
    }
}

/// Whoever asks for an audit and gets none had better be told.
#[test]
fn an_option_that_a_service_has_no_use_for_is_refused_with_the_reason() {
    let of_auth: [&[&str]; 12] = [
        &["--allow-sample-users"],
        &["--audit", "audit.jsonl"],
        &["--failures", "off"],
        &["--user-failures", "60/60s"],
        &["--guesses", "off"],
        &["--user-guesses", "60/60s"],
        &["--trust", "10.0.0.0/8"],
        &["--http", "127.0.0.1:0"],
        &["--http", "127.0.0.1:0", "--http-reasons"],
        &["--log-unknown-names"],
        &["--workers", "1"],
        &["--audit", "-", "--check"],
    ];
    let [udp, tcp] = TRANSPORTS;
    for (transport, service) in [(udp, "md5"), (udp, "hello"), (tcp, "md5"), (tcp, "framed")] {
        for options in of_auth {
            let reason = reason(server(transport).args(["0", "--service", service]).args(options), AT);
            let start = format!("{} is for auth, and --service {service} over ", options[0]);
            assert!(reason.starts_with(&start), "{reason}");
        }
    }
    for (transport, service, option, fits) in [
        (udp, "auth", &["--quiet"][..], "md5, hello and framed"),
        (udp, "auth", &["--once"], "md5 and hello over UDP"),
        (tcp, "md5", &["--once"], "md5 and hello over UDP"),
        (tcp, "framed", &["--once"], "md5 and hello over UDP"),
        (tcp, "md5", &["--buffer-size", "4096"], "framed"),
        (udp, "hello", &["--max-message", "10"], "framed"),
        (tcp, "auth", &["--max-message", "10"], "framed"),
    ] {
        let reason = reason(server(transport).args(["0", "--service", service]).args(option), AT);
        assert!(reason.starts_with(&format!("{} is for {fits}, and ", option[0])), "{reason}");
    }
}

/// A socket of datagrams keeps apart what a program writes at once.
#[test]
fn a_line_of_an_error_is_written_at_once() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let mut command = letmein();
    command
        .args(["127.0.0.1:8591", "userone", "--password-file", "/nonexistent"])
        .stderr(OwnedFd::from(theirs));
    assert_eq!(command.status().unwrap().code(), Some(2));
    drop(command);
    let mut line = [0; 1024];
    let len = ours.recv(&mut line).unwrap();
    let line = str::from_utf8(&line[..len]).unwrap();
    assert!(line.starts_with("letmein: ") && line.ends_with('\n'), "{line:?}");
}
