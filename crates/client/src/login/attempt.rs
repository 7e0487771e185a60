//! One attempt at a login: drives a client of the protocol with a socket and a clock, at one address.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::any_client::{AnyClient, Reading};
use super::error::is_end;
use crate::channel::{Channel, Inbox, is_timeout};
use proto::client::{self, Sending, Step};
#[cfg(feature = "opaque")]
use proto::opaque::session::SessionKey;
use proto::transport::Transport;
use proto::wire::Verdict;

/// An attempt that is no longer wanted ends within this time, once it is connected.
const ABANDONED_WITHIN: Duration = Duration::from_millis(50);

/// What happens in an attempt.
pub(super) enum Happening {
    /// A message is about to be sent.
    Sending(Sending),
    /// A message came, and was of use.
    Heard,
}

/// What an attempt gave.
pub(super) struct Given {
    pub(super) verdict: Verdict,
    /// When the last message that counted came.
    pub(super) heard: Instant,
    #[cfg(feature = "opaque")]
    pub(super) session: Option<SessionKey>,
}

/// Why an attempt at one address gave no verdict.
pub(super) enum AttemptError {
    Client(client::Failure),
    /// Something answered, but nothing that it said was of use.
    Foreign,
    /// The connection was accepted, and no byte came.
    Mute,
    /// The passwords of other logins were stretched for too long.
    #[cfg(feature = "opaque")]
    Crowded,
    /// The connection ended after a challenge.
    Closed(io::Error),
    Unreachable(io::Error),
}

impl From<io::Error> for AttemptError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData { Self::Foreign } else { Self::Unreachable(error) }
    }
}

/// Runs an attempt, until there is a verdict or an error, or another attempt is over first.
pub(super) fn run(
    transport: Transport,
    server: SocketAddr,
    mut client: AnyClient,
    share: Duration,
    is_over: &AtomicBool,
    tell: &mut dyn FnMut(Happening),
) -> Result<Given, AttemptError> {
    let started = Instant::now();
    let mut channel = Channel::open(transport, server, share).map_err(|error| match error {
        // A host that does not answer at all.
        error if is_timeout(&error) => AttemptError::Client(client::Failure::NoChallenge),
        error => error.into(),
    })?;
    match converse(transport, &mut channel, &mut client, started, is_over, tell) {
        Err(AttemptError::Unreachable(error)) if client.has_challenge() && is_end(&error) => {
            Err(AttemptError::Closed(error))
        }
        ended => ended,
    }
}

fn converse(
    transport: Transport,
    channel: &mut Channel,
    client: &mut AnyClient,
    started: Instant,
    is_over: &AtomicBool,
    tell: &mut dyn FnMut(Happening),
) -> Result<Given, AttemptError> {
    let (mut inbox, mut is_foreign, mut heard) = (Inbox::new(client.message_max()), false, started);
    let mut is_mute = transport == Transport::Tcp;
    while !is_over.load(Ordering::Relaxed) {
        match client.next(started.elapsed()) {
            Step::Send { bytes, sending } => {
                tell(Happening::Sending(sending));
                channel.send(bytes)?;
            }
            Step::WaitUntil(time) => {
                let wait = time.saturating_sub(started.elapsed()).min(ABANDONED_WITHIN);
                let Some(bytes) = inbox.fill(channel, wait)? else { continue };
                is_mute = false;
                match client.receive(transport, started.elapsed(), bytes) {
                    Reading::Taken => {
                        heard = Instant::now();
                        tell(Happening::Heard);
                        inbox.clear();
                    }
                    Reading::Nothing => {}
                    Reading::Foreign => is_foreign = true,
                    #[cfg(feature = "opaque")]
                    Reading::Crowded => return Err(AttemptError::Crowded),
                    #[cfg(feature = "opaque")]
                    Reading::Broken => return Err(AttemptError::Foreign),
                }
            }
            Step::Done(Err(client::Failure::NoChallenge)) if is_foreign => return Err(AttemptError::Foreign),
            Step::Done(Err(client::Failure::NoChallenge)) if is_mute => return Err(AttemptError::Mute),
            Step::Done(outcome) => {
                return Ok(Given {
                    verdict: outcome.map_err(AttemptError::Client)?,
                    heard,
                    #[cfg(feature = "opaque")]
                    session: client.session(),
                });
            }
        }
    }
    Err(AttemptError::Client(client::Failure::NoVerdict))
}
