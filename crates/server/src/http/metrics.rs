//! `/metrics`: the same numbers for Prometheus, in OpenMetrics or in the text format that came before it.

use std::fmt::{self, Debug};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::tally::{BATCH_BOUNDS, Counter, Histogram, LOGIN_BOUNDS_US, Outcome, Tally};
use crate::watch::{LastReload, Reloaded, Watched};
use proto::transport::Transport;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a list of accepted types has OpenMetrics, and does not exclude it.
pub(crate) fn names_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|entry| {
        let mut parts = entry.split(';').map(|part| part.trim().to_ascii_lowercase());
        parts.next().as_deref() == Some("application/openmetrics-text")
            && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

/// The type and the text of the page.
pub(crate) fn page(watched: &Arc<Watched>, is_openmetrics: bool) -> (&'static str, String) {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Numbers(watched.clone())));
    let mut page = String::new();
    // A string has room for all.
    let _ = text::encode(&mut page, &registry);
    if is_openmetrics { (OPENMETRICS, page) } else { (PLAIN, plain(&page)) }
}

/// OpenMetrics names a counter in its descriptions without `_total`, the older format with it; that has neither units
/// nor an end.
fn plain(page: &str) -> String {
    let mut counters = Vec::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            counters.push(name);
        }
    }
    let mut text = String::with_capacity(page.len());
    for line in page.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match described.and_then(|rest| rest.split_once(' ')) {
            Some((name, rest)) if counters.contains(&name) => {
                let kind = line.get(..7).unwrap_or_default();
                text.extend([kind, name, "_total ", rest, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

struct Numbers(Arc<Watched>);

impl Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}

impl Collector for Numbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (watched, mut page) = (&*self.0, Page(encoder));
        page.process(watched)?;
        page.outcomes(watched)?;
        page.failures(watched)?;
        page.reloads(watched)?;
        page.transport(watched)?;
        page.audit(watched)
    }
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn process(&mut self, watched: &Watched) -> fmt::Result {
        let labels = [("server", watched.server), ("version", env!("CARGO_PKG_VERSION"))];
        let build = ConstGauge::new(1_u64);
        let kind = MetricType::Gauge;
        let mut encoder =
            self.0.encode_descriptor("letmein_build_info", "What is running, always 1", None, kind)?;
        build.encode(encoder.encode_family(&labels)?)?;
        self.seconds(
            "process_start_time",
            "When the server was started, in seconds since 1970",
            watched.started_unix_s,
        )?;
        self.one("letmein_workers", "Threads that serve", ConstGauge::new(watched.tallies.len() as u64))?;
        self.one(
            "letmein_users",
            "Users that there are",
            ConstGauge::new(watched.users.load().len() as u64),
        )?;
        self.one(
            "letmein_stopping",
            "1 while the server ends, else 0",
            ConstGauge::new(u64::from(watched.is_stopping())),
        )
    }

    fn outcomes(&mut self, watched: &Watched) -> fmt::Result {
        let of = |outcome| watched.outcome(outcome);
        let mut logins = vec![("welcome", of(Outcome::Welcomed))];
        match watched.refusals() {
            Some(refusals) => logins.extend(refusals),
            None => logins.push(("refused", watched.verdicts().refused)),
        }
        self.by(
            "letmein_challenges",
            "Challenges sent, for requests and for answers to old challenges",
            "cause",
            ConstCounter::new,
            &[("request", of(Outcome::Challenged)), ("old_answer", of(Outcome::Rechallenged))],
        )?;
        self.by("letmein_logins", "Verdicts by what they were", "result", ConstCounter::new, &logins)?;
        self.one(
            "letmein_welcomes_repeated",
            "Welcomes said again to an answer that was doubled or resent",
            ConstCounter::new(of(Outcome::WelcomedAgain)),
        )?;
        self.by(
            "letmein_messages_silenced",
            "Messages not looked at, for a penalty of their source or user",
            "penalty",
            ConstCounter::new,
            &[("source", of(Outcome::SourceSilenced)), ("user", of(Outcome::UserSilenced))],
        )?;
        self.one(
            "letmein_messages_malformed",
            "Messages that were none",
            ConstCounter::new(of(Outcome::Malformed)),
        )
    }

    fn failures(&mut self, watched: &Watched) -> fmt::Result {
        let blocks = watched.blocks();
        let counts: Vec<_> = blocks.iter().map(|(name, blocked)| (*name, blocked.count)).collect();
        let longest: Vec<_> =
            blocks.iter().map(|(name, blocked)| (*name, blocked.longest.as_secs())).collect();
        self.by(
            "letmein_silenced",
            "Sources and names in the tables of failures that are blocked now",
            "table",
            ConstGauge::new,
            &counts,
        )?;
        self.by(
            "letmein_longest_block_age_seconds",
            "For how long the first of those that are blocked now has been; 0 without any",
            "table",
            ConstGauge::new,
            &longest,
        )?;
        let fills = watched.fills();
        let used: Vec<_> = fills.iter().map(|(name, fill)| (*name, fill.used)).collect();
        let places: Vec<_> = fills.iter().map(|(name, fill)| (*name, fill.places)).collect();
        self.by(
            "letmein_failures_remembered",
            "Places taken in the tables of failures",
            "table",
            ConstGauge::new,
            &used,
        )?;
        self.by(
            "letmein_failures_places",
            "Places in the tables of failures",
            "table",
            ConstGauge::new,
            &places,
        )
    }

    fn reloads(&mut self, watched: &Watched) -> fmt::Result {
        let Reloaded { successes, failures, last } = watched.reloads.so_far();
        self.by(
            "letmein_reloads",
            "Times that the users file was read again",
            "result",
            ConstCounter::new,
            &[("ok", successes), ("failed", failures)],
        )?;
        if let Some(LastReload { at, is_ok }) = last {
            self.seconds(
                "letmein_last_reload_time",
                "When the last reload was, in seconds since 1970",
                at.unix_s,
            )?;
            self.one(
                "letmein_last_reload_successful",
                "1 if the last reload did, else 0",
                ConstGauge::new(u64::from(is_ok)),
            )?;
        }
        Ok(())
    }

    fn audit(&mut self, watched: &Watched) -> fmt::Result {
        let Some(dropped) = watched.dropped_lines() else { return Ok(()) };
        self.by(
            "letmein_audit_lines_dropped",
            "Audit lines not written: the queue was full or the file could not be written (lost), \
             or there were too many (limit)",
            "reason",
            ConstCounter::new,
            &dropped,
        )
    }

    fn transport(&mut self, watched: &Watched) -> fmt::Result {
        if watched.serves(Transport::Udp) {
            self.one(
                "letmein_replies_unsent",
                "Replies that the system would not send",
                ConstCounter::new(watched.sum(|tally| tally.unsent.get())),
            )?;
            let batches = watched.histogram(|tally| &tally.batches, &BATCH_BOUNDS);
            self.histogram("letmein_batch_datagrams", "Datagrams received at a time", None, batches, 1.0)?;
        }
        let Some((open, max)) = watched.connections() else { return Ok(()) };
        self.one("letmein_connections_open", "TCP connections that are open", ConstGauge::new(open as u64))?;
        self.one("letmein_connections_max", "TCP connections that may be open", ConstGauge::new(max as u64))?;
        self.by(
            "letmein_connections",
            "TCP connections that came, by what became of them at first",
            "result",
            ConstCounter::new,
            &[
                ("accepted", watched.sum(|tally| tally.accepted.get())),
                ("turned_away", watched.sum(|tally| tally.turned_away.get())),
            ],
        )?;
        self.one(
            "letmein_connections_lost",
            "TCP connections that were accepted and came to an untimely end",
            ConstCounter::new(watched.sum(|tally| tally.lost.get())),
        )?;
        let logins = watched.histogram(|tally| &tally.logins_us, &LOGIN_BOUNDS_US);
        let help = "From the beginning of a TCP connection to its verdict";
        self.histogram("letmein_login_duration", help, Some(&Unit::Seconds), logins, 1e6)
    }

    fn one(&mut self, name: &str, help: &str, metric: impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    /// A metric for each value of a label.
    fn by<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        metric: impl Fn(u64) -> M,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, metric(0).metric_type())?;
        for (of, value) in values {
            metric(*value).encode(encoder.encode_family(&[(label, *of)])?)?;
        }
        Ok(())
    }

    fn seconds(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?)
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        Summed { sum, buckets }: Summed,
        per_unit: f64,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        let count = buckets.iter().map(|(_, count)| count).sum();
        let buckets: Vec<_> = buckets
            .iter()
            .map(|(bound, count)| (bound.map_or(f64::MAX, |bound| bound as f64 / per_unit), *count))
            .collect();
        encoder.encode_histogram::<NoLabelSet>(sum as f64 / per_unit, count, &buckets, None)
    }
}

