//! The pages of docs/bridges/, followed with the programs that they are about.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proto::transport::Transport::{Tcp, Udp};
use tempfile::TempDir;

use crate::dist_files::DIST;
use crate::documents::blocks;
use crate::passwords::run_with_input;
use crate::running::{Ended, Server, TRANSPORTS, installed, letmein, run};

const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bridges");
/// Where the scripts of dist/ look for the client, and where the pages have the server.
const PATH: &str = "PATH=/usr/local/bin:";
const ADDRESS: &str = "127.0.0.1:8591";

/// A script of dist/ that calls the client of this build. It is for `sh` to read: who forks in another test may have it
/// open for a moment, and until then the system would not execute it.
fn script(folder: &Path, name: &str) -> PathBuf {
    let text = fs::read_to_string(format!("{DIST}/{name}")).unwrap();
    assert_eq!(text.matches(PATH).count(), 1);
    let file = folder.join(Path::new(name).file_name().unwrap());
    let client = letmein();
    let path = Path::new(client.get_program()).parent().unwrap().display();
    fs::write(&file, text.replace(PATH, &format!("PATH={path}:"))).unwrap();
    file
}

/// The stacks of a folder of this test's own, in the place of /etc/pam.d.
struct Stacks {
    folder: TempDir,
}

impl Stacks {
    /// Those of the page, for this server, and `any`, which lets in whatever the name.
    fn of_the_page(server: &Server) -> Self {
        let folder = TempDir::new().unwrap();
        let script = script(folder.path(), "pam/letmein-pam");
        let pages = blocks("bridges/pam.md", "pam").into_iter().map(|text| {
            assert!(text.contains("/usr/libexec/letmein-pam 127.0.0.1:8591"), "{text}");
            text.replace("/usr/libexec/letmein-pam", &format!("/bin/sh {}", script.display()))
                .replace(ADDRESS, &server.address.to_string())
        });
        let names = ["letmein-try", "with-the-system"];
        let pages: Vec<String> = pages.collect();
        assert_eq!(pages.len(), names.len());
        let of_all = |line: &&str| line.starts_with("auth ") && !line.contains("pam_succeed_if.so");
        let any = pages[0].lines().filter(of_all).collect::<Vec<_>>().join("\n") + "\n";
        for (name, text) in names.into_iter().chain(["any", "other"]).zip(pages.iter().chain([&any, &any])) {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder }
    }

