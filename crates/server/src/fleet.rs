//! Failed logins that are counted together with other servers, for as long as somebody carries their messages.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::directory::Directory;
use crate::error::ServerError;
use crate::net::clock::Clock;
use crate::net::exchange::{self, Socket};
use proto::server::Seed;
use proto::server::fleet::{Fleet, Round, SILENCE_MAX};

/// The pause after a caller, so that many of them, or a lasting error, take little processor time.
const PAUSE: Duration = Duration::from_millis(100);

/// What a server has of the exchange before it serves.
pub(crate) struct Exchange {
    socket: Socket,
    fleet: Fleet,
    path: PathBuf,
}

impl Exchange {
    /// Listens for the program that carries messages.
    pub(crate) fn listen(path: &Path, user: Option<&str>) -> Result<Self, ServerError> {
        let failed = |error| ServerError::Exchange { path: path.to_owned(), error };
        let socket = Socket::listen(path, user).map_err(failed)?;
        let mut seed = Seed([0; 32]);
        SysRng.try_fill_bytes(&mut seed.0).map_err(io::Error::from)?;
        Ok(Self { socket, fleet: Fleet::new(seed), path: path.to_owned() })
    }

    /// Takes part in the exchange for as long as the server runs.
    async fn serve(self, directory: &Directory, clock: Clock) -> io::Result<Infallible> {
        let Self { socket, mut fleet, path } = self;
        let callers = socket.callers()?;
        let mut told = Told { path, last: Round::default(), last_at: clock.now().uptime, is_missed: false };
        loop {
            let answer = |messages: &[u8]| {
                let (now, mut reply) = (clock.now(), Vec::new());
                let (users, messages) = (directory.users.load(), exchange::messages(messages));
                let round = fleet.round(&users, &directory.penalties, now, messages, &mut reply);
                directory.blocks.begin_elsewhere(now, &users, &round.blocked);
                told.round(round, directory.nodes.present(), now.uptime);
                reply
            };
            if let Err(error) = callers.answer_next(SILENCE_MAX, answer).await {
                debug!("{}: {error}", told.path.display());
            }
            sleep(PAUSE).await;
            told.no_round(clock.now().uptime);
        }
    }
}

/// What the log was told.
struct Told {
    path: PathBuf,
    last: Round,
    /// The uptime of the last round.
    last_at: Duration,
    is_missed: bool,
}

impl Told {
    /// Logs what is new in a round.
    fn round(&mut self, round: Round, nodes: u32, uptime: Duration) {
        if round.members != self.last.members {
            match round.members {
                1 => info!("failed logins are counted by this server alone"),
                members => info!("failed logins are counted together by {members} servers"),
            }
        }
        if round.reachable > nodes && self.last.reachable <= nodes {
            warn!(
                "{} servers exchange failed logins, and limits per user are divided among {nodes} while they do not \
                 hear each other: say with --nodes how many there are",
                round.reachable
            );
        }
        if round.unreadable > 0 && self.last.unreadable == 0 {
            warn!(
                "{} messages of other servers cannot be read: clocks differ by more than {} s, or --cluster-key or \
                 --user-failures do",
                round.unreadable,
                SILENCE_MAX.as_secs()
            );
        }
        (self.last, self.last_at, self.is_missed) = (round, uptime, false);
    }

    /// Logs once that there was no round for too long.
    fn no_round(&mut self, uptime: Duration) {
        if self.is_missed || uptime.saturating_sub(self.last_at) < SILENCE_MAX {
            return;
        }
        warn!(
            "{}: nobody asks there: failed logins are counted by this server alone; is letmein-sync running with \
             --exchange?",
            self.path.display()
        );
        (self.last, self.is_missed) = (Round::default(), true);
    }
}

/// Takes part in the exchange, if this server is to.
pub(crate) async fn follow(
    exchange: Option<Exchange>,
    directory: Option<&Directory>,
    clock: Clock,
) -> io::Result<Infallible> {
    match exchange.zip(directory) {
        Some((exchange, directory)) => exchange.serve(directory, clock).await,
        None => std::future::pending().await,
    }
}
