//! `/status.json`: the status of a server, for the status page and for scripts.

use serde_json::{Map, Value, json};

use crate::counters::MessageOutcome;
use crate::directory::{LastReload, Reloaded};
use crate::status::{Blocked, HISTORY_STEP, Status};
use proto::server::penalty::Fill;

/// The body, without names or addresses of users.
pub(crate) fn page(status: &Status) -> String {
    let count =
        |outcomes: &[MessageOutcome]| outcomes.iter().map(|outcome| status.outcome(*outcome)).sum::<u64>();
    let history = status.history();
    let reasons = status.refusals().map(|refusals| {
        refusals.into_iter().map(|(reason, count)| (spaced(reason), count.into())).collect::<Map<_, _>>()
    });
    let doors = doors(status);
    json!({
        "server": status.server,
        "version": env!("CARGO_PKG_VERSION"),
        "address": doors.first().map(|door| &door["address"]),
        "doors": doors,
        "uptime_s": status.uptime().as_secs_f64(),
        "is_stopping": status.is_stopping(),
        "users": status.directory.users.load().len(),
        "users_age_s": status.users_age().map(|(_, age_s)| age_s),
        "users_suspended": status.are_users_suspended(),
        "workers": status.counters.len(),
        "totals": {
            "challenged": count(&[MessageOutcome::Challenged, MessageOutcome::Rechallenged]),
            "welcomed": count(&[MessageOutcome::Welcomed]),
            "repeated": count(&[MessageOutcome::WelcomedAgain]),
            "refused": status.verdicts().refused,
            "silenced": count(&[MessageOutcome::SourcePenalized, MessageOutcome::UserPenalized]),
            "malformed": count(&[MessageOutcome::Malformed]),
        },
        "refused_by_reason": reasons,
        "opaque": opaque(status),
        "penalties": penalties(status),
        "limits": limits(status),
        "reload": reloads(status),
        "history": {
            "step_s": HISTORY_STEP.as_secs(),
            "welcomed": history.iter().map(|step| step.welcomed).collect::<Vec<_>>(),
            "refused": history.iter().map(|step| step.refused).collect::<Vec<_>>(),
        },
    })
    .to_string()
}

fn doors(status: &Status) -> Vec<Value> {
    let doors = status.doors.iter();
    doors.map(|(kind, address)| json!({ "transport": kind.name(), "address": address.to_string() })).collect()
}

/// Logins by OPAQUE, from BEGIN to the first welcome. The welcomes are among those of the totals.
fn opaque(status: &Status) -> Value {
    json!({
        "begun": status.outcome(MessageOutcome::Waiting),
        "crowded": status.outcome(MessageOutcome::Crowded),
        "offered": status.outcome(MessageOutcome::Offered),
        "welcomed": status.sum(|counters| counters.welcomed_by_opaque.get()),
    })
}

fn penalties(status: &Status) -> Vec<Value> {
    let blocks = status.blocks().into_iter().map(|(name, Blocked { count, longest })| {
        json!({ "name": spaced(name), "silent": count, "longest_s": longest.as_secs() })
    });
    blocks.collect()
}

/// Of what has a limit, how much is in use. A table without capacity is not in use.
fn limits(status: &Status) -> Vec<Value> {
    let connections =
        status.connections().map(|(used, max)| json!({ "name": "connections", "used": used, "max": max }));
    let tables = status.fills().into_iter().filter(|(_, fill)| fill.capacity > 0).map(
        |(name, Fill { used, capacity, .. })| {
            json!({ "name": format!("failures of {}", spaced(name)), "used": used, "max": capacity })
        },
    );
    connections.into_iter().chain(tables).collect()
}

fn reloads(status: &Status) -> Value {
    let Reloaded { successes, failures, last } = status.directory.reloads.so_far();
    let last = last.map(|LastReload { at, is_ok }| {
        json!({ "ago_s": status.uptime().saturating_sub(at.uptime).as_secs_f64(), "is_ok": is_ok })
    });
    json!({ "reloads": successes, "failures": failures, "last": last })
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}
