//! `letmein-users`: changes of users files, and what is said about them.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use proto::transport::Transport;
use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use tempfile::TempDir;

use crate::flood;
use crate::running::{Ended, Server, letmein_users, run, welcome};

/// Never to be shown.
const SECRET: &str = "hunter2secret";
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
    for (args, old, new) in [
        (&["add", "eve", PASSWD[0]][..], "# hers\n", "# hers\neve = \"new\"\n"),
        (&["passwd", "alice", PASSWD[0]], "\"hunter2secret\"", "\"new\""),
        (&["passwd", "carol", PASSWD[0]], "'hunter2secret3'", "\"new\""),
        (&["passwd", "dave", PASSWD[0]], "\"hunter2secret4\"", "\"new\""),
        (&["disable", "alice"], "\"hunter2secret\"", "{ password = \"hunter2secret\", disabled = true }"),
        (&["disable", "dave"], "secret4\"\n", "secret4\"\ndisabled = true\n"),
        (&["enable", "bob"], ",  disabled = true", ""),
        (&["enable", "alice"], "alice", "alice"),
        (&["expire", "bob", "2027-01-31"], "= true }", "= true, expires = 2027-01-31 }"),
        (&["expire", "bob", "never"], "bob", "bob"),
        (&["remove", "alice", "--yes"], "alice   = \"hunter2secret\" # since 2020\n", ""),
        (&["remove", "dave", "--yes"], "[users.dave]\n# his\npassword = \"hunter2secret4\"\n", "# his\n"),
    ] {
        let folder = Folder::with(TEXT);
        assert_eq!(folder.run_with_input(args, "new\nmore\n"), done(""), "{args:?}");
        assert_eq!(folder.text(), text_with(old, new), "{args:?}");
        folder.assert_tidy();
    }
}

#[test]
fn the_first_user_makes_the_file_for_its_owner_alone() {
    let folder = Folder::empty();
    assert_eq!(folder.run_with_input(&["add", "alice", "--password-stdin"], SECRET), done(""));
    let text = folder.text();
    assert!(text.starts_with("# ") && text.ends_with("[users]\nalice = \"hunter2secret\"\n"), "{text}");
    assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o7777, 0o600);
    folder.assert_tidy();
}

