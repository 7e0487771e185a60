//! What servers with the same users tell each other: failed logins, so that these are counted together, and from where
//! users have logged in.
//!
//! Each node has one message for all others, which somebody carries: once a second to a place where all can read it.
//! It may be lost, delayed or repeated, and without it each node has its part of every budget.
//!
//! ```text
//! a node                                              each other node
//! batch 7: 3 failures at alice, … ───────────────────► counts them, once
//!          told again until all acknowledge it ◄────── acknowledges batch 7 of that node
//! they no longer count N-fold; batch 8: …
//! ```
//!
//! A node that acknowledges is reachable; after ten seconds without doing so it is not. A node counts failures together
//! with those that have been reachable for a whole window of the budget: by then, what either has not heard of is owed
//! no more. A node that is not reachable is not waited for: it is told nothing of the batch, and has its own part.

pub(crate) mod message;
mod others;
pub(crate) mod outbox;

use std::mem;
use std::ptr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::Now;
use crate::opaque::RngCore;
use crate::server::Seed;
use crate::server::keyring::Keyring;
use crate::server::penalty::{Penalties, PoolLimits};
use crate::users::{Found, PasswordAge, Users};
use message::{Acknowledged, FAILURES_MAX, Failures, FleetKey, LOGINS_MAX, LoginElsewhere, Message};
pub use message::{MESSAGE_MAX, NODES_MAX};
use others::Others;
use outbox::{Failure, Login, Outbox};

/// A node that was silent for so long is not reachable, and a message that is so old or so far ahead is not read.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// One node of several with the same users.
pub struct Fleet {
    /// Tells this node, since its start, from others.
    id: u64,
    random: ChaCha20Rng,
    /// Messages so far.
    messages: u64,
    batch: Batch,
    others: Others,
    /// Empty room, in exchange for which failures are taken.
    room: Vec<Failure>,
    /// The uptime of the last round.
    last_round: Option<Duration>,
}

/// What is told until all that are reachable acknowledge it.
#[derive(Default)]
struct Batch {
    number: u64,
    failures: Vec<Failures>,
    /// Those of the failures at each name that count N-fold until then, in the same order.
    owed: Vec<Owed>,
    logins: Vec<Login>,
}

/// Failures at a name that count N-fold, and the least N.
#[derive(Clone, Copy, Default)]
pub(crate) struct Owed {
    pub(crate) failures: u8,
    pub(crate) nodes: u16,
}

/// The result of a round.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Nodes that count failures together, this one included.
    pub members: u32,
    /// Nodes that are reachable, this one included.
    pub reachable: u32,
    /// Messages that could not be read: damaged, too old or too far ahead, or sealed under another key or for other
    /// limits.
    pub unreadable: u32,
    /// Names that are blocked because of failures elsewhere, each with the uptime at which its block ends.
    pub blocked: Vec<(String, Duration)>,
}

impl Fleet {
    /// A node that has heard from nobody yet.
    #[must_use]
    pub fn new(Seed(seed): Seed) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let (id, batch) = (random.next_u64(), Batch { number: 1, ..Batch::default() });
        let (others, room) = (Others::default(), Outbox::room());
        Self { id, random, messages: 0, batch, others, room, last_round: None }
    }

    /// Receives the newest messages of all others, and appends the one of this node to `reply`, up to [`MESSAGE_MAX`]
    /// bytes. Without keys that are shared, or while the clock is not to be trusted, there is none.
    pub fn round<'m>(
        &mut self,
        users: &Users,
        penalties: &Penalties,
        now: Now,
        messages: impl Iterator<Item = &'m [u8]>,
        reply: &mut Vec<u8>,
    ) -> Round {
        let mut round = Round { members: 1, reachable: 1, ..Round::default() };
        let (Some(keyring), Some(unix_s), Some((outbox, limits))) =
            (users.keyring(), now.cluster_s, penalties.pool())
        else {
            return round;
        };
        let Some(key) = keyring.fleet_key(unix_s) else { return round };
        let last = self.last_round.replace(now.uptime);
        let is_late = last.is_none_or(|last| now.uptime.saturating_sub(last) >= SILENCE_MAX);
        if penalties.were_lifted() || is_late {
            self.forget_failures(outbox);
        }
        let present = Acknowledged { node: self.id, batch: self.batch.number };
        for message in messages.take(NODES_MAX) {
            match open(keyring, unix_s, limits, message) {
                Some((_, message)) if message.sender == self.id => {}
                Some((key, message)) => {
                    let age = Duration::from_secs(unix_s.saturating_sub(message.unix_s));
                    let received = self.others.receive(&message, present, now.uptime, age, limits.window);
                    if let Some(is_settled) = received {
                        let blocked = count(users, penalties, now.uptime, key, &message, is_settled);
                        round.blocked.extend(blocked);
                    }
                }
                None => round.unreadable += 1,
            }
        }
        self.others.forget_the_silent(now.uptime);
        self.settle_batch(penalties, outbox, now.uptime);
        round.members += self.others.members(self.id, now.uptime, limits.window) as u32;
        round.reachable += self.others.reachable(now.uptime) as u32;
        penalties.join(round.members, round.reachable, now.uptime + SILENCE_MAX);
        self.messages += 1;
        let message = self.message(users, penalties, now.uptime, unix_s, key);
        message.seal(key, limits, &mut self.random, reply);
        round
    }

    /// Begins the next batch once all that are reachable have acknowledged this one. While none is, failures are not
    /// told later either, since they count at this node alone, and logins wait.
    fn settle_batch(&mut self, penalties: &Penalties, outbox: &Outbox, uptime: Duration) {
        if self.others.reachable(uptime) == 0 {
            self.forget_failures(outbox);
            return;
        }
        if !self.others.all_know(uptime) {
            return;
        }
        for (Failures { name, .. }, owed) in self.batch.failures.iter().zip(&self.batch.owed) {
            penalties.all_know(uptime, name.as_str(), *owed);
        }
        let mut waiting = outbox.take_failures(mem::take(&mut self.room));
        let (failures, owed) = most_frequent(&mut waiting, self.random.next_u64());
        waiting.clear();
        self.room = waiting;
        let mut logins = Vec::new();
        outbox.take_logins(&mut logins, LOGINS_MAX);
        self.batch = Batch { number: self.batch.number + 1, failures, owed, logins };
        self.others.begin_batch();
    }

    fn forget_failures(&mut self, outbox: &Outbox) {
        outbox.forget_failures();
        self.batch.failures.clear();
        self.batch.owed.clear();
    }

    fn message(
        &self,
        users: &Users,
        penalties: &Penalties,
        uptime: Duration,
        unix_s: u64,
        key: &FleetKey,
    ) -> Message {
        let elsewhere = |login: &Login| {
            let found = users.owner(login.name.as_str())?;
            let by = penalties.exempting(uptime, login.source, &found)?;
            let credential = credential(key, &found, by)?;
            Some(LoginElsewhere { name: login.name, source: login.source, credential })
        };
        Message {
            sender: self.id,
            number: self.messages,
            unix_s,
            batch: self.batch.number,
            acknowledged: self.others.acknowledged(uptime).take(NODES_MAX).collect(),
            failures: self.batch.failures.clone(),
            logins: self.batch.logins.iter().filter_map(elsewhere).collect(),
        }
    }
}

