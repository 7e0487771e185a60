//! What servers with the same users tell each other: failed logins, so that these are counted together, and from where
//! users have logged in.
//!
//! Each node has one message for all others, which somebody carries: once a second to a place where all can read it.
//! It may be lost, delayed or repeated. Nothing waits for it, and without it each node has its part of every budget.
//!
//! ```text
//! a node                                            each other node
//! batch 7: 3 failures at alice, … ─────────────────► counts them, once
//!          told again until all have heard it ◄───── "heard batch 7 of that node"
//! they no longer count N-fold; batch 8: …
//! ```
//!
//! A node counts another among its pool when that has acknowledged its batches for a whole window of the budget: by
//! then, what either has not heard of is owed no more. It drops one that has acknowledged none for ten seconds.

pub(crate) mod message;
pub(crate) mod outbox;

use std::mem;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::Now;
use crate::opaque::RngCore;
use crate::server::Seed;
use crate::server::keyring::Keyring;
use crate::server::penalty::Penalties;
use crate::short_name::ShortName;
use crate::users::{Found, PasswordAge, Users};
pub use message::MESSAGE_MAX;
use message::{FAILURES_MAX, Failures, FleetKey, Heard, LOGINS_MAX, LoginElsewhere, Message, NODES_MAX};
use outbox::{Login, Outbox};

/// A node that was not heard for so long has left.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// One node of several with the same users.
pub struct Fleet {
    /// Tells this node, since its start, from others.
    id: u64,
    random: ChaCha20Rng,
    batch: Batch,
    others: Vec<Other>,
    /// Empty; in its place failures are taken.
    room: Vec<ShortName>,
}

/// What is told until all have heard it.
#[derive(Default)]
struct Batch {
    number: u32,
    failures: Vec<Failures>,
    logins: Vec<Login>,
}

/// Another node.
struct Other {
    id: u64,
    /// Its batch that was counted here last.
    counted: u32,
    /// Whether its message was among the last ones.
    is_present: bool,
    /// Whether it has heard the batch of this node.
    has_heard: bool,
    /// The uptime at which it had heard the batch that was then this node's.
    heard_at: Option<Duration>,
    /// The uptime since which it has always heard in time.
    since: Duration,
}

/// What came of a round.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Nodes that count failures together, this one included.
    pub members: u32,
    /// Other nodes whose messages could be read, and are no older than ten seconds.
    pub others: u32,
    /// Messages that could not: damaged, old, or sealed under another key.
    pub unreadable: u32,
    /// Names that were blocked because of failures elsewhere, each with the uptime at which its block ends.
    pub blocked: Vec<(String, Duration)>,
}

