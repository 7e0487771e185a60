//! `letmein-users`: changes of users files, and what is said about them.

mod command_line;
mod conditions;
mod forms;
mod imports;
mod keys;
mod one_user;
mod opaque;
mod replacement;
mod two_passwords;

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::iter;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use proto::transport::Transport;
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::passwords::NOT_ROOT;
use crate::running::{Ended, Server, letmein_users, program_file, run, welcome};

/// Never to be shown.
const SECRET: &str = "hunter2secret";
/// Passwords that nobody can guess.
const STRONG: &str = "kmzx7q2vtb9dhwy4nfcrp3sgj8";
const STRONG2: &str = "w4nfcrp3sgj8kmzx7q2vtb9dhy";
const TEXT: &str = "\
# Staff
[users] # all of them

# the boss
alice   = \"hunter2secret\" # since 2020
bob = { password = \"hunter2secret2\",  disabled = true }
carol.password = 'hunter2secret3' # hers

[users.dave]
# his
password = \"hunter2secret4\"
";

/// A folder with a users file in it.
struct Folder(TempDir);

impl Folder {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(text: &str) -> Self {
        let folder = Self::empty();
        fs::write(folder.file(), text).unwrap();
        fs::set_permissions(folder.file(), Permissions::from_mode(0o600)).unwrap();
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("users.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = letmein_users();
        command.arg("--users").arg(self.file()).args(args);
        command
    }

    /// What was said, with the file's name as FILE.
    fn run(&self, args: &[&str]) -> Ended {
        self.shown(run(&mut self.command(args)))
    }

    fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ended {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // Whoever does not read it may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        self.shown(child.wait_with_output().unwrap().into())
    }

    fn shown(&self, ended: Ended) -> Ended {
        assert!(!format!("{ended:?}").contains(SECRET), "{ended:?}");
        let shown = |text: String| text.replace(self.file().to_str().unwrap(), "FILE");
        Ended { status: ended.status, stdout: shown(ended.stdout), stderr: shown(ended.stderr) }
    }

    /// Nothing but the users file.
    fn assert_tidy(&self) {
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 1);
    }
}

fn done(stdout: &str) -> Ended {
    Ended { status: 0, stdout: stdout.into(), stderr: String::new() }
}

fn not_done(status: i32, stderr: &str) -> Ended {
    Ended { status, stdout: String::new(), stderr: format!("letmein-users: {stderr}\n") }
}

/// `TEXT` with something else for a part of it.
fn text_with(old: &str, new: &str) -> String {
    assert_eq!(TEXT.matches(old).count(), 1, "{old}");
    TEXT.replacen(old, new, 1)
}

#[test]
fn each_command_changes_what_it_says_and_nothing_else() {
    const PASSWD: &[&str] = &["--password-stdin"];
    let quoted = format!("\"{STRONG}\"");
    for (args, old, new) in [
        (&["add", "eve", PASSWD[0]][..], "# hers\n", &*format!("# hers\neve = \"{STRONG}\"\n")),
        (&["passwd", "alice", PASSWD[0]], "\"hunter2secret\"", &quoted),
        (&["passwd", "carol", PASSWD[0]], "'hunter2secret3'", &quoted),
        (&["passwd", "dave", PASSWD[0]], "\"hunter2secret4\"", &quoted),
        (&["disable", "alice"], "\"hunter2secret\"", "{ password = \"hunter2secret\", disabled = true }"),
        (&["disable", "dave"], "secret4\"\n", "secret4\"\ndisabled = true\n"),
        (&["enable", "bob"], ",  disabled = true", ""),
        (&["enable", "alice"], "alice", "alice"),
        (&["expire", "bob", "2027-01-31"], "= true }", "= true, expires = 2027-01-31 }"),
        (&["expire", "bob", "never"], "bob", "bob"),
        (&["from", "bob", "10.0.0.0/8", "::1"], "= true }", "= true, from = [\"10.0.0.0/8\", \"::1\"] }"),
        (&["from", "bob", "anywhere"], "bob", "bob"),
        (&["rename", "alice", "zoe"], "alice   =", "zoe   ="),
        (&["rename", "alice", "alice"], "alice", "alice"),
        (&["remove", "alice", "--yes"], "alice   = \"hunter2secret\" # since 2020\n", ""),
        (&["remove", "dave", "--yes"], "[users.dave]\n# his\npassword = \"hunter2secret4\"\n", "# his\n"),
    ] {
        let folder = Folder::with(TEXT);
        assert_eq!(folder.run_with_input(args, format!("{STRONG}\nmore\n")), done(""), "{args:?}");
        assert_eq!(folder.text(), text_with(old, new), "{args:?}");
        folder.assert_tidy();
    }
}

#[test]
fn the_first_user_makes_the_file_for_its_owner_alone() {
    let folder = Folder::empty();
    assert_eq!(folder.run_with_input(&["add", "alice", "--password-stdin"], STRONG), done(""));
    let text = folder.text();
    assert!(text.starts_with("# ") && text.ends_with(&format!("[users]\nalice = \"{STRONG}\"\n")), "{text}");
    assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o7777, 0o600);
    folder.assert_tidy();
}

