//! The self-test: tries inside the sandbox the acts that it forbids.
#![expect(clippy::disallowed_types, reason = "it tries to open sockets")]

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use memmap2::MmapMut;
use nix::sys::ptrace;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, getpid, getppid, test_kill_process};
use socket2::{Domain, Socket, Type};

use super::Needs;

/// An act, and its outcome.
pub(crate) struct Attempt {
    act: &'static str,
    outcome: io::Result<()>,
}

impl Attempt {
    /// Whether the sandbox refused it.
    pub(crate) fn is_refused(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, Unsupported};
        self.outcome.as_ref().is_err_and(|error| matches!(error.kind(), PermissionDenied | Unsupported))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(()) => write!(f, "NO  {}: NOT REFUSED", self.act),
            Err(_) if self.is_refused() => write!(f, "ok  {}: refused", self.act),
            Err(error) => write!(f, "NO  {}: NOT REFUSED, but failed ({error})", self.act),
        }
    }
}

/// Files that everybody can read, in different places.
const READABLE: [&str; 3] = ["/etc/passwd", "/proc/version", "/bin/sh"];
/// Folders that everybody can write, in different places.
const WRITABLE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// A port on which no program listens.
const CLOSED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// The files and sockets for the attempts, which must be found and opened outside of the sandbox.
pub(crate) struct SelfTest {
    /// A file outside of the folders that the server needs.
    foreign: PathBuf,
    /// A file to make, outside of the folders that the server needs.
    new: PathBuf,
    /// A TCP socket that is not connected, like a listener after a shutdown.
    socket: Socket,
    /// The parent process, or this one if the parent is not visible.
    other: Pid,
}

impl SelfTest {
    /// Must be called outside of the sandbox.
    ///
    /// # Errors
    /// The system refuses a socket.
    pub(crate) fn prepare(needs: &Needs) -> io::Result<Self> {
        let outside = |candidates: [&'static str; 3]| {
            let is_outside = |path: &&str| Path::new(path).exists() && !needs.include(Path::new(path));
            // If the whole file system is permitted, the attempt succeeds, and the test says so.
            candidates.into_iter().find(is_outside).unwrap_or(candidates[0])
        };
        Ok(Self {
            foreign: outside(READABLE).into(),
            new: Path::new(outside(WRITABLE)).join(format!("letmein-self-test-{}", process::id())),
            socket: Socket::new(Domain::IPV4, Type::STREAM, None)?,
            other: getppid().unwrap_or_else(getpid),
        })
    }

    /// Tries all acts.
    pub(crate) fn run(&self) -> Vec<Attempt> {
        let Self { foreign, new, socket, other } = self;
        let append = || OpenOptions::new().append(true).create(true).open(new);
        let by_path = || openat(CWD, foreign, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let with_data = || socket.send_to_with_flags(b"x", &CLOSED.into(), libc::MSG_FASTOPEN);
        let attempts = [
            // This follows no link that somebody else has made.
            ("write a file", File::create_new(new).map(drop)),
            ("append to a file", append().map(drop)),
            ("read a file", fs::read(foreign).map(drop)),
            ("look at a file", fs::metadata(foreign).map(drop)),
            ("hold a file without opening it", by_path().map(drop).map_err(io::Error::from)),
            ("remove a file", fs::remove_file(new)),
            ("connect out", TcpStream::connect(CLOSED).map(drop)),
            ("connect out by sending", with_data().map(drop)),
            ("listen", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)),
            ("open a socket for datagrams", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)),
            ("run a program", Command::new("/bin/true").status().map(drop)),
            ("be traced", ptrace::traceme().map_err(io::Error::from)),
            ("signal another process", test_kill_process(*other).map_err(io::Error::from)),
            ("make memory executable", MmapMut::map_anon(1).and_then(MmapMut::make_exec).map(drop)),
        ];
        attempts.map(|(act, outcome)| Attempt { act, outcome }).into()
    }
}
