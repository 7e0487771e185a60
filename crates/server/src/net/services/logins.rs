//! Logins over UDP and over TCP: each message goes to the protocol's server, and its decision to the log and the audit.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

use crate::directory::Directory;
use crate::log::WorkerLog;
use crate::net::batch::Shape;
use crate::net::late::LateReplies;
use crate::net::stream_service::{Deadlines, Next, Reading, StreamService};
use crate::net::udp;
use proto::challenge::Challenge;
use proto::opaque::{self, Binding};
use proto::server::event::Event;
use proto::server::opaque::{OfferMaker, OpaqueDesk, PLACES, Place, Waiter};
use proto::server::stream::{BUFFER_LEN, LoginStream};
use proto::server::{Case, Seed, Server};
use proto::transport::Transport;
use proto::wire;
use proto::{Now, Peer};

/// The logins of one UDP worker.
pub(crate) struct LoginDatagrams {
    pub(crate) server: Server,
    pub(crate) log: WorkerLog,
    pub(crate) directory: Arc<Directory>,
    /// What makes its offers, until a thread has it; absent where none are made.
    pub(crate) offers: Option<LoginOffers>,
}

/// What makes the offers of one UDP worker.
pub(crate) struct LoginOffers {
    pub(crate) maker: OfferMaker,
    pub(crate) log: WorkerLog,
    pub(crate) directory: Arc<Directory>,
    /// The login whose offer is being made.
    pub(crate) taken: Option<Waiter>,
}

impl LateReplies for LoginOffers {
    fn places(&self) -> usize {
        PLACES
    }

    fn next(&mut self, now: Now) -> Option<Place> {
        self.taken = self.maker.next(now);
        self.taken.as_ref().map(|waiter| waiter.place)
    }

    fn reply(&mut self, now: Now, reply: &mut Vec<u8>) {
        let Some(waiter) = &self.taken else { return };
        let reaction = self.maker.offer(&self.directory.users.load(), now, waiter, reply);
        self.log.reaction(now, waiter.peer, &reaction);
    }

    fn leave(&mut self) {
        if let Some(waiter) = self.taken.take() {
            self.maker.leave(&waiter);
        }
    }
}

impl LoginDatagrams {
    pub(crate) const SHAPE: Shape = Shape {
        datagrams: 64,
        datagram_len: opaque::wire::MESSAGE_MAX + 1,
        reply_len: opaque::wire::MESSAGE_MAX,
    };
}

impl udp::UdpService for LoginDatagrams {
    fn shape(&self) -> Shape {
        Self::SHAPE
    }

    fn prefetch<'d>(&self, datagrams: impl Iterator<Item = &'d [u8]>) {
        self.directory.users.load().prefetch(datagrams.filter_map(name_in));
    }

    fn react(&mut self, now: Now, peer: Peer, datagram: &[u8], reply: &mut Vec<u8>) -> Option<Place> {
        let reaction = self.server.datagram(&self.directory.users.load(), now, peer, datagram, reply);
        self.log.reaction(now, peer, &reaction);
        match reaction.event {
            Event::Waiting { place, .. } => place,
            Event::Malformed(_)
            | Event::Challenged
            | Event::Rechallenged
            | Event::Offered
            | Event::Crowded
            | Event::Welcomed { .. }
            | Event::Refused(_)
            | Event::Penalized { .. } => None,
        }
    }

    fn late_replies(&mut self) -> Option<Box<dyn LateReplies>> {
        Some(Box::new(self.offers.take()?))
    }
}

/// The name in a message of either mechanism.
fn name_in(datagram: &[u8]) -> Option<&str> {
    if opaque::wire::is_opaque(datagram) { opaque::wire::name_in(datagram) } else { wire::name_in(datagram) }
}

/// What the logins of one TCP worker share.
pub(crate) struct WorkerLogins {
    log: WorkerLog,
    directory: Arc<Directory>,
    challenges: RefCell<RandomChallenges>,
    opaque: RefCell<OpaqueDesk>,
}

impl WorkerLogins {
    pub(crate) fn new(log: WorkerLog, directory: Arc<Directory>, seed: Seed) -> Self {
        let opaque = OpaqueDesk::new(Transport::Tcp, &directory.keys, seed, Binding::none());
        Self { log, directory, challenges: RefCell::default(), opaque: RefCell::new(opaque) }
    }
}

/// Challenges of the system's random bits, drawn for some logins ahead, since a draw is a system call.
#[derive(Default)]
struct RandomChallenges {
    drawn: Vec<Challenge>,
}

impl RandomChallenges {
    const DRAWN_MAX: usize = 64;

    /// A challenge for one login alone.
    fn next(&mut self) -> io::Result<Challenge> {
        if let Some(challenge) = self.drawn.pop() {
            return Ok(challenge);
        }
        let mut bytes = [0; Self::DRAWN_MAX * size_of::<u64>()];
        SysRng.try_fill_bytes(&mut bytes)?;
        let (words, _) = bytes.as_chunks();
        self.drawn.extend(words.iter().map(|word| Challenge::from_random(u64::from_ne_bytes(*word))));
        self.drawn.pop().ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

/// One login over TCP.
pub(crate) struct LoginConnection {
    stream: LoginStream,
    shared: Rc<WorkerLogins>,
    peer: Peer,
    began: Duration,
}

impl LoginConnection {
    pub(crate) const READING: Reading = Reading {
        gather_len: BUFFER_LEN,
        memory_max: 0,
        deadlines: Deadlines::Total(Duration::from_secs(10)),
    };

    /// Starts a login with a new challenge.
    ///
    /// # Errors
    /// The source is blocked, so its connection is closed at once; or the system gives no random bytes.
    pub(crate) fn open(shared: Rc<WorkerLogins>, now: Now, peer: Peer) -> io::Result<Self> {
        if let Err(penalty) = shared.directory.penalties.check_source(now.uptime, peer) {
            shared.log.event(now, peer, None, &Event::Penalized { penalty, user: None });
            return Err(io::Error::other(penalty));
        }
        let challenge = shared.challenges.borrow_mut().next()?;
        let served = shared.directory.mechanisms;
        let mechanisms = served.unwrap_or_else(|| shared.directory.users.load().mechanisms());
        Ok(Self { stream: LoginStream::new(challenge, mechanisms), shared, peer, began: now.uptime })
    }
}

impl StreamService for LoginConnection {
    fn receive(&mut self, now: Now, received: &mut &[u8], replies: &mut Vec<u8>) -> Next {
        let WorkerLogins { log, directory, opaque, .. } = &*self.shared;
        let (users, peer) = (directory.users.load(), self.peer);
        let case = Case { users: &users, penalties: &directory.penalties, now, peer };
        let mut opaque = opaque.borrow_mut();
        while let Some(reaction) = self.stream.receive(case, &mut opaque, received, replies) {
            log.reaction(now, peer, &reaction);
            if let Event::Waiting { rank, .. } = reaction.event {
                return Next::Late(rank);
            }
            if reaction.is_silent() {
                return Next::Close;
            }
        }
        if self.stream.is_over() {
            log.login_took(now.uptime.saturating_sub(self.began));
            Next::End
        } else {
            Next::Read
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_logins_are_given_the_same_challenge() {
        let mut challenges = RandomChallenges::default();
        let count = 3 * RandomChallenges::DRAWN_MAX;
        let given: HashSet<_> = (0..count).map(|_| challenges.next().unwrap()).collect();
        assert_eq!(given.len(), count);
    }
}
