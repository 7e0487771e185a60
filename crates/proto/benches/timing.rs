//! Checks that the time of a refusal does not tell a known user from an unknown one: Welch's t-test, as in dudect.
//!
//! Answers with a wrong password and answers of unknown users come in random order, 200,000 of each. The slowest
//! hundredth is left out, since it is the machine's. Ends with status 1 if the means differ at p < 0.001.

#![expect(clippy::disallowed_methods, reason = "a stopwatch is a clock")]

use std::hint::black_box;
use std::iter;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use letmein_auth_proto::Now;
use letmein_auth_proto::credentials::NAME_MAX;
use letmein_auth_proto::server::penalty::{FailureBudget, Penalties, Policy};
use letmein_auth_proto::server::{Keys, Server};
use letmein_auth_proto::users::Users;
use letmein_auth_proto::wire::REPLY_MAX;
use letmein_auth_users::parse;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

const EACH: usize = 200_000;
/// |t| beyond which p < 0.001 for this many samples.
const CRITICAL: f64 = 3.291;
const NOW: Now = Now { uptime: Duration::from_secs(100), unix_s: 1_767_225_600 };
/// The time from one answer to the next, by the clock of the server.
const PAUSE: Duration = Duration::from_millis(10);
/// Known names of each length, and as many unknown ones. With more, not all records would stay in the nearest cache,
/// and known names would take longer: they have a record each, while some unknown names share one.
const NAMES_OF_A_LEN: usize = 4;
/// The longest name and password together that take one block of MD5.
const ONE_BLOCK: usize = 39;

fn main() -> ExitCode {
    let mut random = SmallRng::seed_from_u64(1);
    // Shorter names would not all differ.
    let alike = Population::new(&mut random, 8..=NAME_MAX, Passwords::One, |_, _| 8);
    let changing = Population::new(&mut random, 8..=NAME_MAX, Passwords::TwoForEveryOther, |_, _| 8);
    let in_one_block = Population::new(&mut random, 8..=31, Passwords::One, |random, name_len| {
        random.random_range(1..=ONE_BLOCK - name_len)
    });
    let alike = [
        (&alike, "passwords of one length", Policy::none()),
        (&alike, "the same, failures counted", counted()),
        (&changing, "every other user has two passwords", Policy::none()),
    ]
    .map(|(population, what, limits)| population.measure(what, limits, &mut random));
    // The longer the names, the shorter the passwords: here a name is known by its length, if by anything.
    let Times { difference_ns, t: _ } =
        in_one_block.measure("all in one block of MD5", Policy::none(), &mut random);
    let differs = alike.iter().any(|times| times.t.abs() >= CRITICAL) || difference_ns.abs() >= FAINT_NS;
    if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Budgets that are never used up here, so that each failure is counted.
fn counted() -> Policy {
    let budget = |failures| Some(FailureBudget { failures, window: Duration::from_secs(1) });
    Policy { of_source: budget(255), of_user: budget(16), trusted: Vec::new() }
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
}

/// Users, and pairs of a known and an unknown name of the same length, otherwise random.
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
        let lens = name_lens.flat_map(|len| iter::repeat_n(len, NAMES_OF_A_LEN));
        let mut names: Vec<[String; 2]> = lens.map(|len| [name(len), name(len)]).collect();
        names.shuffle(random);
        let entries = names.iter().enumerate().map(|(number, [known, _])| {
            let len = password_len(random, known.len());
            let [password, old] = ["p", "q"].map(|letter| letter.repeat(len));
            match passwords {
                Passwords::TwoForEveryOther if number % 2 == 0 => format!(
                    "{known} = {{ password = \"{password}\", old_password = \"{old}\", old_until = 2099-12-31 }}\n"
                ),
                Passwords::One | Passwords::TwoForEveryOther => format!("{known} = \"{password}\"\n"),
            }
        });
        let text: String = iter::once("[users]\n".to_owned()).chain(entries).collect();
        Self { users: parse(&text).expect("users"), names }
    }

    /// Measures the difference between the times of refusals of known and of unknown names.
    fn measure(&self, what: &str, limits: Policy, random: &mut SmallRng) -> Times {
        let keys = Keys { challenges: [1; 16], welcomes: [2; 16], sources: [3; 16], names: [5; 16] };
        let mut server = Server::new(&keys, Arc::new(Penalties::new(&keys.sources, limits)));
        let peer: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
        let (mut now, mut reply) = (NOW, Vec::with_capacity(REPLY_MAX));
        let mut times = [Vec::with_capacity(EACH), Vec::with_capacity(EACH)];
        while times.iter().any(|times| times.len() < EACH) {
            let which = random.random_range(0..times.len());
            let name = &self.names[random.random_range(0..self.names.len())][which];
            now.uptime += PAUSE;
            reply.clear();
            server.datagram(&self.users, now, peer.into(), b"Authentication Request", &mut reply);
            let challenge = str::from_utf8(&reply).expect("a challenge");
            let digest: [u64; 2] = random.random();
            let answer = format!("{name}:{:016x}{:016x}:{challenge}", digest[0], digest[1]);
            reply.clear();
            let started = Instant::now();
            black_box(server.datagram(
                &self.users,
                now,
                peer.into(),
                black_box(answer.as_bytes()),
                &mut reply,
            ));
            times[which].push(started.elapsed().as_nanos() as f64);
        }
        let [known, unknown] = times.map(|times| moments(&cropped(times)));
        let t = (known.mean - unknown.mean) / (known.variance_of_mean + unknown.variance_of_mean).sqrt();
        let verdict = if t.abs() < CRITICAL { "no difference" } else { "a difference" };
        println!(
            "{what}: a wrong password {:.2} ns, an unknown user {:.2} ns, t = {t:.2}: {verdict} at p < 0.001",
            known.mean, unknown.mean
        );
        Times { difference_ns: known.mean - unknown.mean, t }
    }
}

fn cropped(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times.truncate(times.len() - times.len() / 100);
    times
}

struct Moments {
    mean: f64,
    variance_of_mean: f64,
}

fn moments(times: &[f64]) -> Moments {
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Moments { mean, variance_of_mean: variance / count }
}
