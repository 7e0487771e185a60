//! The protocol's clients of both mechanisms, as an attempt drives them.

#[cfg(feature = "opaque")]
use std::io;
use std::time::Duration;

use proto::client::{Client, Receipt, Resends, Step};
use proto::credentials::{Password, Username};
#[cfg(feature = "opaque")]
use proto::mechanism::Mechanism;
#[cfg(feature = "opaque")]
use proto::opaque::stretching::Stretching;
#[cfg(feature = "opaque")]
use proto::opaque::wire::ServerMessage;
#[cfg(feature = "opaque")]
use proto::opaque::{self, exchange::ClientExchange, session::SessionKey};
use proto::transport::Transport;
use proto::wire::REPLY_MAX;

#[cfg(feature = "opaque")]
use super::stretching_limit::StretchingLimit;
#[cfg(feature = "opaque")]
use super::system_random::SystemRandom;
use super::{Login, LoginError};

/// What the clients of all attempts at one login are made of.
pub(super) enum Credentials<'a> {
    Md5(&'a Username, &'a Password),
    /// All of them say the same KE1, and stretch the password once.
    #[cfg(feature = "opaque")]
    Opaque(Box<ClientExchange>, Option<StretchingLimit>),
}

impl<'a> Credentials<'a> {
    #[cfg(feature = "opaque")]
    pub(super) fn new(login: &Login, user: &'a Username, password: &'a Password) -> Result<Self, LoginError> {
        match login.mechanism {
            Mechanism::Md5 => Ok(Self::Md5(user, password)),
            Mechanism::Opaque => {
                let draw = |random: &mut _| ClientExchange::new(user, password, login.binding, random);
                let exchange = SystemRandom::draw(draw).map_err(LoginError::NoRandomness)?;
                // No password is known for which this fails.
                let exchange = exchange.map_err(|error| LoginError::NoRandomness(io::Error::other(error)))?;
                Ok(Self::Opaque(exchange.into(), login.stretching_limit.clone()))
            }
        }
    }

    #[cfg(not(feature = "opaque"))]
    pub(super) fn new(_: &Login, user: &'a Username, password: &'a Password) -> Result<Self, LoginError> {
        Ok(Self::Md5(user, password))
    }

    /// A client for one attempt.
    pub(super) fn client(&self, resends: Resends, deadline: Duration, seed: u64) -> AnyClient {
        match self {
            Self::Md5(user, password) => {
                AnyClient::Md5(Client::new(user, password, resends, deadline, seed).into())
            }
            #[cfg(feature = "opaque")]
            Self::Opaque(exchange, limit) => {
                let client = opaque::client::Client::new((**exchange).clone(), resends, deadline, seed);
                AnyClient::Opaque(Limited { client, limit: limit.clone(), deadline }.into())
            }
        }
    }
}

/// A client of one of the mechanisms. Nothing makes one of another in its place.
pub(super) enum AnyClient {
    Md5(Box<Client>),
    #[cfg(feature = "opaque")]
    Opaque(Box<Limited>),
}

/// A client by OPAQUE that may have to wait with the stretching, until its deadline.
#[cfg(feature = "opaque")]
pub(super) struct Limited {
    client: opaque::client::Client,
    limit: Option<StretchingLimit>,
    deadline: Duration,
}

/// What was read of the bytes that have come.
pub(super) enum Reading {
    /// A message that took the login further.
    Taken,
    /// A message that had no effect, or one that is not all there yet.
    Nothing,
    /// Nothing that could be of a message, or not of the one that is awaited.
    Foreign,
    /// A message that could not be used in time, since the passwords of other logins were stretched.
    #[cfg(feature = "opaque")]
    Crowded,
    /// Bytes after which a stream has no more messages.
    #[cfg(feature = "opaque")]
    Broken,
}

impl AnyClient {
    /// Bytes of the longest message from a server.
    pub(super) fn message_max(&self) -> usize {
        match self {
            Self::Md5(_) => REPLY_MAX,
            #[cfg(feature = "opaque")]
            Self::Opaque(_) => opaque::wire::MESSAGE_MAX,
        }
    }

