//! Failed logins that are counted together with other servers, for as long as somebody carries their messages.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::directory::Directory;
use crate::error::ServerError;
use crate::net::clock::Clock;
use crate::net::exchange;
use proto::server::Seed;
use proto::server::fleet::{Fleet, Round, SILENCE_MAX};

/// The pause after a caller that was not served, so that a lasting error takes little processor time.
const PAUSE: Duration = Duration::from_millis(100);

/// What a server has of the exchange before it serves.
pub(crate) struct Exchange {
    listener: UnixListener,
    fleet: Fleet,
    path: PathBuf,
}

impl Exchange {
    /// Listens for the program that carries messages.
    pub(crate) fn listen(path: &Path, user: Option<&str>) -> Result<Self, ServerError> {
        let failed = |error| ServerError::Exchange { path: path.to_owned(), error };
        let listener = exchange::listen(path, user).map_err(failed)?;
        let mut seed = Seed([0; 32]);
        SysRng.try_fill_bytes(&mut seed.0).map_err(io::Error::from)?;
        Ok(Self { listener, fleet: Fleet::new(seed), path: path.to_owned() })
    }

    /// Takes part in the exchange for as long as the server runs.
    async fn serve(self, directory: &Directory, clock: Clock) -> io::Result<Infallible> {
        let Self { listener, mut fleet, path } = self;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let mut last = Round::default();
        let mut is_missed = false;
        loop {
            let mut round = None;
            let served = exchange::serve_next(&listener, |messages| {
                let (now, mut reply) = (clock.now(), Vec::new());
                let (users, messages) = (directory.users.load(), exchange::messages(messages));
                let this = fleet.round(&users, &directory.penalties, now, messages, &mut reply);
                directory.blocks.begin_elsewhere(now, &users, &this.blocked);
                round = Some(this);
                reply
            });
            match timeout(SILENCE_MAX, served).await {
                Ok(Ok(())) => is_missed = false,
                Ok(Err(error)) => {
                    debug!("{}: {error}", path.display());
                    sleep(PAUSE).await;
                }
                Err(_) if is_missed => {}
                Err(_) => {
                    is_missed = true;
                    last = Round::default();
                    warn!(
                        "{}: nobody asks there: failed logins are counted by this server alone; is letmein-sync \
                         running with --exchange?",
                        path.display()
                    );
                }
            }
            if let Some(round) = round {
                tell(&last, &round);
                last = round;
            }
        }
    }
}

/// Logs what is new in a round.
fn tell(last: &Round, round: &Round) {
    if round.members != last.members {
        match round.members {
            1 => info!("failed logins are counted by this server alone"),
            members => info!("failed logins are counted together by {members} servers"),
        }
    }
    if round.unreadable > 0 && last.unreadable == 0 {
        warn!(
            "{} messages of other servers cannot be read: they are more than {} s old, by one clock or the other, or \
             sealed by another --cluster-key",
            round.unreadable,
            SILENCE_MAX.as_secs()
        );
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