#[test]
fn a_file_with_nothing_but_comments_gets_a_section() {
    for (text, changed) in [
        ("", "[users]\nalice = STRONG\n"),
        ("\u{feff}", "\u{feff}[users]\nalice = STRONG\n"),
        ("# Staff\r\n\r\n", "# Staff\r\n\r\n[users]\r\nalice = STRONG\r\n"),
        ("# Staff", "# Staff\n[users]\nalice = STRONG"),
    ] {
        for (args, input) in [
            (&["add", "alice", "--password-stdin"][..], STRONG),
            (&["import", "-"], &*format!("alice:{STRONG}")),
        ] {
            let folder = Folder::with(text);
            let Ended { status, stderr, .. } = folder.run_with_input(args, input);
            assert_eq!((status, &*stderr), (0, ""), "{text:?}");
            assert_eq!(folder.text(), changed.replace("STRONG", &format!("\"{STRONG}\"")));
        }
        let folder = Folder::with(text);
        assert_eq!(folder.run(&["disable", "alice"]).status, 2);
        assert_eq!(folder.text(), text);
    }
}

#[test]
fn a_comment_between_braces_stays_or_its_user_is_not_changed() {
    let text = "[users]\na = { password = \"hunter2secret\", # mine\n expires = 2027-01-31 }\n";
    let folder = Folder::with(text);
    let ended = folder.run(&["expire", "a", "never"]);
    assert_eq!(ended, not_done(2, "FILE:3:2: a comment would go with expires: take expires out by hand"));
    assert_eq!(folder.text(), text);
}

#[test]
fn a_generated_password_is_all_that_is_printed_and_logs_in() {
    let folder = Folder::empty();
    let mut passwords = Vec::new();
    for command in ["add", "passwd"] {
        let Ended { status: 0, stdout, stderr } = folder.run(&[command, "alice", "--generate"]) else {
            panic!()
        };
        assert_eq!((stdout.len(), &*stderr), (27, ""));
        assert!(stdout.trim_end().bytes().all(|byte| b"abcdefghijkmnpqrstuvwxyz23456789".contains(&byte)));
        let server = Server::with_users(Transport::Udp, &folder.text());
        assert_eq!(server.login(&["alice", stdout.trim_end()]), welcome());
        passwords.push(stdout);
    }
    assert_ne!(passwords[0], passwords[1]);
}

