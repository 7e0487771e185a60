//! Starts the programs, and tells what they said and how they ended.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::iter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Once;

use proto::transport::Transport;
use tempfile::NamedTempFile;

pub(crate) use crate::ended::{Ended, installed, run};

/// The users file that is shipped.
pub(crate) const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/users.toml");
pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];

pub(crate) fn welcome() -> Ended {
    Ended { status: 0, stdout: "Welcome to our service.\n".into(), stderr: String::new() }
}

pub(crate) fn refused() -> Ended {
    Ended { status: 1, stdout: "User authorization failed.\n".into(), stderr: String::new() }
}

/// The client, without a password from its environment and without a terminal.
pub(crate) fn letmein() -> Command {
    program(env!("CARGO_BIN_EXE_letmein"))
}

/// The client of the small services.
pub(crate) fn exchange() -> Command {
    program(env!("CARGO_BIN_EXE_exchange"))
}

/// The load generator.
pub(crate) fn bench() -> Command {
    program(program_file("letmein-bench"))
}

/// The gateway for web servers.
pub(crate) fn letmein_http() -> Command {
    program(env!("CARGO_BIN_EXE_letmein-http"))
}

/// The administrator's tool.
pub(crate) fn letmein_users() -> Command {
    program(program_file("letmein-users"))
}

pub(crate) fn server(transport: Transport) -> Command {
    program(match transport {
        Transport::Udp => env!("CARGO_BIN_EXE_server-udp"),
        Transport::Tcp => env!("CARGO_BIN_EXE_server-tcp"),
    })
}

/// A program of this workspace. Cargo builds those of other packages for no test of this one, and has no variable for
/// where they are.
pub(crate) fn program_file(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let folder = Path::new(env!("CARGO_BIN_EXE_letmein")).parent().unwrap();
    BUILT.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--locked", "--bins"]);
        cargo.arg("--target-dir").arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
    });
    folder.join(name)
}

fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    command.env_remove("LETMEIN_PASSWORD").env_remove("LETMEIN_MECHANISM");
    // Whoever runs the tests may have servers that are remembered.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A users file that only its owner can read.
pub(crate) fn users_file(contents: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(contents.as_ref()).unwrap();
    file
}

pub(crate) fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// A server that is up; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    transport: Transport,
    stdout: BufReader<ChildStdout>,
    pub(crate) stderr: Option<BufReader<ChildStderr>>,
    child: Child,
}

impl Server {
    /// Over UDP, with the samples.
    pub(crate) fn udp() -> Self {
        Self::over(Transport::Udp)
    }

    /// Over TCP, with the samples.
    pub(crate) fn tcp() -> Self {
        Self::over(Transport::Tcp)
    }

    pub(crate) fn over(transport: Transport) -> Self {
        Self::start(transport, &["127.0.0.1:0", "--users", SAMPLES])
    }

    pub(crate) fn with_users(transport: Transport, users: &str) -> Self {
        Self::start(transport, &["127.0.0.1:0", "--users", path(&users_file(users))])
    }

    /// A small service, told some more.
    pub(crate) fn service(transport: Transport, service: &str, more: &[&str]) -> Self {
        Self::start(transport, &[&["127.0.0.1:0", "--service", service], more].concat())
    }

    pub(crate) fn start(transport: Transport, args: &[&str]) -> Self {
        Self::try_start(transport, args).expect("the server starts")
    }

    /// At an address that this process has just given up. A child of another test has a copy of its socket from
    /// its fork to its exec, and the address is taken until then.
    pub(crate) fn start_at_freed(transport: Transport, address: &str) -> Self {
        let start = || Self::try_start(transport, &[address, "--users", SAMPLES]);
        let mut attempts = iter::repeat_with(start).take(500);
        attempts.find_map(Result::ok).expect("the address becomes free")
    }

    /// What a server says that does not start.
    pub(crate) fn refusal(transport: Transport, args: &[&str]) -> Ended {
        Self::try_start(transport, args).expect_err("the server does not start")
    }

    fn try_start(transport: Transport, args: &[&str]) -> Result<Self, Ended> {
        Self::try_spawn(transport, server(transport).args(args))
    }

    /// From a command that has more than arguments.
    pub(crate) fn spawn(transport: Transport, command: &mut Command) -> Self {
        Self::try_spawn(transport, command).expect("the server starts")
    }

    pub(crate) fn try_spawn(transport: Transport, command: &mut Command) -> Result<Self, Ended> {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        if line.is_empty() {
            return Err(child.wait_with_output().unwrap().into());
        }
        let stderr = child.stderr.take().map(BufReader::new);
        let mut server = Self { address: ([0; 4], 0).into(), transport, stdout, stderr, child };
        let address = line.split_once(" listening on ").and_then(|(_, rest)| rest.strip_suffix('\n'));
        server.address = address.and_then(|text| text.parse().ok()).expect(&line);
        Ok(server)
    }

    /// The next line on its standard output.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Where the next of its other doors is, from the line that says so.
    pub(crate) fn next_door(&mut self) -> SocketAddr {
        let line = self.next_line();
        line.trim_end().rsplit_once(' ').and_then(|(_, address)| address.parse().ok()).expect(&line)
    }

    /// A client of this server, which wants a user and a password yet.
    pub(crate) fn client(&self) -> Command {
        let mut client = letmein();
        client.arg(self.address.to_string());
        if self.transport == Transport::Tcp {
            client.arg("--tcp");
        }
        client
    }

    pub(crate) fn login(&self, args: &[&str]) -> Ended {
        run(self.client().args(args))
    }

    /// Its standard input, if that is a pipe.
    pub(crate) fn input(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().unwrap()
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    #[expect(unsafe_code, reason = "there is no safe way to send a signal")]
    pub(crate) fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill takes two numbers, and the child is not waited for yet, so its number is no other's.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Waits for the end; what it has said since its first line.
    pub(crate) fn end(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.take().map(|mut pipe| pipe.read_to_string(&mut stderr).unwrap());
        let status = self.child.wait().unwrap().code().expect("no signal ended it");
        Ended { status, stdout, stderr }
    }

    pub(crate) fn stop(self, signal: libc::c_int) -> Ended {
        self.signal(signal);
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