/// A histogram of all workers; the last place has no bound.
struct Summed {
    sum: u64,
    buckets: Vec<(Option<u64>, u64)>,
}

impl Watched {
    fn histogram<const BOUNDS: usize>(
        &self,
        of: impl Fn(&Tally) -> &Histogram<BOUNDS>,
        bounds: &[u64; BOUNDS],
    ) -> Summed {
        let mut buckets: Vec<_> = bounds.iter().map(|bound| (Some(*bound), 0)).chain([(None, 0)]).collect();
        for tally in &self.tallies {
            let histogram = of(tally);
            let counts = histogram.counts.iter().chain([&histogram.beyond]).map(Counter::get);
            for ((_, total), count) in buckets.iter_mut().zip(counts) {
                *total += count;
            }
        }
        Summed { sum: self.sum(|tally| of(tally).sum.get()), buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        for accept in [
            "application/openmetrics-text; version=1.0.0",
            "text/plain;q=0.5, application/OpenMetrics-text;q=0.7",
        ] {
            assert!(names_openmetrics(accept), "{accept}");
        }
        for accept in ["", "*/*", "text/plain", "application/openmetrics-text;q=0"] {
            assert!(!names_openmetrics(accept), "{accept}");
        }
    }

    #[test]
    fn the_older_format_has_counters_with_their_whole_name_and_no_end() {
        let page = "# HELP a_b Some.\n# TYPE a_b counter\na_b_total 3\n# UNIT c_seconds seconds\n# TYPE c_seconds gauge\nc_seconds 1\n# EOF\n";
        let expected = "# HELP a_b_total Some.\n# TYPE a_b_total counter\na_b_total 3\n# TYPE c_seconds gauge\nc_seconds 1\n";
        assert_eq!(plain(page), expected);
    }
}