    pub(super) fn next(&mut self, now: Duration) -> Step<'_> {
        match self {
            Self::Md5(client) => client.next(now),
            #[cfg(feature = "opaque")]
            Self::Opaque(limited) => limited.client.next(now),
        }
    }

    /// Takes a datagram, or all bytes of a stream since the last message that was taken.
    pub(super) fn receive(&mut self, transport: Transport, now: Duration, bytes: &[u8]) -> Reading {
        match self {
            Self::Md5(client) => match client.receive(now, bytes) {
                Receipt::Taken => Reading::Taken,
                Receipt::Ignored if is_no_challenge(transport, bytes) => Reading::Foreign,
                Receipt::Ignored => Reading::Nothing,
            },
            #[cfg(feature = "opaque")]
            Self::Opaque(limited) => match (transport, opaque::wire::server_message_len(bytes)) {
                (Transport::Udp, Err(_)) if bytes.is_empty() => Reading::Nothing,
                (Transport::Udp, Err(_)) => Reading::Foreign,
                (Transport::Tcp, Err(_)) => Reading::Broken,
                // Each message of a server is a reply, so nothing follows it before the next one of ours.
                (Transport::Tcp, Ok(Some(len))) if bytes.len() > len => Reading::Broken,
                (Transport::Udp | Transport::Tcp, Ok(_)) => limited.receive(now, bytes),
            },
        }
    }

    pub(super) fn has_challenge(&self) -> bool {
        match self {
            Self::Md5(client) => client.has_challenge(),
            #[cfg(feature = "opaque")]
            Self::Opaque(limited) => limited.client.has_challenge(),
        }
    }

    /// The key of a login that is welcome.
    #[cfg(feature = "opaque")]
    pub(super) fn session(&self) -> Option<SessionKey> {
        match self {
            Self::Md5(_) => None,
            Self::Opaque(limited) => limited.client.session().cloned(),
        }
    }
}

#[cfg(feature = "opaque")]
impl Limited {
    fn receive(&mut self, now: Duration, bytes: &[u8]) -> Reading {
        let limit = self.limit.as_ref().filter(|_| has_to_stretch(bytes));
        let slot = limit.map(|limit| limit.take_within(self.deadline.saturating_sub(now)));
        if let Some(None) = slot {
            return Reading::Crowded;
        }
        match self.client.receive(now, bytes) {
            Receipt::Taken => Reading::Taken,
            Receipt::Ignored => Reading::Nothing,
        }
    }
}

/// Whether this is an offer that has the password stretched.
#[cfg(feature = "opaque")]
fn has_to_stretch(bytes: &[u8]) -> bool {
    match ServerMessage::decode(bytes) {
        Some(ServerMessage::Offer(offer)) => {
            Stretching::from_bytes(*offer.stretching).is_ok_and(|stretching| !stretching.is_none())
        }
        Some(ServerMessage::Challenge(_) | ServerMessage::Again(_) | ServerMessage::Verdict { .. })
        | None => false,
    }
}

/// Whether bytes that are no message cannot become a challenge, either, which may come in pieces over TCP.
fn is_no_challenge(transport: Transport, bytes: &[u8]) -> bool {
    match transport {
        Transport::Udp => !bytes.is_empty(),
        Transport::Tcp => bytes.iter().any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
    }
}

#[cfg(all(test, feature = "opaque"))]
mod tests {
    use std::num::NonZero;

    use proto::opaque::Binding;
    use proto::opaque::wire::{ECHO_LEN, KE2_LEN, Offer, STATE_LEN};

    use super::*;

    fn offer(stretching: Stretching) -> Vec<u8> {
        let (stretching, mut message) = (stretching.to_bytes(), Vec::new());
        let (echo, ke2, state) = (&[0; ECHO_LEN], &[0; KE2_LEN], &[0; STATE_LEN]);
        ServerMessage::Offer(Offer { echo, stretching: &stretching, ke2, state }).append_to(&mut message);
        message
    }

    #[test]
    fn only_an_offer_that_has_the_password_stretched_waits_for_others() {
        let limit = StretchingLimit::new(NonZero::<usize>::MIN);
        let (name, password) = ("alice".parse().unwrap(), Password::new("right").unwrap());
        let exchange = |random: &mut _| ClientExchange::new(&name, &password, Binding::none(), random);
        let exchange = SystemRandom::draw(exchange).unwrap().unwrap();
        let credentials = Credentials::Opaque(exchange.into(), Some(limit.clone()));
        let mut client = credentials.client(Resends::Timed, Duration::ZERO, 1);
        let mut read = |stretching| client.receive(Transport::Udp, Duration::ZERO, &offer(stretching));
        let held = limit.take_within(Duration::ZERO);
        assert!(matches!(read(Stretching::LIGHT), Reading::Crowded));
        assert!(matches!(read(Stretching::NONE), Reading::Nothing));
        drop(held);
        assert!(matches!(read(Stretching::LIGHT), Reading::Nothing));
    }
}