/// Counts what is in a message, and gives the names that are blocked because of it, with the uptimes of the ends.
fn count(
    users: &Users,
    penalties: &Penalties,
    uptime: Duration,
    key: &FleetKey,
    message: &Message,
    is_settled: bool,
) -> Vec<(String, Duration)> {
    for login in &message.logins {
        let Some(found) = users.owner(login.name.as_str()) else { continue };
        let mut ages = [PasswordAge::Present, PasswordAge::Old].into_iter();
        if let Some(by) = ages.find(|by| credential(key, &found, *by) == Some(login.credential)) {
            penalties.logged_in_elsewhere(uptime, login.source, &found, by);
        }
    }
    let blocked = |Failures { name, count }: &Failures| {
        let name = name.as_str();
        let end = penalties.failed_elsewhere(uptime, users, name, *count, is_settled)?;
        Some((name.to_owned(), end))
    };
    message.failures.iter().filter_map(blocked).collect()
}

/// Opens a message that is not too old, and gives the key that it was sealed under: that of its time.
fn open<'k>(
    keyring: &'k Keyring,
    unix_s: u64,
    limits: PoolLimits,
    message: &[u8],
) -> Option<(&'k FleetKey, Message)> {
    let tolerance = SILENCE_MAX.as_secs();
    let times = [unix_s, unix_s.saturating_sub(tolerance), unix_s.saturating_add(tolerance)];
    let keys = times.into_iter().filter_map(|time| keyring.fleet_key(time));
    let opened = keys.filter_map(|key| Some((key, Message::open(key, limits, message)?)));
    let is_good = |(key, message): &(&FleetKey, Message)| {
        message.unix_s.abs_diff(unix_s) <= tolerance
            && keyring.fleet_key(message.unix_s).is_some_and(|of_time| ptr::eq(of_time, *key))
    };
    opened.into_iter().find(is_good)
}

/// Tells whether two nodes have the same password or record for a user; `None` if there is none of this age.
fn credential(key: &FleetKey, found: &Found<'_>, by: PasswordAge) -> Option<u64> {
    found.credential(by).map(|parts| key.credential(&parts))
}

/// The names with the most failures, each with their number, and with what is owed of them. `random` decides between
/// names with equally many.
fn most_frequent(waiting: &mut [Failure], random: u64) -> (Vec<Failures>, Vec<Owed>) {
    waiting.sort_unstable();
    let number = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    let owed_of = |run: &[Failure]| {
        let nodes = || run.iter().map(|failure| failure.nodes).filter(|nodes| *nodes > 0);
        Owed { failures: number(nodes().count()), nodes: nodes().min().unwrap_or(0) }
    };
    let mut names: Vec<_> = waiting
        .chunk_by(|one, other| one.name == other.name)
        .filter_map(|run| {
            Some((Failures { name: run.first()?.name, count: number(run.len()) }, owed_of(run)))
        })
        .collect();
    let first = random as usize % names.len().max(1);
    names.rotate_left(first);
    names.sort_by_key(|(failures, _)| u8::MAX - failures.count);
    names.truncate(FAILURES_MAX);
    names.into_iter().unzip()
}
