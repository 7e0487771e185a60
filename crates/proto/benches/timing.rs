//! Checks that the time of a refusal does not tell a known user from an unknown one, by a t-test, as dudect does.
//!
//! Answers with a wrong password and answers of unknown users come in random order, 200,000 of each, in 200 rounds with
//! other names, records and keys: where records and entries happen to be in memory makes a difference of its own, which
//! is no one's secret. The test is on the differences of the rounds. In each, the slowest hundredth is left out, since
//! it is the machine's. Ends with status 1 if the means differ at p < 0.001.

#![expect(clippy::disallowed_methods, reason = "a stopwatch is a clock")]

#[path = "shared/statistics.rs"]
mod statistics;

use std::hint::black_box;
use std::iter;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use letmein_auth_proto::Now;
use letmein_auth_proto::credentials::{NAME_MAX, Password};
use letmein_auth_proto::server::penalty::{Budget, GuessBudgets, Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::{Builder, Conditions, Suspension, Users};
use letmein_auth_proto::wire::REPLY_MAX;
use letmein_auth_users::parse;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, TryRng};
use statistics::{cropped, mean, standard_error};

const ROUNDS: usize = 200;
/// Answers of each kind in a round.
const EACH: usize = 1_000;
/// |t| beyond which p < 0.001 for this many rounds.
const CRITICAL: f64 = 3.340;
const NOW: Now = Now::new(Duration::from_secs(100), 1_767_225_600);
/// The time from one answer to the next, by the clock of the server.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest name and password together that take one block of MD5.
const ONE_BLOCK: usize = 39;

