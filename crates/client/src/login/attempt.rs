//! One attempt at a login: drives [`Client`] with a socket and a clock, at one address.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::maybe_blocking;
use crate::channel::{Channel, Inbox, is_broken, is_timeout};
use proto::client::{self, Client, Receipt, Sending, Step};
use proto::transport::Transport;
use proto::wire::Verdict;

/// An attempt that is no longer wanted ends within this time.
const ABANDONED_WITHIN: Duration = Duration::from_millis(50);

/// What happens in an attempt.
pub(super) enum Happening {
    /// A message is about to be sent.
    Sending(Sending),
    /// A message came, and was of use.
    Heard,
}

/// Why an attempt at one address gave no verdict.
pub(super) enum AttemptError {
    Client(client::Failure),
    /// Something answered, but nothing that it said was of use.
    Foreign,
    /// The connection ended after a challenge.
    Closed(io::Error),
    Unreachable(io::Error),
}

impl From<io::Error> for AttemptError {
    fn from(error: io::Error) -> Self {
        // Of all these errors, only that of connecting over TCP can be a timeout.
        if is_timeout(&error) {
            Self::Client(client::Failure::NoChallenge)
        } else if is_end(&error) {
            let reason = format!("it closed the connection without a verdict, and {}", maybe_blocking());
            Self::Unreachable(io::Error::new(error.kind(), reason))
        } else {
            Self::Unreachable(error)
        }
    }
}

/// Whether the other side has ended the connection.
fn is_end(error: &io::Error) -> bool {
    is_broken(error) || error.kind() == io::ErrorKind::UnexpectedEof
}

/// Runs an attempt, until there is a verdict or an error, or another attempt is over first.
pub(super) fn run(
    transport: Transport,
    server: SocketAddr,
    mut client: Client,
    share: Duration,
    is_over: &AtomicBool,
    tell: &mut dyn FnMut(Happening),
) -> Result<Verdict, AttemptError> {
    let started = Instant::now();
    let mut channel = Channel::open(transport, server, share)?;
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
    client: &mut Client,
    started: Instant,
    is_over: &AtomicBool,
    tell: &mut dyn FnMut(Happening),
) -> Result<Verdict, AttemptError> {
    let (mut inbox, mut is_foreign) = (Inbox::default(), false);
    while !is_over.load(Ordering::Relaxed) {
        match client.next(started.elapsed()) {
            Step::Send { bytes, sending } => {
                tell(Happening::Sending(sending));
                channel.send(bytes)?;
            }
            Step::WaitUntil(time) => {
                let wait = time.saturating_sub(started.elapsed()).min(ABANDONED_WITHIN);
                let Some(bytes) = inbox.fill(channel, wait)? else { continue };
                let has_said_something = !bytes.is_empty();
                match client.receive(started.elapsed(), bytes) {
                    Receipt::Taken => {
                        tell(Happening::Heard);
                        inbox.clear();
                    }
                    // The bytes of a stream may be the begin of a message.
                    Receipt::Ignored => is_foreign |= has_said_something && transport == Transport::Udp,
                }
            }
            Step::Done(Err(client::Failure::NoChallenge)) if is_foreign => return Err(AttemptError::Foreign),
            Step::Done(outcome) => return outcome.map_err(AttemptError::Client),
        }
    }
    Err(AttemptError::Client(client::Failure::NoVerdict))
}
