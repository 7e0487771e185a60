//! Verdicts, latencies and failures, counted while logins go on.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The measurements of a run.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// From when each login was to begin to its verdict, in nanoseconds.
    pub(crate) latency_ns: Histogram<u64>,
    /// Verdicts in each second for which logins were begun, and in those after it.
    pub(crate) per_second: Vec<u64>,
    /// For how long logins were begun.
    pub(crate) duration: Duration,
    /// Verdicts in that time.
    pub(crate) in_time: u64,
    /// Messages that were sent again.
    pub(crate) resends: u64,
    /// Logins without a verdict.
    pub(crate) lost: u64,
    /// Verdicts that were wrong.
    pub(crate) wrong: u64,
    /// The last error that kept a login from its verdict.
    pub(crate) last_error: Option<String>,
    /// Whether something arrived that is no whole message of the protocol.
    pub(crate) has_heard_other: bool,
    /// How much of a processor the generator took: near 1, it was the bottleneck.
    pub(crate) generator_load: Option<f64>,
    /// The processor time of what the clients of OPAQUE compute themselves.
    pub(crate) clients_cpu: Option<Duration>,
    /// Whether clients of OPAQUE have had to stretch passwords.
    pub(crate) clients_stretch: bool,
    /// The server's processor time, if it was measured.
    pub(crate) cpu: Option<Duration>,
    /// The server's resident memory in the end, in bytes, if it was measured.
    pub(crate) resident_bytes: Option<u64>,
}

impl Figures {
    fn new(duration: Duration) -> Option<Self> {
        Some(Self {
            latency_ns: Histogram::new(3).ok()?,
            per_second: vec![0],
            duration,
            in_time: 0,
            resends: 0,
            lost: 0,
            wrong: 0,
            last_error: None,
            has_heard_other: false,
            generator_load: None,
            clients_cpu: None,
            clients_stretch: false,
            cpu: None,
            resident_bytes: None,
        })
    }

    /// Logins that came to a verdict.
    #[must_use]
    pub(crate) fn logins(&self) -> u64 {
        self.latency_ns.len()
    }

    /// Verdicts a second, while logins were begun.
    #[must_use]
    pub(crate) fn rate(&self) -> f64 {
        self.in_time as f64 / self.duration.as_secs_f64()
    }

    /// The server's processor time for a login, in microseconds.
    #[must_use]
    pub(crate) fn cpu_us(&self) -> Option<f64> {
        self.us_per_login(self.cpu)
    }

    /// The processor time of what a client of OPAQUE computes for a login, in microseconds.
    #[must_use]
    pub(crate) fn client_cpu_us(&self) -> Option<f64> {
        self.us_per_login(self.clients_cpu)
    }

    fn us_per_login(&self, time: Option<Duration>) -> Option<f64> {
        let logins = self.logins().max(1) as f64;
        time.map(|time| time.as_secs_f64() * 1e6 / logins)
    }

    /// The latency that `percent` of the logins do not exceed.
    #[must_use]
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.latency_ns.value_at_quantile(percent / 100.0))
    }

    /// Verdicts in each whole second for which logins were begun.
    #[must_use]
    pub(crate) fn whole_seconds(&self) -> &[u64] {
        self.per_second.get(..self.duration.as_secs() as usize).unwrap_or(&self.per_second)
    }
}

/// Counts while logins go on.
pub(super) struct Meter<'a> {
    figures: Figures,
    started: Instant,
    watch: &'a mut dyn FnMut(&Figures),
}

impl<'a> Meter<'a> {
    pub(super) fn start(
        started: Instant,
        duration: Duration,
        watch: &'a mut dyn FnMut(&Figures),
    ) -> io::Result<Self> {
        let figures =
            Figures::new(duration).ok_or_else(|| io::Error::other("no histogram of three digits"))?;
        Ok(Self { figures, started, watch })
    }

    /// Begins new seconds as they come, even if nothing happens in them.
    pub(super) fn tick(&mut self, now: Instant) {
        let second = (now - self.started).as_secs() as usize;
        while self.figures.per_second.len() <= second {
            (self.watch)(&self.figures);
            self.figures.per_second.push(0);
        }
    }

    pub(super) fn verdict(&mut self, now: Instant, age: Duration, is_right: bool) {
        self.tick(now);
        // The histogram grows as needed, so there is no error.
        let _ = self.figures.latency_ns.record(age.as_nanos() as u64);
        self.figures.wrong += u64::from(!is_right);
        self.figures.in_time += u64::from(now < self.started + self.figures.duration);
        if let Some(count) = self.figures.per_second.last_mut() {
            *count += 1;
        }
    }

    pub(super) fn resent(&mut self, messages: u64) {
        self.figures.resends += messages;
    }

    pub(super) fn lost(&mut self, logins: u64) {
        self.figures.lost += logins;
    }

    /// A login has failed.
    pub(super) fn broken(&mut self, error: &io::Error) {
        self.figures.lost += 1;
        let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
        self.figures.last_error =
            Some(if is_refused { "nobody listens there".to_owned() } else { error.to_string() });
    }

    pub(super) fn heard_other(&mut self) {
        self.figures.has_heard_other = true;
    }

    pub(super) fn finish(self) -> Figures {
        self.figures
    }
}
