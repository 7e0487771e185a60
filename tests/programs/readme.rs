//! README.md, followed line by line with the programs.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::iter;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proto::transport::Transport::{self, Tcp, Udp};
use socket2::Socket;
use tempfile::TempDir;

use crate::audits::written;
use crate::pages::{ROOT, fences};
use crate::passwords::run_with_input;
use crate::peers::{address_of, digest, refusing_socket};
use crate::running::{Server, program_file, run};

const README: &str = include_str!("../../README.md");

/// Lines that are not run here, each with the reason.
const NOT_RUN: [(&str, &str); 4] = [
    ("cargo test", "it is what runs this"),
    ("cargo install --locked cargo-deb", "it needs the network; .ci/run does it"),
    ("dist/debian/build", "it takes minutes; dist/debian/test does it"),
    ("apt install ./target/debian/letmein-auth*.deb", "it needs root; dist/debian/test has dpkg install it"),
];
/// Lines that are run in another form: with the profile that the tests are built with, and without systemd.
const BUILD: &str = "cargo build --release --locked";
const ENABLE: &str = "systemctl enable --now letmein-auth-tcp";
/// The server that stays in its terminal.
const SERVE: &str = "target/release/server-udp 8591 --audit -";

/// The server of users with records, which goes on behind the next line; and the login there, which asks for a
/// password.
const SERVE_RECORDS: &str = "target/release/server-udp 8592 --users own.toml 2>own.log &";
const LOGIN_BY_RECORD: &str = "target/release/letmein --mechanism opaque 127.0.0.1:8592 alice";

/// What README.md calls the server on the same machine, and the one that another machine asks.
const HERE: &str = "127.0.0.1:8591";
const GATE: &str = "gate.example";
const ADDRESS_OF_THE_GATE: &str = "192.0.2.7:8591";

/// Somebody who does what README.md says, in a copy of the repository, and with an /etc and a /var of their own.
struct Reader {
    folder: TempDir,
    /// A port at which nobody listens.
    closed: Socket,
    server: Option<Server>,
    of_records: Option<Server>,
    service: Option<Server>,
    /// What the last command printed.
    said: String,
    /// What was last printed on standard output, which is what people copy and paste.
    copied: String,
}

impl Reader {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for (file, copy) in [
            ("users.toml", "users.toml"),
            // What the package installs.
            ("dist/debian/users.toml", "etc/letmein/users.toml"),
            ("dist/debian/default/letmein-auth-tcp", "etc/default/letmein-auth-tcp"),
        ] {
            let copy = folder.path().join(copy);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(format!("{ROOT}/{file}"), copy).unwrap();
        }
        fs::create_dir_all(folder.path().join("var/log/letmein")).unwrap();
        let (said, copied) = (String::new(), String::new());
        Self {
            folder,
            closed: refusing_socket(Tcp),
            server: None,
            of_records: None,
            service: None,
            said,
            copied,
        }
    }

    /// A line for `sh`, with the addresses and folders of this reader.
    fn shell(&self, line: &str) -> Command {
        let folder = self.folder.path().to_str().unwrap();
        let here = self.server.as_ref().map(|server| server.address.to_string());
        let line = line.replace(HERE, &here.unwrap_or_default()).replace(GATE, &self.gate());
        let line = ["/etc/", "/var/"]
            .iter()
            .fold(line, |line, root| line.replace(root, &(folder.to_owned() + root)));
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(folder).env("PATH", path_to_the_programs());
        shell.env_remove("LETMEIN_PASSWORD").stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }

    /// Where the service is, or will be.
    fn gate(&self) -> String {
        let port = self.service.as_ref().map(|service| service.address.port());
        port.map_or_else(|| address_of(&self.closed), |port| format!("127.0.0.1:{port}"))
    }

    fn does(&mut self, line: &str) {
        match line {
            BUILD => {
                let target = self.folder.path().join("target");
                fs::create_dir(&target).unwrap();
                symlink(programs(), target.join("release")).unwrap();
            }
            SERVE => {
                let server = self.starts(Udp, &format!("exec {}", SERVE.replace("8591", "0")));
                // The line by which its start was noticed.
                self.said = format!("UDP server listening on {}\n", server.address);
                self.server = Some(server);
            }
            SERVE_RECORDS => {
                let line = SERVE_RECORDS.trim_end_matches(" &").replace("8592", "0");
                self.of_records = Some(self.starts(Udp, &format!("exec {line}")));
            }
            LOGIN_BY_RECORD => {
                let server = self.of_records.as_ref().map(|server| server.address.to_string());
                let line = LOGIN_BY_RECORD.replace("127.0.0.1:8592", &server.unwrap());
                let mut shell = self.shell(&format!("{line} --password-stdin"));
                assert_eq!(run_with_input(&mut shell, &self.copied).stdout, "Welcome to our service.\n");
            }
            ENABLE => self.service = Some(self.starts(Tcp, &command_of_the_unit())),
            line if NOT_RUN.iter().any(|(not_run, _)| *not_run == line) => {}
            line => {
                let pasted = if line.contains("/dev/stdin") { &self.copied } else { "" };
                let ended = run_with_input(&mut self.shell(line), pasted);
                self.said = ended.stderr + &ended.stdout;
                self.copied = ended.stdout;
            }
        }
    }

    fn starts(&self, transport: Transport, line: &str) -> Server {
        Server::spawn(transport, self.shell(line).stdin(Stdio::null()))
    }

    /// What README.md shows is what is to be seen.
    fn sees(&mut self, shown: &str) {
        let seen = match &mut self.server {
            Some(server) if shown.starts_with('{') => server.next_line(),
            Some(server) => self.said.replace(&server.address.to_string(), HERE),
            None => panic!("nothing has been done yet that prints {shown}"),
        };
        let seen = seen.replace(&self.gate(), ADDRESS_OF_THE_GATE);
        assert_eq!(without_chance(&seen), without_chance(shown));
    }
}

