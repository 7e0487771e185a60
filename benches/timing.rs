//! Whether the time of a refusal tells a known user from an unknown one: Welch's t-test, as dudect does it.
//!
//! Answers with a wrong password and answers of unknown users come in random order, 200,000 of each. The slowest
//! hundredth is left out, since it is the machine's. Ends with status 1 if the means differ at p < 0.001.

#![expect(clippy::disallowed_methods, reason = "a stopwatch is a clock")]

use std::hint::black_box;
use std::iter;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use letmein::auth::Now;
use letmein::auth::penalty::{Limits, Penalties};
use letmein::auth::server::{Keys, Server};
use letmein::users::{NAME_MAX, parse};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

const EACH: usize = 200_000;
/// |t| beyond which p < 0.001, for so many.
const CRITICAL: f64 = 3.291;
const NOW: Now = Now { uptime: Duration::from_secs(100), unix_s: 1_767_225_600 };
/// Shorter ones would not all differ.
const NAME_LEN_MIN: usize = 8;
/// Names of each length that somebody has, and as many that nobody has.
const NAMES_OF_A_LEN: usize = 16;

fn main() -> ExitCode {
    let mut random = SmallRng::seed_from_u64(1);
    let names = names(&mut random);
    let entries = names.iter().map(|[known, _]| format!("{known} = \"password\"\n"));
    let users = parse(&iter::once("[users]\n".to_owned()).chain(entries).collect::<String>()).expect("users");
    let keys = Keys { challenges: [1; 16], welcomes: [2; 16], sources: [3; 16], names: [5; 16] };
    let mut server = Server::new(&keys, Arc::new(Penalties::new(&keys.sources, Limits::none())));
    let peer: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
    let challenge = server.datagram(&users, NOW, peer, b"Authentication Request").reply.expect("a challenge");
    let challenge = str::from_utf8(challenge.as_ref()).expect("digits").to_owned();

    let mut times = [Vec::with_capacity(EACH), Vec::with_capacity(EACH)];
    while times.iter().any(|times| times.len() < EACH) {
        let which = random.random_range(0..times.len());
        let name = &names[random.random_range(0..names.len())][which];
        let digest: [u64; 2] = random.random();
        let answer = format!("{name}:{:016x}{:016x}:{challenge}", digest[0], digest[1]);
        let started = Instant::now();
        black_box(server.datagram(&users, NOW, peer, black_box(answer.as_bytes())));
        times[which].push(started.elapsed().as_nanos() as f64);
    }
    let [known, unknown] = times.map(|times| moments(&cropped(times)));
    let t = (known.mean - unknown.mean) / (known.variance_of_mean + unknown.variance_of_mean).sqrt();
    println!("a wrong password: {:.2} ns, an unknown user: {:.2} ns, t = {t:.2}", known.mean, unknown.mean);
    if t.abs() < CRITICAL {
        println!("no difference at p < 0.001");
        ExitCode::SUCCESS
    } else {
        println!("a difference at p < 0.001");
        ExitCode::FAILURE
    }
}

/// Pairs of a known and an unknown name, of the same length and otherwise random.
fn names(random: &mut SmallRng) -> Vec<[String; 2]> {
    let mut name = |len| (0..len).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
    let lens = (NAME_LEN_MIN..=NAME_MAX).flat_map(|len| iter::repeat_n(len, NAMES_OF_A_LEN));
    let mut names: Vec<_> = lens.map(|len| [name(len), name(len)]).collect();
    names.shuffle(random);
    names
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
