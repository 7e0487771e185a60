//! The limits of a server by name, and the memory that they allow.

use std::fmt;
use std::mem::size_of;

use crate::http::routes;
use crate::log::LOG_LINES;
use crate::log::audit::{
    BOUNDS_BYTES, BYTES_PER_MINUTE, PER_SECOND, QUEUE_BYTES, QUEUE_LEN, SOURCE_PER_MINUTE, USER_PER_MINUTE,
};
use crate::net::bind::BACKLOG;
use crate::net::connection::{Connection, Scratch};
use crate::net::connections::{self, COUNTED_LEN, SHARE};
use crate::net::exchange::MESSAGES_BYTES;
use crate::net::late::Routes;
use crate::net::services::logins::{LoginConnection, LoginDatagrams};
use crate::net::services::small::{Datagrams, FramedStream, Md5Stream};
use crate::net::stream_service::{Deadlines, Reading};
use crate::net::udp::BUFFER_LEN;
use crate::settings::{self, Config, Policy, Service, SmallService};
use proto::opaque::wire::MESSAGE_MAX;
use proto::server::fleet::NODES_MAX;
use proto::server::opaque;
use proto::server::penalty::{FIRST_BLOCK, LONGEST_BLOCK, Penalties};
use proto::server::recent::{RareChallenges, Welcomes};
use proto::small::guard::{ANSWERS_PER_SECOND, Guard};
use proto::source::{HOME_SHARES, SITE_SHARES};
use proto::transport::Transport;

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name of the limited thing.
    pub name: &'static str,
    /// The limit, with its unit unless it is a number of things.
    pub value: String,
    /// Bytes of memory that the process takes at the limit, without those that the kernel queues.
    pub bytes: usize,
}

/// The limits of a server that may have this many descriptors. The memory of users comes in addition: names and
/// passwords, and 46 bytes a user; and the sources of their logins, in up to 16 MiB, or 16 bytes a user beyond a
/// million users.
#[must_use]
pub fn of(config: &Config, descriptors: usize) -> Vec<Limit> {
    let [datagram_workers, workers] = [Transport::Udp, Transport::Tcp].map(|it| config.threads(it));
    let all_threads = config.all_threads();
    let capacity = connections::capacity(descriptors, all_threads);
    let mut limits = match &config.service {
        Service::Logins(settings::Logins { limits, exchange, audit, http, .. }) => {
            let mut all = Vec::new();
            if datagram_workers > 0 {
                all.extend(of_login_datagrams(datagram_workers));
            }
            if workers > 0 {
                all.extend(of_connections(
                    size_of::<Connection<LoginConnection>>(),
                    LoginConnection::READING,
                    workers,
                    capacity,
                ));
            }
            all.extend(of_penalties(limits, exchange.is_some()));
            all.extend(
                exchange.iter().map(|_| limit("messages of other servers", NODES_MAX, MESSAGES_BYTES)),
            );
            all.extend(audit.iter().flat_map(|_| of_audit()));
            all.extend(http.map(|_| of_monitoring()));
            all
        }
        Service::Small(SmallService::Datagrams(..), _) => of_small_datagrams(datagram_workers),
        Service::Small(SmallService::Md5Stream, _) => {
            of_connections(size_of::<Connection<Md5Stream>>(), Md5Stream::READING, workers, capacity)
        }
        Service::Small(SmallService::FramedStream { buffer_len, message_max }, _) => {
            let reading = FramedStream::reading(*buffer_len, *message_max);
            of_connections(size_of::<Connection<FramedStream>>(), reading, workers, capacity)
        }
    };
    if workers > 0 {
        limits.push(limit("descriptors kept for other uses", connections::descriptors_kept(all_threads), 0));
    }
    limits.push(limit("log lines of each level", format!("{LOG_LINES} per second"), 0));
    limits
}

fn of_penalties(limits: &Policy, has_pool: bool) -> [Limit; 2] {
    let block = format!("{} s to {} s", FIRST_BLOCK.as_secs(), LONGEST_BLOCK.as_secs());
    let tables = format!("{} in each table", Penalties::SLOTS);
    [
        limit("block after too many failures", block, 0),
        limit("failures remembered", tables, Penalties::bytes(limits, has_pool)),
    ]
}