#[test]
fn a_file_with_nothing_but_comments_gets_a_section() {
    for (text, changed) in [
        ("", "[users]\nalice = \"new\"\n"),
        ("\u{feff}", "\u{feff}[users]\nalice = \"new\"\n"),
        ("# Staff\r\n\r\n", "# Staff\r\n\r\n[users]\r\nalice = \"new\"\r\n"),
        ("# Staff", "# Staff\n[users]\nalice = \"new\""),
    ] {
        for (args, input) in
            [(&["add", "alice", "--password-stdin"][..], "new"), (&["import", "-"], "alice:new")]
        {
            let folder = Folder::with(text);
            let Ended { status, stderr, .. } = folder.run_with_input(args, input);
            assert_eq!((status, &*stderr), (0, ""), "{text:?}");
            assert_eq!(folder.text(), changed);
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
    for args in [&["passwd", "eve", "--generate"][..], &["disable", "eve"], &["remove", "eve", "--yes"]] {
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
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_would_have_to_be_asked_is_an_error_without_a_terminal() {
    let folder = Folder::with(TEXT);
    for (args, remedy) in [
        (&["remove", "alice"][..], "add --yes"),
        (&["add", "eve"], "add --generate or --password-stdin"),
        (&["passwd", "alice"], "add --generate or --password-stdin"),
    ] {
        let Ended { status, stderr, .. } = folder.run(args);
        assert!(status == 2 && stderr.contains("no terminal") && stderr.contains(remedy), "{stderr}");
    }
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn a_wrong_command_line_is_status_2_and_shows_no_password() {
    for args in [
        &[][..],
        &["add"],
        &["add", "eve", SECRET],
        &["add", "eve", "--generate", "--password-stdin"],
        &["add", "a:b", "--generate"],
        &["expire", "alice", "2027-02-30"],
        &["expire", "alice", "tomorrow"],
        &["nosuch"],
    ] {
        let folder = Folder::with(TEXT);
        let Ended { status, stdout, stderr } = folder.run(args);
        assert_eq!((status, &*stdout, stderr.lines().count()), (2, "", 3), "{args:?}: {stderr}");
    }
}

#[test]
fn help_of_the_program_and_of_each_command_is_status_0() {
    for command in ["", "add", "passwd", "disable", "enable", "expire", "remove", "list", "check", "import"] {
        let args = [command, "--help"].into_iter().filter(|word| !word.is_empty());
        let Ended { status, stdout, stderr } = run(letmein_users().args(args));
        assert_eq!((status, &*stderr), (0, ""), "{command}");
        assert!(stdout.contains(&format!("Usage: letmein-users {command}")), "{stdout}");
    }
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
    let json = "[{\"name\":\"zo\u{202e}\",\"state\":\"enabled\",\"expires\":null,\"from\":[]},\
                {\"name\":\"bob\",\"state\":\"expired\",\"expires\":\"2001-01-31\",\"from\":[\"10.0.0.0/8\",\"::1\"]},\
                {\"name\":\"annabella\",\"state\":\"disabled\",\"expires\":null,\"from\":[]}]\n";
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
        "FILE:2:9: the password of alice may be guessable: whoever captures a login needs ",
        "FILE:3:20: bob is expired: ",
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
fn a_check_of_a_good_file_says_so() {
    let folder = Folder::with("[users]\n");
    folder.run(&["add", "alice", "--generate"]);
    assert_eq!(folder.run(&["check"]), done("1 user, no problems\n"));
}

#[test]
fn lines_are_imported_but_for_blank_ones_and_comments() {
    let folder = Folder::with(TEXT);
    let list = "# new\r\neve:hunter2secret:5\r\n\r\nfrank b: hunter2secret6 \n";
    assert_eq!(folder.run_with_input(&["import", "-"], list), done("+2 users, 0 changed\n"));
    let lines = "# hers\neve = \"hunter2secret:5\"\n\"frank b\" = \" hunter2secret6 \"\n";
    assert_eq!(folder.text(), text_with("# hers\n", lines));
}

#[test]
fn tables_are_imported_with_their_conditions() {
    let folder = Folder::with("[users]\n");
    let list = "password,name,from,disabled,expires\n\"hunter2,\"\"secret\",eve,10.0.0.0/8 ::1,true,2027-01-31\n\
                hunter2secret,frank,,false,\n";
    assert_eq!(folder.run_with_input(&["import", "--csv", "-"], list), done("+2 users, 0 changed\n"));
    assert_eq!(
        folder.text(),
        "[users]\neve = { password = 'hunter2,\"secret', disabled = true, expires = 2027-01-31, \
         from = [\"10.0.0.0/8\", \"::1\"] }\nfrank = \"hunter2secret\"\n"
    );
}

#[test]
fn all_problems_of_a_list_are_told_and_nothing_is_imported() {
    let folder = Folder::with(TEXT);
    let list = "eve:hunter2secret\nhunter2secret\na\tb:hunter2secret\n\nfrank:\neve:hunter2secret\n";
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "-"], list);
    let places: Vec<_> = stderr.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(status, 2);
    assert_eq!(places, [2, 3, 5, 6].map(|line| format!("standard input:{line}")), "{stderr}");
    let list = "name,password,disabled,expires,from\neve,hunter2secret,yes,,\nfrank,hunter2secret,,2027-02-30,\n\
                grace,hunter2secret,,,office\nheidi,hunter2secret\n";
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "--csv", "-"], list);
    assert_eq!((status, stderr.lines().count()), (2, 4), "{stderr}");
    for header in ["name", "name,password,colour", "name,password,name"] {
        let Ended { status, stderr, .. } = folder.run_with_input(&["import", "--csv", "-"], header);
        assert!(status == 2 && stderr.contains("standard input:1: "), "{stderr}");
    }
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn a_list_that_is_not_utf8_is_refused_with_the_line() {
    let folder = Folder::with(TEXT);
    let ended = folder.run_with_input(&["import", "-"], b"eve:hunter2secret\nfrank:\xff\n");
    assert_eq!(ended, not_done(2, "standard input:2: this line is not UTF-8: save the list as UTF-8"));
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn names_in_errors_and_warnings_are_escaped() {
    let folder = Folder::with("[users]\n\"zo\u{202e}\" = \"p\"\n");
    let Ended { stdout, .. } = folder.run(&["check"]);
    assert!(stdout.contains("zo\\u{202e} may be guessable") && !stdout.contains('\u{202e}'), "{stdout}");
    assert_eq!(folder.run(&["disable", "\u{202e}"]), not_done(1, "FILE: there is no user \\u{202e}"));
}

#[test]
fn a_file_that_is_no_file_is_not_replaced() {
    let folder = Folder::empty();
    symlink("/dev/zero", folder.file()).unwrap();
    let Ended { status, stderr, .. } = folder.run(&["add", "eve", "--generate"]);
    assert!(status == 3 && stderr.ends_with("cannot replace: it is no regular file\n"), "{stderr}");
}

#[test]
fn users_who_are_there_are_imported_only_to_replace_their_passwords() {
    let folder = Folder::with(TEXT);
    let list = "name,password,disabled\nbob,new,\neve,hunter2secret5,\n";
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "--csv", "-"], list);
    assert!(status == 2 && stderr.contains("standard input:2: there is a user bob already"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
    let ended = folder.run_with_input(&["import", "--csv", "--replace", "-"], list);
    assert_eq!(ended, done("+1 user, 1 changed\n"));
    let text = text_with("\"hunter2secret2\"", "\"new\"");
    assert_eq!(folder.text(), text.replace("# hers\n", "# hers\neve = \"hunter2secret5\"\n"));
}

#[test]
fn conditions_of_users_who_are_there_are_not_imported_and_not_lost() {
    let folder = Folder::with(TEXT);
    let list = "name,password,disabled,expires,from\nalice,new,true,,\neve,new2,true,,\nbob,new3,,,\n\
                carol,new4,,2027-01-31,\ndave,new5,,,::1\n";
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "--csv", "--replace", "-"], list);
    let places: Vec<_> = stderr.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(status, 2);
    assert_eq!(places, [2, 5, 6].map(|line| format!("standard input:{line}")), "{stderr}");
    assert!(stderr.contains("--replace changes only the password: "), "{stderr}");
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn the_owner_and_the_mode_of_the_file_stay() {
    let folder = Folder::with(TEXT);
    let is_root = chown(folder.file(), Some(12), Some(34)).is_ok();
    fs::set_permissions(folder.file(), Permissions::from_mode(0o640)).unwrap();
    assert_eq!(folder.run(&["disable", "alice"]), done(""));
    let metadata = fs::metadata(folder.file()).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert!(!is_root || (metadata.uid(), metadata.gid()) == (12, 34));
}

#[test]
fn a_file_with_an_access_control_list_is_not_replaced() {
    let folder = Folder::with(TEXT);
    if !set_access_list(&folder.file(), "system.posix_acl_access") {
        return;
    }
    let Ended { status, stderr, .. } = folder.run(&["disable", "alice"]);
    assert_eq!(status, 2);
    assert!(stderr.starts_with("letmein-users: FILE: it has an access control list"), "{stderr}");
    assert!(stderr.contains("nothing was changed; take it away with setfacl -b"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
    folder.assert_tidy();
    assert_eq!(folder.run(&["enable", "alice"]), done(""), "nothing is to be changed");
}

#[test]
fn a_new_file_has_no_access_control_list_of_its_folder() {
    let folder = Folder::with(TEXT);
    if !set_access_list(folder.0.path(), "system.posix_acl_default") {
        return;
    }
    fs::set_permissions(folder.file(), Permissions::from_mode(0o640)).unwrap();
    assert_eq!(folder.run(&["disable", "alice"]), done(""));
    let list = rustix::fs::getxattr(folder.file(), "system.posix_acl_access", &mut [0; 100]);
    assert_eq!(list, Err(Errno::NODATA));
    assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o7777, 0o640);
}

/// Lets user 1 read; false where the file system has no such lists.
fn set_access_list(path: &Path, name: &str) -> bool {
    const EVERYBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, EVERYBODY),
        (0x02, 4, 1),
        (0x04, 0, EVERYBODY),
        (0x10, 4, EVERYBODY),
        (0x20, 0, EVERYBODY),
    ];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    match rustix::fs::setxattr(path, name, &list, XattrFlags::empty()) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error, Errno::OPNOTSUPP);
            false
        }
    }
}