impl Fleet {
    /// A node that has heard from nobody yet.
    #[must_use]
    pub fn new(Seed(seed): Seed) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let (id, batch) = (random.next_u64(), Batch { number: 1, ..Batch::default() });
        Self { id, random, batch, others: Vec::new(), room: Outbox::room() }
    }

    /// Hears the last messages of all others, and appends the one of this node to `reply`, up to [`MESSAGE_MAX`] bytes.
    /// Without keys that are shared, or while the clock is not to be trusted, there is none.
    pub fn round<'m>(
        &mut self,
        users: &Users,
        penalties: &Penalties,
        now: Now,
        messages: impl Iterator<Item = &'m [u8]>,
        reply: &mut Vec<u8>,
    ) -> Round {
        let mut round = Round { members: 1, ..Round::default() };
        let (Some(keyring), Some(unix_s), Some(outbox)) =
            (users.keyring(), now.cluster_s, penalties.outbox())
        else {
            return round;
        };
        let Some(key) = keyring.fleet_key(unix_s) else { return round };
        self.others.iter_mut().for_each(|other| other.is_present = false);
        for message in messages.take(NODES_MAX) {
            match open(keyring, unix_s, message) {
                Some((_, message)) if message.sender == self.id => {}
                Some((key, message)) => self.hear(users, penalties, now, key, &message, &mut round),
                None => round.unreadable += 1,
            }
        }
        self.others.retain(|other| other.is_present);
        self.settle_batch(penalties, outbox, now);
        let members = self.others.iter().filter(|other| other.is_member(penalties, now)).count();
        (round.members, round.others) = (1 + members as u32, self.others.len() as u32);
        penalties.join(round.members, now.uptime + SILENCE_MAX);
        self.message(users, penalties, now, unix_s, key).seal(key, &mut self.random, reply);
        round
    }

    fn hear(
        &mut self,
        users: &Users,
        penalties: &Penalties,
        now: Now,
        key: &FleetKey,
        message: &Message,
        round: &mut Round,
    ) {
        let has_heard = message.heard.iter().any(|it| it.node == self.id && it.batch == self.batch.number);
        let index = self.others.iter().position(|other| other.id == message.sender);
        let index = index.unwrap_or_else(|| {
            self.others.push(Other::new(message.sender));
            self.others.len() - 1
        });
        let Some(other) = self.others.get_mut(index) else { return };
        other.is_present = true;
        if has_heard {
            other.heard(now.uptime);
        }
        if message.batch <= other.counted {
            return;
        }
        other.counted = message.batch;
        for Failures { name, count } in &message.failures {
            let blocked = penalties.failed_elsewhere(now.uptime, users, name.as_str(), *count);
            round.blocked.extend(blocked.map(|end| (name.as_str().to_owned(), end)));
        }
        for login in &message.logins {
            if let Some(found) = users.owner(login.name.as_str()) {
                let by = [PasswordAge::Present, PasswordAge::Old]
                    .into_iter()
                    .find(|by| credential(key, &found, *by) == Some(login.credential));
                if let Some(by) = by {
                    penalties.logged_in_elsewhere(now.uptime, login.source, &found, by);
                }
            }
        }
    }

    /// Begins the next batch once all that are there have heard this one.
    fn settle_batch(&mut self, penalties: &Penalties, outbox: &Outbox, now: Now) {
        let mut there = self.others.iter().filter(|other| other.is_there(now)).peekable();
        let is_heard = there.peek().is_some();
        if !there.all(|other| other.has_heard) {
            return;
        }
        if is_heard {
            for Failures { name, count } in &self.batch.failures {
                penalties.all_know(now.uptime, name.as_str(), *count);
            }
        }
        let mut names = outbox.take_failures(mem::take(&mut self.room));
        let failures = most_frequent(&mut names);
        names.clear();
        self.room = names;
        let logins = outbox.take_logins(LOGINS_MAX);
        self.batch = Batch { number: self.batch.number.saturating_add(1), failures, logins };
        self.others.iter_mut().for_each(|other| other.has_heard = false);
    }

    fn message(
        &self,
        users: &Users,
        penalties: &Penalties,
        now: Now,
        unix_s: u64,
        key: &FleetKey,
    ) -> Message {
        let Batch { number, failures, logins } = &self.batch;
        let elsewhere = |login: &Login| {
            let found = users.owner(login.name.as_str())?;
            let by = penalties.exempting(now.uptime, login.source, &found)?;
            let credential = credential(key, &found, by)?;
            Some(LoginElsewhere { name: login.name, source: login.source, credential })
        };
        Message {
            sender: self.id,
            unix_s,
            batch: *number,
            heard: self.others.iter().map(|other| Heard { node: other.id, batch: other.counted }).collect(),
            failures: failures.clone(),
            logins: logins.iter().filter_map(elsewhere).collect(),
        }
    }
}

impl Other {
    fn new(id: u64) -> Self {
        let (counted, is_present, has_heard, heard_at, since) = (0, true, false, None, Duration::ZERO);
        Self { id, counted, is_present, has_heard, heard_at, since }
    }

    fn heard(&mut self, uptime: Duration) {
        if self.heard_at.is_none_or(|at| uptime.saturating_sub(at) >= SILENCE_MAX) {
            self.since = uptime;
        }
        (self.has_heard, self.heard_at) = (true, Some(uptime));
    }

    /// Whether it has heard of this node lately.
    fn is_there(&self, now: Now) -> bool {
        self.heard_at.is_some_and(|at| now.uptime.saturating_sub(at) < SILENCE_MAX)
    }

    /// Whether it counts failures together with this node.
    fn is_member(&self, penalties: &Penalties, now: Now) -> bool {
        self.is_there(now) && now.uptime.saturating_sub(self.since) >= penalties.window()
    }
}

/// Opens a message that is no older than a node may be silent, and gives the key that it was sealed under.
fn open<'k>(keyring: &'k Keyring, unix_s: u64, message: &[u8]) -> Option<(&'k FleetKey, Message)> {
    let opened = keyring.fleet_keys(unix_s).find_map(|key| Some((key, Message::open(key, message)?)));
    opened.filter(|(_, message)| message.unix_s.abs_diff(unix_s) <= SILENCE_MAX.as_secs())
}

/// What tells whether two nodes have the same password or record for a user; `None` if they have no such password.
fn credential(key: &FleetKey, found: &Found<'_>, by: PasswordAge) -> Option<u64> {
    found.credential(by).map(|parts| key.credential(&parts))
}

/// The names with the most failures, which are told, each with their number.
fn most_frequent(names: &mut [ShortName]) -> Vec<Failures> {
    names.sort_unstable();
    let runs = names.chunk_by(|one, other| one == other);
    let mut failures: Vec<_> = runs
        .filter_map(|run| {
            Some(Failures { name: *run.first()?, count: u8::try_from(run.len()).unwrap_or(u8::MAX) })
        })
        .collect();
    failures.sort_by_key(|it| u8::MAX - it.count);
    failures.truncate(FAILURES_MAX);
    failures
}