fn main() -> ExitCode {
    let mut random = SmallRng::seed_from_u64(1);
    // Shorter names would not all differ.
    let alike =
        |passwords| move |random: &mut SmallRng| Population::new(random, 8..=NAME_MAX, passwords, |_, _| 8);
    let [one, two, either] = [Passwords::One, Passwords::TwoForEveryOther, Passwords::OneOrTwo].map(alike);
    let in_one_block = |random: &mut SmallRng| {
        Population::new(random, 8..=31, Passwords::One, |random, name_len| {
            random.random_range(1..=ONE_BLOCK - name_len)
        })
    };
    let since = |change| move |random: &mut SmallRng| one(random).since(change);
    let alike = [
        measure("an overlay has all users", &mut random, since(Change::All), counted),
        measure("every other user is in an overlay", &mut random, since(Change::EveryOther), counted),
        measure("users are removed", &mut random, since(Change::Removal), counted),
        measure(
            "all users are suspended",
            &mut random,
            |random: &mut SmallRng| one(random).suspended(),
            counted,
        ),
        measure("passwords of one length", &mut random, one, Policy::none),
        measure("the same, failures counted", &mut random, one, counted),
        measure("every other user has two passwords", &mut random, two, Policy::none),
        measure(
            "users with one password, and with two instead of unknown ones",
            &mut random,
            either,
            Policy::none,
        ),
    ];
    // The longer the names, the shorter the passwords: here a name is known by its length, if by anything.
    let Times { difference_ns, t: _ } =
        measure("all in one block of MD5", &mut random, in_one_block, Policy::none);
    let differs = alike.iter().any(|times| times.t.abs() >= CRITICAL) || difference_ns.abs() >= FAINT_NS;
    if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Budgets that are never used up here, so that each failure is counted.
fn counted() -> Policy {
    let budget = |count| Some(Budget { count, window: Duration::from_secs(1) });
    Policy {
        of_source: budget(255),
        of_user: budget(16),
        of_guesses: GuessBudgets::none(),
        trusted: Vec::new(),
    }
}

/// The largest difference of the second population: an MD5 block takes 90 ns.
const FAINT_NS: f64 = 2.0;

struct Times {
    difference_ns: f64,
    t: f64,
}

/// How many passwords users have.
#[derive(Clone, Copy)]
enum Passwords {
    One,
    TwoForEveryOther,
    /// Both names of each pair are users: one with one password, and one with two.
    OneOrTwo,
}

/// What has changed since the base of users was made.
#[derive(Clone, Copy)]
enum Change {
    /// All users have changed.
    All,
    EveryOther,
    /// All users are removed, and are refused as unknown names are.
    Removal,
}

/// Users, and for each length a pair of a known and an unknown name, otherwise random. They are few, so that all
/// records stay in the nearest cache: else known names would take longer, which have a record each, while some unknown
/// names share one.
struct Population {
    users: Users,
    names: Vec<[String; 2]>,
}

impl Population {
    fn new(
        random: &mut SmallRng,
        name_lens: RangeInclusive<usize>,
        passwords: Passwords,
        password_len: impl Fn(&mut SmallRng, usize) -> usize,
    ) -> Self {
        let mut name = |len| (0..len).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
        let mut names: Vec<[String; 2]> = name_lens.map(|len| [name(len), name(len)]).collect();
        names.shuffle(random);
        let entries = names.iter().enumerate().map(|(number, [known, other])| {
            let len = password_len(random, known.len());
            let [password, old] = ["p", "q"].map(|letter| letter.repeat(len));
            let with_one = |name| format!("{name} = \"{password}\"\n");
            let with_two = |name| {
                format!("{name} = {{ password = \"{password}\", old_password = \"{old}\", old_until = 2099-12-31 }}\n")
            };
            match passwords {
                Passwords::OneOrTwo => with_one(known) + &with_two(other),
                Passwords::TwoForEveryOther if number % 2 == 0 => with_two(known),
                Passwords::One | Passwords::TwoForEveryOther => with_one(known),
            }
        });
        let text: String = iter::once("[users]\n".to_owned()).chain(entries).collect();
        Self { users: parse(&text).expect("users"), names }
    }

    /// The same names, in a base and an overlay.
    fn since(self, change: Change) -> Self {
        let mut overlay = Builder::for_text(10_000).expect("memory");
        let password = Password::new("another!").expect("a password");
        for (number, [known, _]) in self.names.iter().enumerate() {
            let name = known.parse().expect("a name");
            let pushed = match change {
                Change::EveryOther if number % 2 == 1 => Ok(()),
                Change::All | Change::EveryOther => overlay.push(&name, &password, Conditions::none()),
                Change::Removal => overlay.push_removed(&name),
            };
            pushed.expect("room");
        }
        Self { users: overlay.finish_over(&self.users).expect("users"), ..self }
    }

    /// The same, but nobody may log in.
    fn suspended(self) -> Self {
        let suspension = Suspension::default();
        suspension.set(true);
        Self { users: self.users.with_suspension(suspension), ..self }
    }

    /// Times refusals of known and of unknown names, in nanoseconds.
    fn times(&self, limits: Policy, random: &mut SmallRng) -> [Vec<f64>; 2] {
        let Ok(keys) = Keys::draw(|key| random.try_fill_bytes(key));
        let mut server =
            Server::new(&keys, Seed([1; 32]), Arc::new(Penalties::new(&keys.sources, limits)), None);
        let (mut now, mut reply) = (NOW, Vec::with_capacity(REPLY_MAX));
        let mut time = |name: &str, random: &mut SmallRng| {
            now.uptime += PAUSE;
            time_of_refusal(&mut server, &self.users, now, name, random, &mut reply)
        };
        // The first answer for a name fetches its record.
        for name in self.names.as_flattened() {
            time(name, random);
        }
        let mut times = [Vec::with_capacity(EACH), Vec::with_capacity(EACH)];
        while times.iter().any(|times| times.len() < EACH) {
            let which = random.random_range(0..times.len());
            let name = &self.names[random.random_range(0..self.names.len())][which];
            times[which].push(time(name, random));
        }
        times
    }
}

/// Lets a name log in with a random digest, and times the answer, in nanoseconds.
fn time_of_refusal(
    server: &mut Server,
    users: &Users,
    now: Now,
    name: &str,
    random: &mut SmallRng,
    reply: &mut Vec<u8>,
) -> f64 {
    let peer = SocketAddr::from(([192, 0, 2, 1], 5000)).into();
    reply.clear();
    server.datagram(users, now, peer, b"Authentication Request", reply);
    let challenge = str::from_utf8(reply).expect("a challenge");
    let digest: [u64; 2] = random.random();
    let answer = format!("{name}:{:016x}{:016x}:{challenge}", digest[0], digest[1]);
    reply.clear();
    let started = Instant::now();
    black_box(server.datagram(users, now, peer, black_box(answer.as_bytes()), reply));
    started.elapsed().as_nanos() as f64
}

/// Measures the difference between the times of refusals of known and of unknown names.
fn measure(
    what: &str,
    random: &mut SmallRng,
    population: impl Fn(&mut SmallRng) -> Population,
    limits: fn() -> Policy,
) -> Times {
    let rounds: Vec<[f64; 2]> = (0..ROUNDS)
        .map(|_| population(random).times(limits(), random).map(|times| mean(&cropped(times))))
        .collect();
    let [known, unknown] =
        [0, 1].map(|which| mean(&rounds.iter().map(|round| round[which]).collect::<Vec<_>>()));
    let differences: Vec<f64> = rounds.iter().map(|[known, unknown]| known - unknown).collect();
    let difference_ns = mean(&differences);
    let t = difference_ns / standard_error(&differences);
    let verdict = if t.abs() < CRITICAL { "no difference" } else { "a difference" };
    println!(
        "{what}: a wrong password {known:.2} ns, an unknown user {unknown:.2} ns, t = {t:.2}: {verdict} at p < 0.001"
    );
    Times { difference_ns, t }
}
