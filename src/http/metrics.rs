//! `/metrics`: the same numbers for Prometheus, in OpenMetrics or in the text format that came before it.

use std::fmt::{self, Debug};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::daemon::Reasons;
use crate::tally::{BATCH_BOUNDS, Counter, Histogram, LOGIN_BOUNDS_US, Outcome, Tally};
use crate::watch::{LastReload, Reloaded, Watched};

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
        let labels = [("server", watched.transport.server()), ("version", env!("CARGO_PKG_VERSION"))];
        let build = ConstGauge::new(1_u64);
        let kind = MetricType::Gauge;
        let mut encoder =
            self.0.encode_descriptor("letmein_build_info", "What is running, always 1", None, kind)?;
        build.encode(encoder.encode_family(&labels)?)?;
        self.seconds(
            "process_start_time",
            "When the server was started, in seconds since 1970",
            watched.started_unix_s as f64,
        )?;
        self.gauge("letmein_workers", "Threads that serve", watched.tallies.len() as u64)?;
        self.gauge("letmein_users", "Users that there are", watched.users.load().len() as u64)?;
        self.gauge("letmein_stopping", "1 while the server ends, else 0", watched.is_stopping().into())
    }

    fn outcomes(&mut self, watched: &Watched) -> fmt::Result {
        let of = |outcome| watched.outcome(outcome);
        let reasons = [
            ("unknown_user", of(Outcome::UnknownUser)),
            ("wrong_password", of(Outcome::WrongPassword)),
            ("disabled", of(Outcome::Disabled)),
            ("expired", of(Outcome::Expired)),
            ("not_from_here", of(Outcome::NotFromHere)),
        ];
        let refused = [("refused", watched.verdicts().refused)];
        let refusals: &[(&str, u64)] = match watched.reasons {
            Reasons::Kept => &refused,
            Reasons::Told => &reasons,
        };
        self.counters(
            "letmein_challenges",
            "Challenges sent, for requests and for answers to old challenges",
            "cause",
            &[("request", of(Outcome::Challenged)), ("old_answer", of(Outcome::Rechallenged))],
        )?;
        self.counters(
            "letmein_logins",
            "Verdicts by what they were",
            "result",
            &[&[("welcome", of(Outcome::Welcomed))], refusals].concat(),
        )?;
        self.counter(
            "letmein_welcomes_repeated",
            "Welcomes said again to an answer that was doubled or resent",
            of(Outcome::WelcomedAgain),
        )?;
        self.counters(
            "letmein_messages_silenced",
            "Messages not looked at, for a penalty of their source or user",
            "penalty",
            &[("source", of(Outcome::SourceSilenced)), ("user", of(Outcome::UserSilenced))],
        )?;
        self.counter("letmein_messages_malformed", "Messages that were none", of(Outcome::Malformed))
    }

    fn failures(&mut self, watched: &Watched) -> fmt::Result {
        self.gauges(
            "letmein_silenced",
            "Sources and names in the tables of failures that get silence now",
            "table",
            &watched.silent(),
        )?;
        let fills = watched.fills();
        let used: Vec<_> = fills.iter().map(|(name, fill)| (*name, fill.used)).collect();
        let places: Vec<_> = fills.iter().map(|(name, fill)| (*name, fill.places)).collect();
        self.gauges("letmein_failures_remembered", "Places taken in the tables of failures", "table", &used)?;
        self.gauges("letmein_failures_places", "Places in the tables of failures", "table", &places)
    }

    fn reloads(&mut self, watched: &Watched) -> fmt::Result {
        let Reloaded { successes, failures, last } = watched.reloads.so_far();
        self.counters(
            "letmein_reloads",
            "Times that the users file was read again",
            "result",
            &[("ok", successes), ("failed", failures)],
        )?;
        if let Some(LastReload { at, is_ok }) = last {
            self.seconds(
                "letmein_last_reload_time",
                "When the last reload was, in seconds since 1970",
                at.unix_s as f64,
            )?;
            self.gauge("letmein_last_reload_successful", "1 if the last reload did, else 0", is_ok.into())?;
        }
        Ok(())
    }

    fn audit(&mut self, watched: &Watched) -> fmt::Result {
        let Some(losses) = &watched.losses else { return Ok(()) };
        let (lost, left_out) = losses.totals();
        let dropped = [("lost", lost), ("limit", left_out)];
        // Refusals of a right password have a limit of their own.
        let shown = match watched.reasons {
            Reasons::Kept => dropped.get(..1).unwrap_or_default(),
            Reasons::Told => &dropped,
        };
        self.counters(
            "letmein_audit_lines_dropped",
            "Audit lines not written: the queue was full or the file could not be written (lost), or there were too many in a second (limit)",
            "reason",
            shown,
        )
    }

    fn transport(&mut self, watched: &Watched) -> fmt::Result {
        let Some((open, max)) = watched.connections() else {
            self.counter(
                "letmein_replies_unsent",
                "Replies that the system would not send",
                watched.sum(|tally| tally.unsent.get()),
            )?;
            let batches = watched.histogram(|tally| &tally.batches, &BATCH_BOUNDS);
            return self.histogram(
                "letmein_batch_datagrams",
                "Datagrams received at a time",
                None,
                batches,
                1.0,
            );
        };
        self.gauge("letmein_connections_open", "TCP connections that are open", open as u64)?;
        self.gauge("letmein_connections_max", "TCP connections that may be open", max as u64)?;
        self.counters(
            "letmein_connections",
            "TCP connections that came, by what became of them at first",
            "result",
            &[
                ("accepted", watched.sum(|tally| tally.accepted.get())),
                ("turned_away", watched.sum(|tally| tally.turned_away.get())),
            ],
        )?;
        self.counter(
            "letmein_connections_lost",
            "TCP connections that were accepted and came to an untimely end",
            watched.sum(|tally| tally.lost.get()),
        )?;
        let logins = watched.histogram(|tally| &tally.logins_us, &LOGIN_BOUNDS_US);
        let help = "From the beginning of a TCP connection to its verdict";
        self.histogram("letmein_login_duration", help, Some(&Unit::Seconds), logins, 1e6)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            ConstCounter::new(*value).encode(encoder.encode_family(&[(label, *of)])?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            ConstGauge::new(*value).encode(encoder.encode_family(&[(label, *of)])?)?;
        }
        Ok(())
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
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
