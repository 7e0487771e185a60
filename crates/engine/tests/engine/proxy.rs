//! Loses the connection at COMMIT.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

/// The name of the socket in its folder.
pub(crate) const SOCKET: &str = ".s.PGSQL.5432";

/// When the first connection is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The database never sees COMMIT.
    BeforeCommit,
    /// It sees COMMIT, and may take its time.
    AfterCommit,
    /// It has answered COMMIT, and the answer is lost.
    BeforeAnswer,
    /// The same, and a pool between says so.
    InsteadOfAnswer,
}

/// What pgbouncer answers when it has lost the database.
const LOST: &[u8] = b"E\0\0\0\x30SFATAL\0VFATAL\0C08P01\0Mserver conn crashed?\0\0";

/// Stands before a database. Connections that are not to be cut pass.
pub(crate) struct Proxy {
    folder: TempDir,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Cuts the first connection.
    pub(crate) fn before(database: &Path, cut: Cut) -> Self {
        Self::before_each(database, [Some(cut)])
    }

    /// Cuts the first connections, each as it is said.
    pub(crate) fn before_each<const N: usize>(database: &Path, cuts: [Option<Cut>; N]) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let database = database.join(SOCKET);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        thread::spawn(move || {
            let cuts = cuts.into_iter().chain(std::iter::repeat(None));
            listener.incoming().zip(cuts).for_each(|(client, cut)| {
                count.fetch_add(1, Ordering::Release);
                pass(client.unwrap(), &database, cut);
            });
        });
        Self { folder, connections }
    }

    /// How many there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().into()
    }
}

fn pass(client: UnixStream, database: &Path, cut: Option<Cut>) {
    let server = UnixStream::connect(database).unwrap();
    let loses_answer = Arc::new(AtomicBool::new(false));
    let (from, to, loses) = (server.try_clone().unwrap(), client.try_clone().unwrap(), loses_answer.clone());
    let instead: &[u8] = if matches!(cut, Some(Cut::InsteadOfAnswer)) { LOST } else { &[] };
    thread::spawn(move || answers(from, to, &loses, instead));
    thread::spawn(move || requests(client, server, cut, &loses_answer));
}

/// Passes what the client sends, up to COMMIT if that is to be cut.
fn requests(mut client: UnixStream, mut server: UnixStream, cut: Option<Cut>, loses_answer: &AtomicBool) {
    let mut buffer = [0; 8192];
    while let Some(sent) = read(&mut client, &mut buffer) {
        match cut.filter(|_| sent.windows(7).any(|it| it == b"COMMIT\0")) {
            Some(Cut::BeforeCommit) => break,
            Some(Cut::AfterCommit) => {
                // Otherwise the answer might be faster than the end of the connection.
                loses_answer.store(true, Ordering::Release);
                server.write_all(sent).unwrap();
                let _ = client.shutdown(Shutdown::Both);
                return;
            }
            Some(Cut::BeforeAnswer | Cut::InsteadOfAnswer) => loses_answer.store(true, Ordering::Release),
            None => {}
        }
        server.write_all(sent).unwrap();
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

/// Passes what the database answers, until an answer is to be lost. `instead` takes its place.
fn answers(mut server: UnixStream, mut client: UnixStream, loses_answer: &AtomicBool, instead: &[u8]) {
    let mut buffer = [0; 8192];
    while let Some(answer) = read(&mut server, &mut buffer) {
        if loses_answer.load(Ordering::Acquire) {
            client.write_all(instead).unwrap();
            break;
        }
        if client.write_all(answer).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

/// What has come; `None` at the end.
fn read<'b>(stream: &mut UnixStream, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let len: io::Result<usize> = stream.read(buffer);
    buffer.get(..len.ok()?).filter(|read| !read.is_empty())
}