    /// What pamtester says of somebody who types this.
    fn ask(&self, stack: &str, user: &str, password: &str) -> i32 {
        // Some modules ask again without end if nobody types any more.
        let mut pamtester = Command::new("timeout");
        pamtester
            .args(["60", "pamtester", stack, user, "authenticate", "setcred"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        pamtester.env("LD_PRELOAD", "libpam_wrapper.so").env("PAM_WRAPPER", "1");
        pamtester.env("PAM_WRAPPER_SERVICE_DIR", self.folder.path());
        let Ended { status, stdout, stderr } = run_with_input(&mut pamtester, &format!("{password}\n"));
        let succeeded = stdout.contains("successfully authenticated");
        assert_eq!(succeeded, status == 0, "{stdout}{stderr}");
        status
    }
}

fn pam_is_here() -> bool {
    let wrapper = Command::new("true").env("LD_PRELOAD", "libpam_wrapper.so").output().unwrap();
    if !wrapper.stderr.is_empty() {
        io::stderr().write_all(b"skipped: libpam-wrapper is not installed\n").unwrap();
    }
    installed("pamtester").is_some() && wrapper.stderr.is_empty()
}

#[test]
fn pam_lets_in_whom_the_service_welcomes_and_nobody_else() {
    if !pam_is_here() {
        return;
    }
    let server = Server::with_users(
        Udp,
        "[users]\nnobody = 'one'\nroot = 'two'\n'--help' = 'three'\n'$(reboot) x' = 'four'",
    );
    let stacks = Stacks::of_the_page(&server);
    for stack in ["letmein-try", "with-the-system"] {
        assert_eq!(stacks.ask(stack, "nobody", "one"), 0, "{stack}");
        assert_eq!(stacks.ask(stack, "nobody", "wrong"), 1, "{stack}");
        assert_eq!(stacks.ask(stack, "nobody", ""), 1, "{stack}");
        assert_eq!(stacks.ask(stack, "no-such-user", "one"), 1, "{stack}");
        assert_eq!(stacks.ask(stack, "root", "two"), 1, "{stack}");
    }
    assert_eq!(stacks.ask("any", "--help", "three"), 0);
    assert_eq!(stacks.ask("any", "--version", "three"), 1);
    assert_eq!(stacks.ask("any", "$(reboot) x", "four"), 0);
    assert_eq!(stacks.ask("any", "daemon", "one"), 1);
    drop(server);
    for stack in ["letmein-try", "with-the-system", "any"] {
        assert_eq!(stacks.ask(stack, "nobody", "one"), 1, "{stack}");
    }
}

#[test]
fn pam_asks_a_service_on_another_machine_over_tcp_unless_told_to_use_udp() {
    let script = fs::read_to_string(format!("{DIST}/pam/letmein-pam")).unwrap();
    assert_eq!(script.matches("exec letmein ").count(), 1);
    let script = script.replace("exec letmein ", "echo ");
    for (args, carried) in [
        (&["127.0.0.1:8591"][..], "127.0.0.1:8591"),
        (&["localhost:8591"], "localhost:8591"),
        (&["[::1]:8591"], "[::1]:8591"),
        (&["127.0.0.1:8591", "--tcp"], "127.0.0.1:8591 --tcp"),
        (&["gate.example:8591"], "gate.example:8591 --tcp"),
        (&["-4", "gate.example:8591"], "-4 gate.example:8591 --tcp"),
        (&["192.0.2.127:8591"], "192.0.2.127:8591 --tcp"),
        (&["127.example.com:8591"], "127.example.com:8591 --tcp"),
        (&["127.0.0.1.example.com:8591"], "127.0.0.1.example.com:8591 --tcp"),
        (&["localhost.example.com:8591"], "localhost.example.com:8591 --tcp"),
        (&["[2001:db8::1]:8591", "--tcp"], "[2001:db8::1]:8591 --tcp"),
        (&["gate.example:8591", "--udp"], "gate.example:8591"),
        (&["--udp", "127.0.0.1:8591"], "127.0.0.1:8591"),
        (&["gate.example:8591", "--udp", "--tcp"], "gate.example:8591 --tcp"),
    ] {
        let mut shell = Command::new("sh");
        let ended = run(shell.args(["-c", &script, "letmein-pam"]).args(args).env("PAM_USER", "alice"));
        let called = format!("--quiet --timeout 5 --password-stdin {carried} -- alice\n");
        assert_eq!((ended.status, ended.stdout), (0, called), "{args:?}");
    }
}

/// What the plugin says of this server.
fn check(server: &str, more: &[&str]) -> Ended {
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "passwordone\n").unwrap();
    let mut check = Command::new("sh");
    check.arg(script(folder.path(), "nagios/check_letmein"));
    check.args(["-H", server, "-u", "userone", "-p"]).arg(secret).args(more);
    run(&mut check)
}

/// The first line of a check that ended with this status, and nothing on standard error.
fn line(ended: &Ended, status: i32) -> &str {
    assert_eq!((ended.status, &*ended.stderr), (status, ""), "{ended:?}");
    ended.stdout.lines().next().unwrap()
}

#[test]
fn nagios_is_told_ok_and_the_time_of_the_login() {
    for transport in TRANSPORTS {
        let server = Server::over(transport);
        let tcp: &[&str] = if transport == Tcp { &["--tcp"] } else { &[] };
        let ended = check(&server.address.to_string(), &[&["-w", "19.5", "-c", "20"], tcp].concat());
        let text =
            line(&ended, 0).strip_prefix("LETMEIN OK - userone is welcome, in ").expect("it is welcome");
        let (time, figures) = text.split_once(" s | ").unwrap();
        assert_eq!(figures, format!("time={time}s;19.5;20"));
        assert!((0.0..19.5).contains(&time.parse::<f64>().unwrap()), "{time}");
    }
}

#[test]
fn nagios_is_told_a_warning_of_a_slow_login() {
    let server = Server::udp();
    let ended = check(&server.address.to_string(), &["-w", "0", "-c", "20"]);
    assert!(line(&ended, 1).starts_with("LETMEIN WARNING - userone is welcome, but in "), "{ended:?}");
    assert!(line(&ended, 1).ends_with("s;0;20"), "{ended:?}");
}

#[test]
fn nagios_is_told_critical_of_a_refusal_and_of_no_answer() {
    let server = Server::udp();
    let address = server.address.to_string();
    let refused = check(&address, &["-u", "usertwo"]);
    assert!(line(&refused, 2).starts_with("LETMEIN CRITICAL - usertwo is refused, in "), "{refused:?}");
    server.signal(libc::SIGSTOP);
    let silent = check(&address, &["-w", "0.1", "-c", "0.3"]);
    assert!(line(&silent, 2).starts_with("LETMEIN CRITICAL - no verdict: no answer from "), "{silent:?}");
    drop(server);
    let gone = check(&address, &[]);
    assert!(line(&gone, 2).starts_with("LETMEIN CRITICAL - no verdict: nobody listens at "), "{gone:?}");
}

#[test]
fn nagios_is_told_unknown_of_a_plugin_that_is_called_wrongly() {
    for (more, reason) in [
        (&["-w"][..], "-w needs a value"),
        (&["--debug"], "no such option: --debug"),
        (&["-w", "1); system(\"id\")"], "no number of seconds"),
        (&["-w", "5", "-c", "5"], "-w 5 is not less than -c 5"),
        (&["-p", "/nosuch/file"], "cannot read the password from /nosuch/file"),
        (&["-H", "http://gate.example"], "write HOST:PORT"),
        (&["-u", ""], "-H, -u and -p are needed"),
        (&["-u", "--help:"], "has a colon in it"),
    ] {
        let ended = check(ADDRESS, more);
        assert!(line(&ended, 3).starts_with("LETMEIN UNKNOWN - "), "{ended:?}");
        assert!(ended.stdout.contains(reason), "{reason}: {ended:?}");
    }
    assert!(line(&check(ADDRESS, &["--help"]), 3).starts_with("Logs in"));
}

/// A folder with the client in it as `letmein`, first of the path.
fn path_to_the_client() -> OsString {
    let client = Path::new(letmein().get_program()).parent().unwrap().to_owned();
    let others = env::var_os("PATH").unwrap_or_default();
    env::join_paths(iter::once(client).chain(env::split_paths(&others))).unwrap()
}

#[test]
fn the_examples_for_the_shell_print_what_is_below_them() {
    let server = Server::udp();
    let folder = TempDir::new().unwrap();
    let page = fs::read_to_string(format!("{PAGES}/shell.md")).unwrap();
    let examples: Vec<&str> = page.split("```sh\n").skip(1).collect();
    assert_eq!(examples.len(), 8);
    for (index, example) in examples.into_iter().enumerate() {
        let (code, rest) = example.split_once("```\n").unwrap();
        // The first example prints nothing.
        let printed = rest.strip_prefix("\n```text\n").and_then(|text| text.split_once("```"));
        let printed = printed.map_or("", |(text, _)| text);
        assert_eq!(printed.is_empty(), index == 0, "{code}");
        let mut shell = Command::new("sh");
        shell.args(["-c", code]).current_dir(&folder).env("PATH", path_to_the_client());
        let ended = run(shell.env("SERVER", server.address.to_string()).stdin(Stdio::null()));
        assert_eq!((ended.status, &*ended.stdout), (0, printed), "{code}: {ended:?}");
    }
}

#[test]
fn ssh_takes_the_way_for_those_who_are_welcome_and_else_the_other() {
    let Some(ssh) = installed("ssh") else { return };
    let server = Server::udp();
    let home = TempDir::new().unwrap();
    let (config, secret) = (home.path().join("config"), home.path().join(".ssh/letmein"));
    let text = blocks("bridges/ssh.md", "ssh").concat();
    assert_eq!((text.matches(ADDRESS).count(), text.matches("~/.ssh/letmein").count()), (1, 1));
    fs::write(&config, text.replace(ADDRESS, &server.address.to_string())).unwrap();
    fs::create_dir(home.path().join(".ssh")).unwrap();
    let settings = |host: &str| {
        let mut ssh = Command::new(ssh.get_program());
        ssh.env("HOME", home.path()).env("PATH", path_to_the_client()).env("SHELL", "/bin/sh");
        let ended = run(ssh.arg("-G").arg("-F").arg(&config).arg(host).stdin(Stdio::null()));
        assert_eq!(ended.status, 0, "{ended:?}");
        let has = |line: &str| ended.stdout.lines().any(|other| other == line);
        (has("hostname 192.0.2.7"), has("proxyjump gate.example"))
    };
    assert_eq!(settings("inner"), (true, false), "without a password");
    fs::write(&secret, "passwordone\n").unwrap();
    assert_eq!(settings("inner"), (true, true));
    assert_eq!(settings("elsewhere"), (false, false));
    fs::write(&secret, "wrong\n").unwrap();
    assert_eq!(settings("inner"), (true, false), "with a wrong one");
    fs::write(&secret, "passwordone\n").unwrap();
    drop(server);
    assert_eq!(settings("inner"), (true, false), "without a server");
}
