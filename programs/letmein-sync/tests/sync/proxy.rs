//! Stands between letmein-sync and a database, and keeps bytes back.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;

/// The name of the socket in its folder.
const SOCKET: &str = ".s.PGSQL.5432";

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They pass.
    Open,
    /// They are lost, and nobody is told: a partition by drop.
    Dropped,
    /// Connections are closed, those that are there, too: a partition by reject.
    Rejected,
}

/// Where in a conversation it stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    /// After a request with this text,
    pub(crate) request: &'static str,
    /// and after so many bytes of answers.
    pub(crate) bytes: usize,
}

pub(crate) struct Proxy {
    folder: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    way: Way,
    /// The stop that is ahead, and who is told when it is reached.
    stop: Option<Stop>,
    /// How many bytes still pass until the stop that was asked for.
    left: Option<usize>,
    stopped: std::sync::mpsc::Sender<()>,
    open: Vec<UnixStream>,
}

impl Proxy {
    pub(crate) fn before(database: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let database = database.join(SOCKET);
        let state = State { way: Way::Open, stop: None, left: None, stopped: channel().0, open: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let proxy = Self { folder, shared: shared.clone() };
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // A database that is away refuses.
                let Ok(server) = UnixStream::connect(&database) else { continue };
                for (from, to, is_request) in [(&client, &server, true), (&server, &client, false)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let shared = shared.clone();
                    thread::spawn(move || shared.pass(from, to, is_request));
                }
                shared.state.lock().unwrap().open.extend([client, server]);
            }
        });
        proxy
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().into()
    }

    /// From now on.
    pub(crate) fn set(&self, way: Way) {
        let mut state = self.shared.state.lock().unwrap();
        state.way = way;
        (state.stop, state.left) = (None, None);
        if way == Way::Rejected {
            state.close();
        }
        self.shared.changed.notify_all();
    }

    /// Stops in the next conversation that gets there; the receiver is told.
    pub(crate) fn stop_at(&self, stop: Stop) -> Receiver<()> {
        let (sender, receiver) = channel();
        let mut state = self.shared.state.lock().unwrap();
        (state.stop, state.left, state.stopped) = (Some(stop), None, sender);
        receiver
    }

    /// Closes all connections, and lets new ones pass.
    pub(crate) fn reset(&self) {
        self.set(Way::Rejected);
        self.set(Way::Open);
    }
}

impl State {
    fn close(&mut self) {
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn pass(&self, mut from: UnixStream, mut to: UnixStream, is_request: bool) {
        let mut buffer = [0; 8192];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..len];
            let is_through = if is_request { self.request(bytes) } else { self.answer(len) };
            if is_through && to.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Whether a request passes.
    fn request(&self, bytes: &[u8]) -> bool {
        let mut state = self.state.lock().unwrap();
        if let Some(stop) = state.stop
            && bytes.windows(stop.request.len()).any(|it| it == stop.request.as_bytes())
        {
            (state.stop, state.left) = (None, Some(stop.bytes));
        }
        if state.way == Way::Rejected {
            state.close();
        }
        state.way == Way::Open
    }

    /// Whether an answer passes. At the stop it waits there until something else is set.
    fn answer(&self, len: usize) -> bool {
        let mut state = self.state.lock().unwrap();
        match state.left {
            Some(left) if left < len => {
                let _ = state.stopped.send(());
                while state.left.is_some() {
                    state = self.changed.wait(state).unwrap();
                }
            }
            Some(left) => state.left = Some(left - len),
            None => {}
        }
        state.way == Way::Open
    }
}