#[test]
fn a_user_who_is_there_is_not_added_and_one_who_is_not_is_not_changed() {
    let folder = Folder::with(TEXT);
    let exists = "FILE: there is a user alice already: change the password with passwd";
    assert_eq!(folder.run(&["add", "alice", "--generate"]), not_done(1, exists));
    let taken = "FILE: there is a user alice already: choose another name";
    assert_eq!(folder.run(&["rename", "bob", "alice"]), not_done(1, taken));
    for args in [
        &["passwd", "eve", "--generate"][..],
        &["disable", "eve"],
        &["from", "eve", "::1"],
        &["rename", "eve", "alice"],
        &["remove", "eve", "--yes"],
    ] {
        assert_eq!(folder.run(args), not_done(1, "FILE: there is no user eve"));
    }
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn without_a_file_nobody_is_changed() {
    for args in [&["disable", "alice"][..], &["list"], &["check"]] {
        let folder = Folder::empty();
        let Ended { status, stderr, .. } = folder.run(args);
        assert!(status == 2 && stderr.starts_with("letmein-users: FILE: No such file"), "{stderr}");
        assert!(
            stderr.contains(": create it with letmein-users --users FILE add NAME, or name another"),
            "{stderr}"
        );
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_file_that_may_not_be_read_or_replaced_is_an_error_with_a_remedy() {
    let folder = Folder::with(TEXT);
    if !geteuid().is_root() {
        writeln!(io::stderr(), "skipped: only root can run a program as somebody else").unwrap();
        return;
    }
    fs::set_permissions(folder.0.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = folder.0.path().join("letmein-users");
    fs::copy(program_file("letmein-users"), &copy).unwrap();
    let as_another_user = |args: &[&str]| {
        let mut command = Command::new(&copy);
        command.arg("--users").arg(folder.file()).args(args).uid(NOT_ROOT).gid(NOT_ROOT);
        // A child of another test has the copy open for writing from its fork to its exec.
        let is_busy = |error: &io::Error| error.kind() == io::ErrorKind::ExecutableFileBusy;
        let mut outputs = iter::repeat_with(|| command.output());
        let output = outputs.find(|output| !output.as_ref().is_err_and(is_busy)).unwrap().unwrap();
        folder.shown(output.into())
    };
    let remedy = "Permission denied (os error 13): run this as root, or as the file's owner";
    assert_eq!(as_another_user(&["list"]), not_done(2, &format!("FILE: {remedy}")));
    fs::set_permissions(folder.file(), Permissions::from_mode(0o644)).unwrap();
    let path = folder.0.path().display();
    let refused = not_done(3, &format!("cannot create a file in {path}: {remedy}"));
    assert_eq!(as_another_user(&["disable", "alice"]), refused);
}

#[test]
fn what_would_have_to_be_asked_is_an_error_without_a_terminal() {
    const OPTIONS: &str = "add --generate, --password-file or --password-stdin";
    let folder = Folder::with(TEXT);
    for (args, reason) in [
        (&["remove", "alice"][..], "refusing to remove a user without confirmation: add --yes".to_owned()),
        (&["add", "eve"], format!("no password given, and no terminal to ask for one: {OPTIONS}")),
        (&["passwd", "alice"], format!("no password given, and no terminal to ask for one: {OPTIONS}")),
    ] {
        let Ended { status, stderr, .. } = folder.run(args);
        assert!(status == 2 && stderr.contains(&reason), "{stderr}");
    }
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn a_file_with_problems_is_not_changed_and_they_are_shown() {
    let text = "[users]\nalice = \"hunter2secret\"\nbob = 7\ncarol = {}\n";
    for args in [&["disable", "alice"][..], &["check"], &["list"], &["add", "eve", "--generate"]] {
        let folder = Folder::with(text);
        let Ended { status, stdout, stderr } = folder.run(args);
        assert_eq!((status, &*stdout, stderr.lines().count()), (2, "", 2), "{args:?}");
        assert!(stderr.contains(" FILE:3:7: ") && stderr.contains(" FILE:4:9: "), "{stderr}");
        assert_eq!(folder.text(), text);
    }
}

#[test]
fn a_change_that_would_make_the_file_wrong_is_not_made() {
    let text = "[users]\nal = \"icexyz\"\n";
    let folder = Folder::with(text);
    let Ended { status, stderr, .. } = folder.run_with_input(&["add", "alice", "--password-stdin"], "xyz");
    assert_eq!(status, 2);
    assert!(stderr.contains("with this change the file would be wrong, so nothing was changed"), "{stderr}");
    assert!(stderr.contains("FILE:3:1: name and password of alice and of al, written together"), "{stderr}");
    assert_eq!(folder.text(), text);
    folder.assert_tidy();
}

#[test]
fn a_list_has_no_passwords_and_escapes_names() {
    let text = "[users]\n\"zo\u{202e}\" = \"hunter2secret\"\nbob = { password = \"p\", expires = 2001-01-31, \
                from = [\"10.0.0.0/8\", \"::1\"] }\nannabella = { password = \"p2\", disabled = true }\n";
    let folder = Folder::with(text);
    let table = "\
NAME        STATE     EXPIRES     FROM
zo\\u{202e}  enabled   never       anywhere
bob         expired   2001-01-31  10.0.0.0/8 ::1
annabella   disabled  never       anywhere
";
    assert_eq!(folder.run(&["list"]), done(table));
    let json = "[{\"name\":\"zo\u{202e}\",\"state\":\"enabled\",\"expires\":null,\"from\":[],\"old_until\":null,\"mechanism\":\"md5\"},\
                {\"name\":\"bob\",\"state\":\"expired\",\"expires\":\"2001-01-31\",\"from\":[\"10.0.0.0/8\",\"::1\"],\"old_until\":null,\"mechanism\":\"md5\"},\
                {\"name\":\"annabella\",\"state\":\"disabled\",\"expires\":null,\"from\":[],\"old_until\":null,\"mechanism\":\"md5\"}]\n";
    assert_eq!(folder.run(&["list", "--json"]), done(json));
}

#[test]
fn a_check_tells_what_is_weak_and_where() {
    let text = "[users]\nalice = \"hunter2secret\"\nbob = { password = \"kmzx7q2vtb9dhwy4nfcrp3sgj8\", \
                expires = 2001-01-31 }\n  carol = \"kmzx7q2vtb9dhwy4nfcrp3sgj8\"\n";
    let folder = Folder::with(text);
    fs::set_permissions(folder.file(), Permissions::from_mode(0o644)).unwrap();
    let Ended { status, stdout, stderr } = folder.run(&["check"]);
    assert_eq!((status, &*stderr), (0, ""));
    let expected = [
        "FILE: others can read the passwords in it: chmod o-r FILE",
        "FILE:2:9: the password of alice is weak: one GPU guesses it in ",
        "FILE:3:20: bob is expired: remove the user, or set a later day with expire",
        "FILE:4:11: carol has the same password as bob: ",
        "3 users, 4 warnings",
    ];
    assert_eq!(stdout.lines().count(), expected.len(), "{stdout}");
    assert!(stdout.lines().zip(expected).all(|(line, start)| line.starts_with(start)), "{stdout}");
}

#[test]
fn no_advice_has_a_name_in_a_command_to_paste() {
    let text = "[users]\n\"x; rm -rf y\" = { password = \"p\", expires = 2001-01-31 }\n";
    let folder = Folder::with(text);
    let checked = folder.run(&["check"]);
    let added = folder.run(&["add", "x; rm -rf y", "--generate"]);
    for advice in [checked.stdout, added.stderr.replacen("letmein-users: ", "", 1)] {
        assert!(advice.contains("x; rm -rf y") && !advice.contains("letmein-users"), "{advice}");
        assert!(!advice.contains("passwd x") && !advice.contains("remove x"), "{advice}");
    }
}

#[test]
fn a_weak_password_is_set_with_a_warning() {
    for (args, name) in [
        (&["add", "eve", "--password-stdin"][..], "eve"),
        (&["passwd", "alice", "--password-stdin"], "alice"),
        (&["passwd", "alice", "--password-stdin", "--keep-old"], "alice"),
    ] {
        let folder = Folder::with(TEXT);
        let Ended { status, stdout, stderr } = folder.run_with_input(args, "short");
        assert_eq!((status, &*stdout), (0, ""));
        let warning =
            format!("letmein-users: warning: the password of {name} is weak: one GPU guesses it in ");
        assert!(
            stderr.contains(&warning) && stderr.ends_with(": passwd --generate makes a better one\n"),
            "{stderr}"
        );
        assert!(folder.text().contains("\"short\"") && !stderr.contains("short"), "{stderr}");
        assert!(!folder.run_with_input(args, STRONG).stderr.contains("weak"));
    }
}

#[test]
fn a_password_that_begins_or_ends_with_a_space_is_set_with_a_warning() {
    for (password, what) in [
        (format!(" {STRONG}"), "begins with a space"),
        (format!("{STRONG}\u{a0}"), "ends with a space"),
        (format!(" {STRONG} "), "begins and ends with a space"),
    ] {
        let Ended { status, stderr, .. } =
            Folder::with(TEXT).run_with_input(&["add", "k9", "--password-stdin"], password);
        assert_eq!((status, stderr), (0, format!("letmein-users: warning: the password of k9 {what}\n")));
    }
}

#[test]
fn a_check_of_a_file_without_users_is_status_2_as_a_server_refuses_it() {
    let expected = Ended {
        status: 2,
        stdout: "FILE: no users in it: every login will be refused\n0 users, 1 warning\n".into(),
        stderr: String::new(),
    };
    assert_eq!(Folder::with("[users]\n").run(&["check"]), expected);
}

#[test]
fn a_check_of_a_good_file_says_so() {
    let folder = Folder::with("[users]\n");
    folder.run(&["add", "alice", "--generate"]);
    assert_eq!(folder.run(&["check"]), done("1 user, no problems\n"));
}

#[test]
fn names_in_errors_and_warnings_are_escaped() {
    let folder = Folder::with("[users]\n\"zo\u{202e}\" = \"p\"\n");
    let Ended { stdout, .. } = folder.run(&["check"]);
    assert!(stdout.contains("zo\\u{202e} is weak") && !stdout.contains('\u{202e}'), "{stdout}");
    assert_eq!(folder.run(&["disable", "\u{202e}"]), not_done(1, "FILE: there is no user \\u{202e}"));
}

#[test]
fn nobody_who_reads_standard_output_is_an_error_and_no_panic() {
    let folder = Folder::with(TEXT);
    for args in [&["list"][..], &["check"], &["passwd", "alice", "--generate"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended: Ended = folder.command(args).stdout(full).output().unwrap().into();
        assert_eq!((ended.status, ended.stderr.lines().count()), (3, 1), "{ended:?}");
    }
}