#[test]
fn a_file_with_another_name_is_not_replaced() {
    let folder = Folder::with(TEXT);
    let other = folder.0.path().join("other.toml");
    fs::hard_link(folder.file(), &other).unwrap();
    let Ended { status, stderr, .. } = folder.run(&["disable", "alice"]);
    assert!(status == 2 && stderr.contains("FILE: it has another name, a hard link"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
    fs::remove_file(other).unwrap();
    assert_eq!(folder.run(&["disable", "alice"]), done(""));
}

#[test]
fn a_link_stays_and_the_file_that_it_leads_to_is_replaced() {
    let (folder, other) = (Folder::with(TEXT), Folder::empty());
    symlink(folder.file(), other.file()).unwrap();
    assert_eq!(other.run(&["enable", "bob"]), done(""));
    assert!(fs::symlink_metadata(other.file()).unwrap().is_symlink());
    assert_eq!(folder.text(), text_with(",  disabled = true", ""));
    other.assert_tidy();
    folder.assert_tidy();
}

#[test]
fn a_file_that_everybody_can_write_is_not_changed() {
    let folder = Folder::with(TEXT);
    fs::set_permissions(folder.file(), Permissions::from_mode(0o602)).unwrap();
    let Ended { status, stderr, .. } = folder.run(&["disable", "alice"]);
    assert!(status == 2 && stderr.contains("everybody can write it"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn what_a_stopped_change_has_left_is_removed() {
    let folder = Folder::with(TEXT);
    fs::write(folder.0.path().join(".users.toml.new"), "half").unwrap();
    assert_eq!(folder.run(&["enable", "bob"]), done(""));
    folder.assert_tidy();
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

#[test]
fn a_change_says_that_it_waits_for_another() {
    let folder = Folder::with(TEXT);
    let held = fs::File::open(folder.0.path()).unwrap();
    held.lock().unwrap();
    let mut child = folder.command(&["enable", "bob"]).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    let path = folder.0.path().canonicalize().unwrap();
    assert_eq!(said, format!("letmein-users: waiting for another change of {}\n", path.display()));
    assert_eq!(folder.text(), TEXT);
    held.unlock().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(folder.text(), text_with(",  disabled = true", ""));
}

#[test]
#[ignore = "takes ten seconds"]
fn a_lock_that_is_never_given_up_is_an_error() {
    let folder = Folder::with(TEXT);
    let held = fs::File::open(folder.0.path()).unwrap();
    held.lock().unwrap();
    let Ended { status, stderr, .. } = folder.run(&["enable", "bob"]);
    assert_eq!((status, stderr.lines().count()), (3, 2), "{stderr}");
    assert!(stderr.contains("somebody keeps the lock on this folder, so nothing was changed"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn two_hundred_users_added_at_once_are_all_there() {
    let folder = Folder::empty();
    thread::scope(|scope| {
        for thread in 0..8 {
            let folder = &folder;
            scope.spawn(move || {
                for number in 0..25 {
                    let ended = folder.run(&["add", &format!("user{thread}-{number}"), "--generate"]);
                    assert_eq!(ended.status, 0, "{ended:?}");
                    assert!(ended.stderr.lines().all(|line| line.contains(" waiting for ")), "{ended:?}");
                }
            });
        }
    });
    assert_eq!(users::load(&folder.file()).unwrap().users.len(), 200);
    folder.assert_tidy();
}

#[test]
fn a_writer_that_is_killed_leaves_the_old_file_or_the_new_one() {
    kill_writers(20);
}

#[test]
#[ignore = "takes half a minute"]
fn hundreds_of_writers_that_are_killed_leave_the_old_file_or_the_new_one() {
    kill_writers(flood::scaled(500).into());
}

/// Kills as many writers, each at a random moment of its life.
fn kill_writers(count: u64) {
    let users: String = (0..1000).map(|number| format!("user{number} = \"password{number}\"\n")).collect();
    let folder = Folder::with(&format!("[users]\n{users}"));
    let lifetime = looks_until(&folder, u64::MAX);
    let mut changes = 0;
    for _ in 0..count {
        let old = folder.text();
        let added = if old.contains("{ password") { "enable" } else { "disable" };
        let random = SysRng.try_next_u64().unwrap();
        kill_after(folder.command(&[added, "user500"]), random % (lifetime + lifetime / 4));
        let new = folder.text();
        let (disabled, enabled) =
            ("{ password = \"password500\", disabled = true }", "{ password = \"password500\" }");
        let change = match added {
            "disable" => old.replace("= \"password500\"", &format!("= {disabled}")),
            _ => old.replace(disabled, enabled),
        };
        assert!(new == old || new == change);
        users::load(&folder.file()).unwrap();
        changes += u64::from(new != old);
        if new.contains(enabled) {
            fs::write(folder.file(), new.replace(enabled, "\"password500\"")).unwrap();
        }
    }
    println!("{changes} of {count} writers were done");
}

/// How often it is looked whether a writer has ended, until it has.
fn looks_until(folder: &Folder, looks: u64) -> u64 {
    kill_after(folder.command(&["enable", "user1"]), looks)
}

/// Kills a program after it has been looked so often whether it has ended; gives the number of looks.
fn kill_after(mut command: Command, looks: u64) -> u64 {
    let mut child = command.spawn().unwrap();
    let looks = (0..looks).find(|_| child.try_wait().unwrap().is_some()).unwrap_or(looks);
    child.kill().unwrap();
    child.wait().unwrap();
    looks
}