/// The folder of the programs.
fn programs() -> PathBuf {
    program_file("letmein").parent().unwrap().to_owned()
}

fn path_to_the_programs() -> OsString {
    let others = env::var_os("PATH").unwrap_or_default();
    env::join_paths(iter::once(programs()).chain(env::split_paths(&others))).unwrap()
}

/// What systemd runs, at any free port.
fn command_of_the_unit() -> String {
    let unit = fs::read_to_string(format!("{ROOT}/dist/systemd/letmein-auth-tcp.service")).unwrap();
    let [defaults, command] = ["EnvironmentFile=", "ExecStart=/usr/sbin/"]
        .map(|name| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap());
    format!(". {defaults} && exec {}", command.replace("$ADDRESS", "${ADDRESS%8591}0"))
}

/// A text without what differs from run to run: times, the ports of clients, and digests.
fn without_chance(text: &str) -> String {
    let by_chance = |c: char| c.is_ascii_hexdigit() || ":-TZ".contains(c);
    ["\"time\":\"", "\"port\":", " and hash "].iter().fold(text.to_owned(), |text, mark| {
        let parts: Vec<&str> = text.split(mark).collect();
        let rest = parts[1..].iter().map(|part| part.trim_start_matches(by_chance));
        iter::once(parts[0]).chain(rest).collect::<Vec<_>>().join(mark)
    })
}

#[test]
fn the_readme_is_short_and_says_first_which_letmein_it_is() {
    assert!(README.lines().count() <= 170);
    let first = README.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap();
    assert!(
        first.contains("letmein-auth") && first.contains("not the port knocker of the same name"),
        "{first}"
    );
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let mut reader = Reader::new();
    let mut done = Vec::new();
    for (language, text) in fences(README) {
        match &*language {
            "sh" => {
                for line in text.lines() {
                    reader.does(line);
                    done.push(line.to_owned());
                }
            }
            // How it works, which is looked at below.
            "text" if text.starts_with("client ") => {}
            "text" => reader.sees(&text),
            language => panic!("{language}"),
        }
    }
    written(
        &reader.folder.path().join("var/log/letmein/audit.jsonl"),
        r#""verdict":"welcome","user":"alice""#,
    );
    for line in
        NOT_RUN.iter().map(|(line, _)| *line).chain([BUILD, SERVE, SERVE_RECORDS, LOGIN_BY_RECORD, ENABLE])
    {
        assert!(done.iter().any(|done| done == line), "README.md has it no more: {line}");
    }
}

#[test]
fn the_digest_of_the_readme_is_that_of_its_challenge() {
    let (_, exchange) = fences(README).into_iter().find(|(_, text)| text.starts_with("client ")).unwrap();
    let challenge =
        exchange.lines().find_map(|line| line.strip_prefix("  | <------------------------------- ")).unwrap();
    let challenge = challenge.split_once(' ').unwrap().0;
    let digest = digest("userone", "passwordone", challenge.as_bytes());
    let answer = format!("userone:{}…{}:{challenge} ", &digest[..8], &digest[26..]);
    assert!(exchange.contains(&answer), "{answer}");
}

#[test]
fn the_picture_is_that_of_a_login() {
    let script = Path::new(ROOT).join("examples/login-picture");
    let drawn = run(Command::new(script).arg(programs()));
    assert_eq!((drawn.status, &*drawn.stderr), (0, ""));
    let picture = fs::read_to_string(format!("{ROOT}/docs/login.svg")).unwrap();
    assert_eq!(
        without_chance(&drawn.stdout),
        without_chance(&picture),
        "examples/login-picture draws it again"
    );
}
