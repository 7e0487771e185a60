//! What came of the logins.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The slowest login that the histogram tells from a slower one, in nanoseconds.
const SLOWEST_NS: u64 = 60_000_000_000;

/// What came of the logins, and what they cost.
#[derive(Clone, Debug)]
pub struct Figures {
    /// From when each login was to begin to its verdict, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// Verdicts in each second.
    pub per_second: Vec<u64>,
    /// From the first login to the last verdict.
    pub elapsed: Duration,
    /// Messages that were sent again.
    pub resends: u64,
    /// Logins without a verdict.
    pub lost: u64,
    /// Verdicts that were not the right ones.
    pub wrong: u64,
    /// The server's processor time, if it was measured.
    pub cpu: Option<Duration>,
    /// The server's resident memory in the end, in bytes, if it was measured.
    pub resident_bytes: Option<u64>,
}

impl Figures {
    fn new() -> Self {
        // These bounds are those of every histogram here, and good.
        let latency_ns =
            Histogram::new_with_max(SLOWEST_NS, 3).unwrap_or_else(|_| Histogram::new(3).expect("3 digits"));
        Self {
            latency_ns,
            per_second: Vec::new(),
            elapsed: Duration::ZERO,
            resends: 0,
            lost: 0,
            wrong: 0,
            cpu: None,
            resident_bytes: None,
        }
    }

    /// Logins that came to a verdict.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.latency_ns.len()
    }

    /// Verdicts a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.logins() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The server's processor time for a login, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> Option<f64> {
        let logins = self.logins().max(1) as f64;
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / logins)
    }

    /// The latency that `percent` of the logins do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.latency_ns.value_at_quantile(percent / 100.0))
    }

    /// Verdicts in each second that was measured whole.
    #[must_use]
    pub fn whole_seconds(&self) -> &[u64] {
        self.per_second.get(..self.elapsed.as_secs() as usize).unwrap_or(&self.per_second)
    }

    pub(super) fn cost(&mut self, cpu: Duration, resident_bytes: u64) {
        (self.cpu, self.resident_bytes) = (Some(cpu), Some(resident_bytes));
    }
}

/// Counts while logins go on.
pub(super) struct Meter<'a> {
    figures: Figures,
    started: Instant,
    last_verdict: Instant,
    watch: &'a mut dyn FnMut(&Figures),
}

impl<'a> Meter<'a> {
    pub(super) fn start(watch: &'a mut dyn FnMut(&Figures)) -> Self {
        let started = Instant::now();
        Self { figures: Figures::new(), started, last_verdict: started, watch }
    }

    pub(super) fn verdict(&mut self, now: Instant, age: Duration, is_right: bool) {
        self.figures.latency_ns.saturating_record(age.as_nanos() as u64);
        self.figures.wrong += u64::from(!is_right);
        self.last_verdict = now;
        let second = now.saturating_duration_since(self.started).as_secs() as usize;
        while self.figures.per_second.len() <= second {
            if !self.figures.per_second.is_empty() {
                self.figures.elapsed = now - self.started;
                (self.watch)(&self.figures);
            }
            self.figures.per_second.push(0);
        }
        if let Some(count) = self.figures.per_second.last_mut() {
            *count += 1;
        }
    }

    pub(super) fn resent(&mut self, messages: u64) {
        self.figures.resends += messages;
    }

    pub(super) fn lost(&mut self) {
        self.figures.lost += 1;
    }

    pub(super) fn finish(mut self) -> Figures {
        self.figures.elapsed = self.last_verdict - self.started;
        self.figures
    }
}
