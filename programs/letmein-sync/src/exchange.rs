//! Carries messages about failed logins between the servers of this machine and those of other nodes.
//!
//! ```text
//! server ◄── messages of the others ── letmein-sync ◄── rows of the others ── database
//!        ─── its own message ────────►              ─── its row ────────────►
//! ```
//! Once a second, for each server. Messages are sealed: nothing here can read them. Following does not depend on it, in
//! either direction.

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{EngineError, MESSAGE_LEN_MAX, Reader, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::pace::Pace;
use crate::status::{Exchanged, Status};

/// The database takes whatever a server has to say.
const _: () = assert!(proto::server::fleet::MESSAGE_MAX <= MESSAGE_LEN_MAX);
/// How long a server may take to read what others say, and to answer. It does both from memory.
const SERVER_LIMIT: Duration = Duration::from_secs(1);
/// Nodes that do not hear of each other for ten seconds count alone.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Carries messages.
pub(crate) struct Exchange {
    settings: Arc<Settings>,
    servers: Vec<Server>,
    status: watch::Sender<Status>,
    /// The connection, unless something went wrong with it.
    reader: Option<Reader>,
    /// What is wrong with the database.
    trouble: Trouble,
}

/// A server of this machine.
struct Server {
    socket: PathBuf,
    /// The name of its row.
    row: String,
    /// What is wrong with it.
    trouble: Trouble,
}

impl Exchange {
    /// The first server has the row of the node's name, and each further one that name with its number.
    pub(crate) fn new(
        settings: Arc<Settings>,
        node: &str,
        sockets: Vec<PathBuf>,
        status: watch::Sender<Status>,
    ) -> Self {
        let row = |number| if number == 1 { node.to_owned() } else { format!("{node}/{number}") };
        let server = |(number, socket)| Server { socket, row: row(number), trouble: Trouble::default() };
        let servers: Vec<_> = (1..).zip(sockets).map(server).collect();
        if !servers.is_empty() {
            status.send_modify(|status| status.exchanged = Some(Exchanged::default()));
        }
        Self { settings, servers, status, reader: None, trouble: Trouble::default() }
    }

    /// Carries messages for as long as nobody drops it.
    pub(crate) async fn run(mut self) -> ! {
        if self.servers.is_empty() {
            pending::<()>().await;
        }
        for Server { socket, row, .. } in &self.servers {
            info!("failed logins of the server at {} are exchanged as {row}", socket.display());
        }
        let mut pace = Pace::up_to(LONGEST_WAIT);
        loop {
            match self.round().await {
                Ok(()) => {
                    self.trouble.end("the database takes messages again: failed logins are exchanged");
                    pace.wait_after_success().await;
                }
                Err(error) => {
                    self.trouble.note(format!("failed logins are not exchanged: {error}{}", remedy(&error)));
                    count(&self.status, |exchanged| exchanged.failures += 1);
                    pace.wait_after_failure().await;
                }
            }
        }
    }

    /// Carries once for each server. The connection is kept only if nothing goes wrong with it.
    async fn round(&mut self) -> Result<(), EngineError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.settings).await?,
        };
        for server in &mut self.servers {
            server.carry(&reader, &self.status).await?;
        }
        self.reader = Some(reader);
        Ok(())
    }
}

impl Server {
    /// Gives the server what others say, and the others what it says. Only the database can fail: a server that is away
    /// keeps no other from being asked.
    async fn carry(&mut self, reader: &Reader, status: &watch::Sender<Status>) -> Result<(), EngineError> {
        let messages = reader.others(&self.row).await?;
        let socket = self.socket.display();
        match ask(&self.socket, &messages).await {
            Ok(reply) => {
                self.trouble
                    .end(&format!("the server at {socket} answers again: failed logins are exchanged"));
                if !reply.is_empty() {
                    reader.exchange(&self.row, &reply).await?;
                }
                count(status, |exchanged| exchanged.rounds += 1);
            }
            Err(error) => {
                self.trouble.note(format!("{}: failed logins are not exchanged", error.text(&self.socket)));
                count(status, |exchanged| exchanged.failures += 1);
            }
        }
        Ok(())
    }
}

fn count(status: &watch::Sender<Status>, add: impl FnOnce(&mut Exchanged)) {
    status.send_modify(|status| add(status.exchanged.get_or_insert_default()));
}

/// Gives a server the messages of others. Its reply is its own message, or nothing.
async fn ask(socket: &Path, messages: &[Vec<u8>]) -> Result<Vec<u8>, ServerError> {
    let reply =
        timeout(SERVER_LIMIT, converse(socket, messages)).await.map_err(|_| ServerError::TimedOut)??;
    if reply.len() > MESSAGE_LEN_MAX { Err(ServerError::TooLong) } else { Ok(reply) }
}

/// Each message goes after its length, in four bytes with the highest first. The reply has nothing before it, and ends
/// with the connection; of one that is too long, a byte too many is read.
async fn converse(socket: &Path, messages: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    for message in messages {
        let len = (message.len() as u32).to_be_bytes();
        stream.write_all(&[&len, &**message].concat()).await?;
    }
    stream.shutdown().await?;
    let mut reply = Vec::new();
    stream.take(MESSAGE_LEN_MAX as u64 + 1).read_to_end(&mut reply).await?;
    Ok(reply)
}

/// Why a server was not asked, or its reply not taken.
#[derive(Debug)]
enum ServerError {
    Io(io::Error),
    TimedOut,
    TooLong,
}

impl From<io::Error> for ServerError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl ServerError {
    fn text(&self, socket: &Path) -> String {
        use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        let at = socket.display();
        match self {
            Self::Io(error) if matches!(error.kind(), ConnectionRefused | NotFound) => {
                format!("no server listens at {at}")
            }
            Self::Io(error) if error.kind() == PermissionDenied => {
                format!("letmein-sync may not write to {at}: run it in the group of the server")
            }
            Self::Io(error) => format!("the server at {at}: {error}"),
            Self::TimedOut => {
                format!("the server at {at} did not answer within {} s", SERVER_LIMIT.as_secs())
            }
            Self::TooLong => format!("the server at {at} says more than {MESSAGE_LEN_MAX} bytes"),
        }
    }
}

/// What to do about a refusal of the database.
fn remedy(error: &EngineError) -> &'static str {
    let EngineError::Refused { code, .. } = error else { return "" };
    match code.as_str() {
        // undefined_table
        "42P01" => ": run letmein-users engine migrate",
        // insufficient_privilege
        "42501" => ": make its role a member of letmein_server",
        // feature_not_supported, read_only_sql_transaction: a standby
        "0A000" | "25006" => ": name the primary in the file of --engine, before its standbys",
        _ => "",
    }
}

/// What is wrong, so that it is logged once.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn note(&mut self, text: String) {
        if self.0.as_ref() != Some(&text) {
            warn!("{text}");
            self.0 = Some(text);
        }
    }

    fn end(&mut self, text: &str) {
        if self.0.take().is_some() {
            info!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_write_to_a_socket_is_told_what_to_do() {
        let error = ServerError::Io(io::ErrorKind::PermissionDenied.into());
        let remedy = "letmein-sync may not write to /run/it: run it in the group of the server";
        assert_eq!(error.text(Path::new("/run/it")), remedy);
    }
}
