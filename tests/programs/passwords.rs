//! Where the client takes a password from, and where nobody else sees it.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::iter;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::peers::{REQUEST, receive, udp_socket};
use crate::running::{
    Ended, SAMPLES, Server, letmein, letmein_users, path, refused, run, users_file, welcome,
};

/// A password at the start of a text, however its line ends.
const TEXTS: [&str; 5] =
    ["\u{feff}passwordone\r\n", "passwordone", "passwordone\n", "passwordone\r\n", "passwordone\nmore\n"];

#[test]
fn a_password_is_read_from_the_first_line_of_a_file() {
    let server = Server::udp();
    for text in TEXTS {
        let file = users_file(text);
        assert_eq!(server.login(&["userone", "--password-file", path(&file)]), welcome(), "{text:?}");
    }
}

#[test]
fn a_password_is_read_from_the_first_line_of_standard_input() {
    let server = Server::udp();
    for text in TEXTS {
        let client = &mut server.client();
        client.args(["userone", "--password-stdin"]);
        assert_eq!(run_with_input(client, text), welcome(), "{text:?}");
    }
}

#[test]
fn one_nul_at_the_very_end_is_no_part_of_a_password_and_any_other_is_wrong() {
    let server = Server::udp();
    let given = |text: &str| run_with_input(server.client().args(["userone", "--password-stdin"]), text);
    assert_eq!(given("passwordone\0"), welcome());
    assert_eq!(given("\0").status, 2, "it is empty");
    for text in ["passwordone\0\0", "passwordone\0\n", "password\0one"] {
        assert_eq!(given(text).status, 2, "{text:?}");
    }
    let longest = "p".repeat(128);
    let server =
        Server::with_users(proto::transport::Transport::Udp, &format!("[users]\nuserone = '{longest}'\n"));
    let client = &mut server.client();
    assert_eq!(
        run_with_input(client.args(["userone", "--password-stdin"]), &format!("{longest}\0")),
        welcome()
    );
}

pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

/// An accent may be a character of its own, which makes a password longer than it is in its normal form.
#[test]
fn a_password_is_read_whole_however_its_accents_are_written() {
    let normal = format!("a{}", "\u{e9}".repeat(60));
    let server =
        Server::with_users(proto::transport::Transport::Udp, &format!("[users]\nuserone = '{normal}'\n"));
    let file = users_file(format!("a{}\n", "e\u{301}".repeat(60)));
    assert_eq!(server.login(&["userone", "--password-file", path(&file)]), welcome());
}

#[test]
fn white_space_before_the_end_of_the_line_is_part_of_a_password() {
    let server = Server::udp();
    let file = users_file("passwordone\t\n");
    assert_eq!(server.login(&["userone", "--password-file", path(&file)]), refused());
    for text in [" passwordone", "passwordone "] {
        let stderr = "letmein: warning: the password begins or ends with a space\n".to_owned();
        let warned = Ended { stderr, ..refused() };
        let file = users_file(text);
        assert_eq!(server.login(&["userone", "--password-file", path(&file)]), warned, "{text:?}");
        assert_eq!(server.login(&["userone", text]), warned, "{text:?}");
        assert_eq!(server.login(&["userone", text, "--quiet"]).stderr, "", "{text:?}");
    }
}

#[test]
fn a_password_is_read_from_the_environment_if_it_is_given_nowhere_else() {
    let server = Server::udp();
    let client = || {
        let mut client = server.client();
        client.env("LETMEIN_PASSWORD", "passwordone").arg("userone");
        client
    };
    assert_eq!(run(&mut client()), welcome());
    assert_eq!(run(client().arg("wrong")), refused());
    assert_eq!(run(client().args(["--password-file", path(&users_file("wrong"))])), refused());
    assert_eq!(run_with_input(client().arg("--password-stdin"), "wrong"), refused());
}

#[test]
fn a_password_that_begins_with_a_dash_goes_after_two_dashes() {
    let server = Server::with_users(proto::transport::Transport::Udp, "[users]\nuserone = \"-hunter2\"\n");
    assert_eq!(server.login(&["--", "userone", "-hunter2"]), welcome());
}

