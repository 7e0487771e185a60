//! The floor of logins by OPAQUE: KE2 by itself. It is the largest part of what a login costs a server, and no server
//! can do without it.

use std::hint::black_box;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{gettid, sched_setaffinity};

use super::Plan;
use super::opaque::{OpaqueUser, generator};
use super::process::Process;
use proto::opaque::Binding;
use proto::opaque::exchange::{ServerExchange, UserPart};
use proto::opaque::key::ServerKey;
use proto::opaque::record::RECORD_LEN;
use proto::opaque::registration::register;
use proto::opaque::stretching::Stretching;
use proto::opaque::wire::KE1_LEN;

/// What KE2 costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ke2Figures {
    /// How many were computed.
    pub(crate) computed: u64,
    /// The processor time of all of them.
    pub(crate) cpu: Duration,
}

/// Far longer than it takes for the mean to settle.
const LONGEST: Duration = Duration::from_secs(2);
/// Different KE1, by turns.
const KE1S: usize = 64;

/// Computes KE2 one after the other, on a processor that the server of `plan` may use, for as long as logins are begun,
/// or 2 s. `None` for logins by MD5, which have none.
///
/// # Errors
/// The system's.
pub(crate) fn run_ke2(plan: &Plan) -> io::Result<Option<Ke2Figures>> {
    let Some(user) = plan.load.opaque_user() else { return Ok(None) };
    let processors = plan.process.as_ref().map(Process::processors).transpose()?;
    let (server, duration) = (Server::of(user)?, plan.duration.min(LONGEST));
    let computing = thread::spawn(move || {
        // A floor on other processors is a floor all the same.
        let _ = processors.map(|processors| sched_setaffinity(None, &processors));
        server.compute(duration)
    });
    computing.join().map_err(|_| io::Error::other("KE2 cannot be computed"))?.map(Some)
}

/// What a server has of a user who logs in, whose names and passwords are those of the load.
struct Server {
    name: String,
    key: ServerKey,
    record: [u8; RECORD_LEN],
    ke1s: Vec<[u8; KE1_LEN]>,
}

impl Server {
    fn of(user: &OpaqueUser) -> io::Result<Self> {
        let mut random = generator()?;
        let key = ServerKey::generate(&mut random);
        let record = register(&key, &user.name, &user.password, Stretching::NONE, &mut random);
        let record = *record.map_err(io::Error::other)?.bytes();
        let ke1s = (0..KE1S).map(|_| user.ke1(&mut random)).collect::<Result<_, _>>()?;
        Ok(Self { name: user.name.as_str().to_owned(), key, record, ke1s })
    }

    fn compute(&self, duration: Duration) -> io::Result<Ke2Figures> {
        let mut random = generator()?;
        let stretching = Stretching::NONE.to_bytes();
        let user = UserPart { name: &self.name, record: &self.record, stretching: &stretching };
        let thread = Process::thread(gettid());
        let (before, end, mut computed) = (thread.cpu(), Instant::now() + duration, 0);
        for ke1 in self.ke1s.iter().cycle() {
            let exchange = ServerExchange::new(&self.key, &user, ke1, &Binding::none(), &mut random);
            black_box(exchange.map_err(|_| io::Error::other("KE1 is none"))?);
            computed += 1;
            if Instant::now() >= end {
                break;
            }
        }
        let cpu = thread.cpu().zip(before).map(|(now, then)| now.saturating_sub(then));
        let cpu = cpu.ok_or_else(|| io::Error::other("proc(5) does not tell processor times"))?;
        Ok(Ke2Figures { computed, cpu })
    }
}

impl Ke2Figures {
    /// Microseconds of processor time for each.
    #[must_use]
    pub(crate) fn cpu_us(self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.computed.max(1) as f64
    }

    /// How many a processor computes in a second.
    #[must_use]
    pub(crate) fn rate(self) -> f64 {
        1e6 / self.cpu_us()
    }
}
