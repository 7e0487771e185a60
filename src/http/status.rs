//! `/status.json`: a server in numbers, for the status page and for scripts.

use serde_json::{Value, json};

use crate::tally::Outcome;
use crate::watch::{HISTORY_STEP, Watched};

/// The page, which names nobody.
pub(crate) fn page(watched: &Watched) -> String {
    let now = watched.uptime();
    let count = |outcomes: &[Outcome]| outcomes.iter().map(|outcome| watched.outcome(*outcome)).sum::<u64>();
    let (failures, history) = (watched.failures(), watched.history());
    let mut limits: Vec<Value> = Vec::new();
    if let Some((used, max)) = watched.connections() {
        limits.push(json!({ "name": "connections", "used": used, "max": max }));
    }
    for (name, fill) in failures.tables() {
        limits.push(
            json!({ "name": format!("failures remembered, {}", name.replace('_', " ")), "used": fill.used, "max": fill.places }),
        );
    }
    let last = watched.reloads.last();
    let last =
        last.map(|(at, is_ok)| json!({ "ago_s": now.saturating_sub(at).as_secs_f64(), "is_ok": is_ok }));
    json!({
        "server": watched.transport.server(),
        "version": env!("CARGO_PKG_VERSION"),
        "address": watched.address.to_string(),
        "uptime_s": now.as_secs_f64(),
        "is_stopping": watched.is_stopping(),
        "users": watched.users.load().len(),
        "workers": watched.tallies.len(),
        "totals": {
            "challenged": count(&[Outcome::Challenged, Outcome::Rechallenged]),
            "welcomed": count(&[Outcome::Welcomed]),
            "repeated": count(&[Outcome::WelcomedAgain]),
            "refused": count(&Outcome::REFUSALS),
            "silenced": count(&[Outcome::SourceSilenced, Outcome::UserSilenced]),
            "malformed": count(&[Outcome::Malformed]),
        },
        "refused_by_reason": {
            "unknown user": count(&[Outcome::UnknownUser]),
            "wrong password": count(&[Outcome::WrongPassword]),
            "disabled": count(&[Outcome::Disabled]),
            "expired": count(&[Outcome::Expired]),
            "not allowed from this address": count(&[Outcome::NotFromHere]),
        },
        "penalties": { "sources": failures.silent_sources(), "users": failures.silent_users() },
        "limits": limits,
        "reload": {
            "reloads": watched.reloads.successes(),
            "failures": watched.reloads.failures(),
            "last": last,
        },
        "history": {
            "step_s": HISTORY_STEP.as_secs(),
            "welcomed": history.iter().map(|step| step.welcomed).collect::<Vec<_>>(),
            "refused": history.iter().map(|step| step.refused).collect::<Vec<_>>(),
        },
    })
    .to_string()
}
