//! Logins over UDP and over TCP: each message goes to the protocol's server, and its decision to the log and the audit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::TryRng;
use rand::rngs::SysRng;

use crate::log::WorkerLog;
use crate::net::batch::Shape;
use crate::net::connection::{Deadlines, Next, Reading, StreamService};
use crate::net::udp;
use proto::challenge::Challenge;
use proto::server::Server;
use proto::server::event::Event;
use proto::server::penalty::Penalties;
use proto::server::stream::{self, BUFFER_LEN};
use proto::users::Users;
use proto::wire::{self, MESSAGE_MAX, REPLY_MAX};
use proto::{Now, Peer};

/// The logins of one UDP worker.
pub(crate) struct LoginDatagrams {
    pub(crate) server: Server,
    pub(crate) log: WorkerLog,
    pub(crate) users: Arc<ArcSwap<Users>>,
}

impl LoginDatagrams {
    pub(crate) const SHAPE: Shape =
        Shape { datagrams: 64, datagram_len: MESSAGE_MAX + 1, reply_len: REPLY_MAX };
}

impl udp::Service for LoginDatagrams {
    fn shape(&self) -> Shape {
        Self::SHAPE
    }

    fn prefetch<'d>(&self, datagrams: impl Iterator<Item = &'d [u8]>) {
        self.users.load().prefetch(datagrams.filter_map(wire::name_in));
    }

    fn react(&mut self, now: Now, peer: Peer, datagram: &[u8], reply: &mut Vec<u8>) {
        let reaction = self.server.datagram(&self.users.load(), now, peer, datagram, reply);
        self.log.reaction(now, peer, &reaction);
    }
}

/// One login over TCP.
pub(crate) struct LoginStream {
    stream: stream::LoginStream,
    users: Arc<ArcSwap<Users>>,
    penalties: Arc<Penalties>,
    log: Arc<WorkerLog>,
    peer: Peer,
    began: Duration,
}

impl LoginStream {
    pub(crate) const READING: Reading = Reading {
        gather_len: BUFFER_LEN,
        memory_max: 0,
        deadlines: Deadlines::Total(Duration::from_secs(10)),
    };

    /// Starts a login with a new challenge.
    ///
    /// # Errors
    /// The source is blocked, so its connection is closed at once; or the system gives no random bytes.
    pub(crate) fn open(
        users: Arc<ArcSwap<Users>>,
        penalties: Arc<Penalties>,
        log: Arc<WorkerLog>,
        now: Now,
        peer: Peer,
    ) -> io::Result<Self> {
        if let Err(penalty) = penalties.check_source(now.uptime, peer) {
            log.event(now, peer, &Event::Penalized { penalty, user: None });
            return Err(io::Error::other(penalty));
        }
        let challenge = Challenge::from_random(SysRng.try_next_u64()?);
        Ok(Self {
            stream: stream::LoginStream::new(challenge),
            users,
            penalties,
            log,
            peer,
            began: now.uptime,
        })
    }
}

impl StreamService for LoginStream {
    fn receive(&mut self, now: Now, received: &mut &[u8], replies: &mut Vec<u8>) -> Next {
        let mut rest = *received;
        while let Some(reaction) =
            self.stream.receive(&self.users.load(), &self.penalties, now, self.peer, &mut rest, replies)
        {
            self.log.reaction(now, self.peer, &reaction);
            if reaction.is_silent() {
                return Next::Close;
            }
        }
        let taken = received.len() - rest.len();
        *received = received.get(taken..).unwrap_or_default();
        if self.stream.is_over() {
            self.log.login_took(now.uptime.saturating_sub(self.began));
            Next::End
        } else {
            Next::Read
        }
    }
}