#[test]
fn a_password_argument_is_gone_from_the_process_list_before_anything_is_sent() {
    let server = udp_socket();
    let address = server.local_addr().unwrap().to_string();
    let mut client = letmein().args([&*address, "userone", "hunter2secret"]).spawn().unwrap();
    assert_eq!(receive(&server).1, REQUEST);
    let words = fs::read(format!("/proc/{}/cmdline", client.id())).unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    let words = String::from_utf8(words).unwrap();
    assert!(words.contains("userone") && !words.contains("hunter2secret"), "{words:?}");
}

/// The user `nobody` of most systems.
pub(crate) const NOT_ROOT: u32 = 65_534;

/// Root may write to any memory, so this is tried as another user, if root runs the tests.
#[test]
fn the_memory_of_a_client_is_hidden_once_its_password_argument_is_wiped() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("letmein");
    fs::copy(env!("CARGO_BIN_EXE_letmein"), &program).unwrap();
    let server = udp_socket();
    let mut client = Command::new(program);
    client.args([&*server.local_addr().unwrap().to_string(), "userone", "hunter2secret"]);
    if rustix::process::geteuid().is_root() {
        client.uid(NOT_ROOT).gid(NOT_ROOT);
    }
    client.stdout(Stdio::null()).stderr(Stdio::null());
    // A child of another test has the copy open for writing from its fork to its exec.
    let is_busy = |error: &io::Error| error.kind() == io::ErrorKind::ExecutableFileBusy;
    let mut spawned = iter::repeat_with(|| client.spawn());
    let mut client = spawned.find(|spawned| !spawned.as_ref().is_err_and(is_busy)).unwrap().unwrap();
    assert_eq!(receive(&server).1, REQUEST);
    let of_client = |name| format!("/proc/{}/{name}", client.id());
    let words = fs::read(of_client("cmdline")).unwrap();
    let limits = fs::read_to_string(of_client("limits")).unwrap();
    let owner = fs::metadata(of_client("mem")).unwrap().uid();
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(!String::from_utf8(words).unwrap().contains("hunter2secret"));
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    assert_eq!(owner, 0, "the memory can be read by debuggers");
}

/// Status 2, with a reason that has `reason` in it.
fn assert_usage(ended: &Ended, reason: &str) {
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    assert!(ended.stderr.lines().nth(1).is_some_and(|line| line.contains(reason)), "{ended:?}");
}

#[test]
fn no_password_and_no_terminal_to_ask_at_is_status_2() {
    let ended = run(letmein().args(["127.0.0.1:8591", "userone"]));
    assert_usage(&ended, "no password: give it with --password-file");
}

#[test]
fn a_password_that_cannot_be_read_is_status_2() {
    let client = |args: &[&str]| run(letmein().args(["127.0.0.1:8591", "userone"]).args(args));
    let unreadable = |file: &str| {
        let Ended { status, stderr, .. } = client(&["--password-file", file]);
        let reason = format!("letmein: cannot read the password from {file}: ");
        assert!(status == 2 && stderr.starts_with(&reason), "{stderr}");
    };
    unreadable("/nosuch/file");
    let too_long = users_file("p".repeat(129));
    assert_usage(&client(&["--password-file", path(&too_long)]), "longer than 128 bytes");
    let not_text = users_file([0xff, b'\n']);
    let Ended { status, stderr, .. } = client(&["--password-file", path(&not_text)]);
    assert_eq!((status, stderr), (2, format!("letmein: {} is not UTF-8\n", path(&not_text))));
    let blank = users_file("\npasswordone\n");
    let Ended { status, stderr, .. } = client(&["--password-file", path(&blank)]);
    assert_eq!((status, stderr), (2, format!("letmein: the first line of {} is empty\n", path(&blank))));
}

#[test]
fn a_password_file_that_others_can_read_is_warned_of() {
    let server = Server::udp();
    let file = users_file("passwordone\n");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let warning = |program: &str| {
        format!("{program}: warning: others can read {}: keep passwords in files of mode 600\n", path(&file))
    };
    let stderr = warning("letmein");
    assert_eq!(server.login(&["userone", "--password-file", path(&file)]), Ended { stderr, ..welcome() });
    let verify = ["--users", SAMPLES, "verify", "userone", "--password-file", path(&file)];
    let Ended { status, stderr, .. } = run(letmein_users().args(verify));
    assert_eq!((status, stderr), (0, warning("letmein-users")));
}