fn of_monitoring() -> Limit {
    let connections = routes::LIMITS.connections;
    let bytes = connections as usize * routes::CONNECTION_BYTES;
    limit("connections to the status page", connections, bytes)
}

fn of_small_datagrams(workers: usize) -> Vec<Limit> {
    vec![
        limit("answers to an address", answers(1), workers * Guard::BYTES),
        limit("answers to an IPv6 /56", answers(HOME_SHARES), 0),
        limit("answers to an IPv6 /48", answers(SITE_SHARES), 0),
        limit("datagrams in a batch", Datagrams::SHAPE.datagrams, workers * Datagrams::SHAPE.bytes()),
    ]
}

/// Answers to a network with this many shares.
fn answers(shares: u32) -> String {
    format!("{} per second", shares * ANSWERS_PER_SECOND)
}

fn of_audit() -> [Limit; 4] {
    let in_all = format!("{PER_SECOND} per second, {} per minute", kib(BYTES_PER_MINUTE));
    [
        limit("audit lines waiting to be written", QUEUE_LEN, QUEUE_BYTES),
        limit("audit lines about failed and duplicate logins", in_all, BOUNDS_BYTES),
        limit("audit lines of each kind about an address", format!("{SOURCE_PER_MINUTE} per minute"), 0),
        limit("audit lines about new logins of a user", format!("{USER_PER_MINUTE} per minute"), 0),
    ]
}

fn of_login_datagrams(workers: usize) -> Vec<Limit> {
    vec![
        limit("workers over UDP", workers, 0),
        limit("longest datagram", format!("{MESSAGE_MAX} bytes"), 0),
        limit(
            "logins by OPAQUE that wait for a worker",
            opaque::PLACES,
            workers * (opaque::BYTES + opaque::PLACES * Routes::ROUTE_BYTES),
        ),
        limit(
            "datagrams in a batch",
            LoginDatagrams::SHAPE.datagrams,
            workers * LoginDatagrams::SHAPE.bytes(),
        ),
        limit("logins remembered by a worker", 2 * Welcomes::CAPACITY, 2 * workers * Welcomes::BYTES),
        limit(
            "challenges for short replies remembered by a worker",
            RareChallenges::CAPACITY,
            workers * RareChallenges::BYTES,
        ),
        limit("receive buffer of a worker", format!("{}, if the kernel allows it", kib(BUFFER_LEN)), 0),
    ]
}

fn of_connections(connection_len: usize, reading: Reading, workers: usize, capacity: usize) -> Vec<Limit> {
    let deadlines = match reading.deadlines {
        Deadlines::Total(time) => format!("{} s", time.as_secs()),
        Deadlines::PerMessage { idle, message } => {
            format!("{} s between messages, {} s for a message", idle.as_secs(), message.as_secs())
        }
    };
    let most = |shares| connections::share(capacity, 0, shares);
    let least = |shares| connections::share(capacity, capacity, shares);
    // A connection at its end holds its last message and the reply to it.
    let held = if reading.memory_max == 0 { reading.gather_len.min(SHARE) } else { SHARE };
    vec![
        limit("workers over TCP", workers, workers * Scratch::BYTES),
        limit("connections", capacity, capacity * (connection_len + COUNTED_LEN + 2 * held)),
        limit("connections of an address", most(1), 0),
        limit("connections of an address, when few are left", least(1), 0),
        limit("connections of an IPv6 /56", most(HOME_SHARES), 0),
        limit("connections of an IPv6 /56, when few are left", least(HOME_SHARES), 0),
        limit("connections of an IPv6 /48", most(SITE_SHARES), 0),
        limit("connections of an IPv6 /48, when few are left", least(SITE_SHARES), 0),
        limit(
            "messages in progress, besides a share of each connection",
            kib(reading.memory_max),
            2 * reading.memory_max,
        ),
        limit("time of a connection", deadlines, 0),
        limit("connections waiting to be accepted by a worker", BACKLOG, 0),
    ]
}

/// The one unit of memory here.
fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

fn limit(name: &'static str, value: impl fmt::Display, bytes: usize) -> Limit {
    Limit { name, value: value.to_string(), bytes }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<56} {}", self.name, self.value)?;
        if self.bytes > 0 {
            write!(f, " ({})", kib(self.bytes))?;
        }
        Ok(())
    }
}
