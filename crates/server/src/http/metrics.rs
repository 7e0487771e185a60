//! `/metrics`: the status for Prometheus, in OpenMetrics or in the text format that came before it.

use super::exposition::{Format, Page};
use crate::counters::{BATCH_BOUNDS, Counter, Counters, Histogram, LOGIN_BOUNDS_US, MessageOutcome};
use crate::directory::{LastReload, Reloaded};
use crate::status::Status;
use proto::transport::Transport;

/// Whether an Accept header lists OpenMetrics with a weight above zero.
pub(crate) fn names_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|entry| {
        let mut parts = entry.split(';').map(|part| part.trim().to_ascii_lowercase());
        parts.next().as_deref() == Some("application/openmetrics-text")
            && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

/// The page with all metrics of a server.
pub(crate) fn page(status: &Status, format: Format) -> String {
    let mut page = Page::new(format);
    process(&mut page, status);
    outcomes(&mut page, status);
    failures(&mut page, status);
    reloads(&mut page, status);
    age(&mut page, status);
    cluster(&mut page, status);
    datagrams(&mut page, status);
    connections(&mut page, status);
    audit(&mut page, status);
    page.finish()
}

fn process(page: &mut Page, status: &Status) {
    let labels = [("server", status.server), ("version", env!("CARGO_PKG_VERSION"))];
    page.info("letmein_build_info", "The program and its version; always 1", &labels);
    page.gauge(
        "process_start_time_seconds",
        "When the server started, in seconds since 1970",
        status.started_unix_s,
    );
    page.gauge("letmein_workers", "Threads that serve", status.counters.len() as u64);
    page.gauge("letmein_users", "Users in the users file", status.directory.users.load().len() as u64);
    page.gauge(
        "letmein_nodes",
        "Nodes among which limits per user are divided",
        status.directory.nodes.present().into(),
    );
    if status.directory.penalties.has_pool() {
        page.gauge(
            "letmein_exchange_members",
            "Servers that count failed logins of users together, with this one",
            status.directory.penalties.members(status.clock.now().uptime).into(),
        );
    }
    page.gauge("letmein_stopping", "1 while the server stops, else 0", u64::from(status.is_stopping()));
}

fn outcomes(page: &mut Page, status: &Status) {
    let of = |outcome| status.outcome(outcome);
    let mut logins = vec![("welcome", of(MessageOutcome::Welcomed))];
    match status.refusals() {
        Some(refusals) => logins.extend(refusals),
        None => logins.push(("refused", status.verdicts().refused)),
    }
    page.counters(
        "letmein_challenges",
        "Challenges sent, for requests and for answers to old challenges",
        "cause",
        &[("request", of(MessageOutcome::Challenged)), ("old_answer", of(MessageOutcome::Rechallenged))],
    );
    page.counters("letmein_logins", "Logins by result", "result", &logins);
    let by_opaque = status.sum(|counters| counters.welcomed_by_opaque.get());
    let by_md5 = of(MessageOutcome::Welcomed).saturating_sub(by_opaque);
    page.counters(
        "letmein_welcomes",
        "Logins that were welcomed, by mechanism",
        "mechanism",
        &[("md5", by_md5), ("opaque", by_opaque)],
    );
    page.counters(
        "letmein_opaque_begins",
        "Messages that begin a login by OPAQUE: that wait for an offer, that found no place to wait",
        "result",
        &[("waiting", of(MessageOutcome::Waiting)), ("crowded", of(MessageOutcome::Crowded))],
    );
    page.counter(
        "letmein_opaque_offers",
        "Offers sent by OPAQUE; many more than logins are guesses that are never finished",
        of(MessageOutcome::Offered),
    );
    page.counter(
        "letmein_welcomes_repeated",
        "Welcomes repeated for a duplicate answer",
        of(MessageOutcome::WelcomedAgain),
    );
    page.counters(
        "letmein_messages_silenced",
        "Messages ignored because their address or user is blocked or has no guesses by OPAQUE left",
        "penalty",
        &[("source", of(MessageOutcome::SourcePenalized)), ("user", of(MessageOutcome::UserPenalized))],
    );
    page.counter("letmein_messages_malformed", "Malformed messages", of(MessageOutcome::Malformed));
}

fn failures(page: &mut Page, status: &Status) {
    let blocks = status.blocks();
    let counts: Vec<_> = blocks.iter().map(|(name, blocked)| (*name, blocked.count)).collect();
    let longest: Vec<_> = blocks.iter().map(|(name, blocked)| (*name, blocked.longest.as_secs())).collect();
    page.gauges(
        "letmein_silenced",
        "Addresses and names that are blocked now, by table of failures",
        "table",
        &counts,
    );
    page.gauges(
        "letmein_longest_block_age_seconds",
        "Age of the oldest block in force; 0 without any",
        "table",
        &longest,
    );
    let fills = status.fills();
    let used: Vec<_> = fills.iter().map(|(name, fill)| (*name, fill.used)).collect();
    let capacities: Vec<_> = fills.iter().map(|(name, fill)| (*name, fill.capacity)).collect();
    page.gauges("letmein_failures_remembered", "Entries in the tables of failures", "table", &used);
    page.gauges("letmein_failures_places", "Capacity of the tables of failures", "table", &capacities);
}

fn age(page: &mut Page, status: &Status) {
    let Some((_, age_s)) = status.users_age() else { return };
    page.gauge(
        "letmein_users_age_seconds",
        "Time since letmein-sync has last found that the users are as the database has them",
        age_s,
    );
    page.gauge(
        "letmein_users_suspended",
        "1 while all logins are refused, since the users are older than --stale-refuse allows, else 0",
        u64::from(status.are_users_suspended()),
    );
}

fn cluster(page: &mut Page, status: &Status) {
    let Some(state) = status.cluster() else { return };
    page.gauge(
        "letmein_cluster_keys_in_use",
        "1 while this server uses the keys that it shares with others, 0 while it uses its own",
        u64::from(state.is_ok()),
    );
    page.gauge(
        "letmein_clock_seconds",
        "The clock of this server, in seconds since 1970; those of servers that share keys may differ by 2",
        status.clock.now().unix_s,
    );
}

fn reloads(page: &mut Page, status: &Status) {
    let Reloaded { successes, failures, last } = status.directory.reloads.so_far();
    page.counters(
        "letmein_reloads",
        "Reloads of the users file",
        "result",
        &[("ok", successes), ("failed", failures)],
    );
    let Some(LastReload { at, is_ok }) = last else { return };
    page.gauge(
        "letmein_last_reload_time_seconds",
        "When the last reload ended, in seconds since 1970",
        at.unix_s,
    );
    page.gauge("letmein_last_reload_successful", "1 if the last reload succeeded, else 0", u64::from(is_ok));
}

fn datagrams(page: &mut Page, status: &Status) {
    if !status.serves(Transport::Udp) {
        return;
    }
    page.counter(
        "letmein_replies_unsent",
        "UDP replies that the system did not send",
        status.sum(|counters| counters.unsent.get()),
    );
    let Summed { sum, buckets } = status.histogram(|counters| &counters.batches, &BATCH_BOUNDS, 1.0);
    page.histogram("letmein_batch_datagrams", "Datagrams received per system call", sum, &buckets);
}

fn connections(page: &mut Page, status: &Status) {
    let Some((open, max)) = status.connections() else { return };
    page.gauge("letmein_connections_open", "TCP connections that are open", open as u64);
    page.gauge("letmein_connections_max", "TCP connections that may be open", max as u64);
    page.counters(
        "letmein_connections",
        "TCP connections, accepted or turned away",
        "result",
        &[
            ("accepted", status.sum(|counters| counters.accepted.get())),
            ("turned_away", status.sum(|counters| counters.turned_away.get())),
        ],
    );
    page.counter(
        "letmein_connections_lost",
        "Accepted TCP connections that ended early",
        status.sum(|counters| counters.lost.get()),
    );
    let Summed { sum, buckets } = status.histogram(|counters| &counters.logins_us, &LOGIN_BOUNDS_US, 1e6);
    page.histogram(
        "letmein_login_duration_seconds",
        "Time from the start of a TCP connection to its verdict",
        sum,
        &buckets,
    );
}

fn audit(page: &mut Page, status: &Status) {
    let Some(dropped) = status.dropped_lines() else { return };
    page.counters(
        "letmein_audit_lines_dropped",
        "Audit lines not written: the queue was full or the file could not be written (lost), \
         or there were too many (limit)",
        "reason",
        &dropped,
    );
}

/// A histogram of all workers. Each bucket has its upper bound; the last has none.
struct Summed {
    sum: f64,
    buckets: Vec<(Option<f64>, u64)>,
}

impl Status {
    /// Sums a histogram of all workers. `per_unit` is how many counted units make one shown unit.
    fn histogram<const BOUNDS: usize>(
        &self,
        of: impl Fn(&Counters) -> &Histogram<BOUNDS>,
        bounds: &[u64; BOUNDS],
        per_unit: f64,
    ) -> Summed {
        let bounds = bounds.iter().map(|bound| Some(*bound as f64 / per_unit)).chain([None]);
        let mut buckets: Vec<_> = bounds.map(|bound| (bound, 0)).collect();
        for counters in &self.counters {
            let histogram = of(counters);
            let counts = histogram.counts.iter().chain([&histogram.beyond]).map(Counter::get);
            for ((_, total), count) in buckets.iter_mut().zip(counts) {
                *total += count;
            }
        }
        Summed { sum: self.sum(|counters| of(counters).sum.get()) as f64 / per_unit, buckets }
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
}
