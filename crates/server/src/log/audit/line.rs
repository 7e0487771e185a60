//! A decision, and its line of JSON.

use serde::Serialize;
use siphasher::sip::SipHasher24;

use crate::log::{Hashed, UnknownNames, unix_time};
use crate::net::address::SocketKind;
use proto::credentials::NAME_MAX;
use proto::mechanism::Mechanism;
use proto::origin::Origin;
use proto::server::event::{Event, Reason, Refusal};
use proto::server::penalty::Penalty;
use proto::server::recent::Sighting;
use proto::shown::Shown;
use proto::users::PasswordAge;
use proto::{Now, Peer};

/// The longest line, in bytes.
pub(super) const LINE_MAX: usize = 486;

/// A decision in the queue, which owns no heap memory.
#[derive(Clone, Copy)]
pub(crate) struct Decision {
    unix_s: u64,
    kind: SocketKind,
    /// Absent for a connection that was turned away.
    mechanism: Option<Mechanism>,
    pub(super) peer: Peer,
    pub(super) verdict: DecisionKind,
    name: [u8; NAME_MAX],
    name_len: usize,
}

#[derive(Clone, Copy)]
pub(super) enum DecisionKind {
    Welcome(Sighting, PasswordAge),
    Refused(Reason, Origin),
    Penalized(Penalty),
}

impl Decision {
    /// The decision of an event, if it has one.
    pub(crate) fn of(
        now: Now,
        kind: SocketKind,
        peer: Peer,
        mechanism: Option<Mechanism>,
        event: &Event<'_>,
    ) -> Option<Self> {
        let (verdict, name) = match event {
            Event::Welcomed { user, sighting, password } => {
                (DecisionKind::Welcome(*sighting, *password), *user)
            }
            Event::Refused(Refusal { name, reason, origin }) => {
                (DecisionKind::Refused(*reason, *origin), *name)
            }
            Event::Penalized { penalty, user } => {
                (DecisionKind::Penalized(*penalty), user.unwrap_or_default())
            }
            Event::Malformed(_)
            | Event::Challenged
            | Event::Rechallenged
            | Event::Offered
            | Event::Waiting { .. }
            | Event::Crowded => return None,
        };
        let mut decision = Self {
            unix_s: now.unix_s,
            kind,
            mechanism,
            peer,
            verdict,
            name: [0; NAME_MAX],
            name_len: name.len(),
        };
        decision.name.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(decision)
    }

    pub(super) fn name_bytes(&self) -> &[u8] {
        self.name.get(..self.name_len).unwrap_or_default()
    }

    fn name(&self) -> &str {
        str::from_utf8(self.name_bytes()).unwrap_or_default()
    }
}

/// The lines of one write.
pub(super) struct JsonLines {
    unknown_names: UnknownNames,
    keyed: SipHasher24,
    pub(super) text: Vec<u8>,
}

/// The fields of a line.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<&'static str>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_user: Option<String>,
    /// Which password it was, if that is not the present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<bool>,
    duplicate: bool,
}

impl JsonLines {
    pub(super) fn new(unknown_names: UnknownNames, key: &[u8; 16]) -> Self {
        Self { unknown_names, keyed: SipHasher24::new_with_key(key), text: Vec::new() }
    }

    pub(super) fn add(&mut self, decision: &Decision) {
        let name = decision.name();
        let mut line = Line {
            time: unix_time(decision.unix_s),
            source: decision.peer.host().to_string(),
            port: decision.peer.port(),
            transport: decision.kind.name(),
            mechanism: decision.mechanism.map(Mechanism::name),
            verdict: "welcome",
            user: Some(name),
            unknown_user: None,
            password: None,
            reason: None,
            proven: Some(true),
            duplicate: false,
        };
        match decision.verdict {
            DecisionKind::Welcome(sighting, password) => {
                line.duplicate = sighting == Sighting::Repeat;
                line.password = (password == PasswordAge::Old).then_some("old");
            }
            DecisionKind::Refused(reason, origin) => {
                line.verdict = "refused";
                line.reason = Some(reason.to_string());
                line.proven = Some(origin == Origin::Proven);
                if reason == Reason::UnknownUser {
                    line.user = None;
                    line.unknown_user = Some(self.unknown(name));
                }
            }
            DecisionKind::Penalized(penalty) => {
                line.verdict = "silence";
                line.user = Some(name).filter(|name| !name.is_empty());
                line.reason = Some(penalty.to_string());
                line.proven = None;
            }
        }
        self.push(&line);
    }

    fn unknown(&self, name: &str) -> String {
        match self.unknown_names {
            UnknownNames::Hashed => Hashed(&self.keyed, name).to_string(),
            UnknownNames::Shown => Shown(name.as_bytes()).to_string(),
        }
    }

    pub(super) fn push(&mut self, line: &impl Serialize) {
        // All fields can be written as JSON, and writing to a vector does not fail.
        if serde_json::to_writer(&mut self.text, line).is_ok() {
            self.text.push(b'\n');
        }
    }
}
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use proto::credentials::Username;
    use proto::users::Denial;

    fn longest(event: &Event<'_>) -> usize {
        let now = Now::new(Duration::ZERO, 1_767_225_600);
        let peer: SocketAddr = "[2001:db80:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap();
        let decision =
            Decision::of(now, SocketKind::Udp, peer.into(), Some(Mechanism::Opaque), event).unwrap();
        let lengths = [UnknownNames::Hashed, UnknownNames::Shown].map(|unknown_names| {
            let mut lines = JsonLines::new(unknown_names, &[1; 16]);
            lines.add(&decision);
            lines.text.len()
        });
        lengths.into_iter().max().unwrap()
    }

    /// Names as long as they can be, of one character each: all of ASCII, and one of each length and escape.
    fn names() -> impl Iterator<Item = String> {
        let mut seen = BTreeSet::new();
        let kinds = ('\0'..=char::MAX)
            .filter(move |c| c.is_ascii() || seen.insert((c.len_utf8(), c.escape_debug().len())));
        kinds
            .map(|c| c.to_string().repeat(NAME_MAX / c.len_utf8()))
            .filter(|name| Username::check(name.as_bytes()).is_ok())
    }

    #[test]
    fn no_line_is_longer_than_the_longest() {
        let refused = |name: &str, reason| {
            [Origin::Proven, Origin::Unproven]
                .map(|origin| longest(&Event::Refused(Refusal { name, reason, origin })))
        };
        let denials = [Denial::Disabled, Denial::Expired, Denial::NotFromHere, Denial::OldPassword];
        let others = [Reason::UnknownUser, Reason::WrongPassword, Reason::TriedTooOften, Reason::Suspended];
        let reasons = [denials.map(Reason::Denied), denials.map(Reason::NotAdmitted), others].concat();
        let of_names = names().flat_map(|name| {
            let welcomes = [Sighting::First, Sighting::Repeat].map(|sighting| {
                longest(&Event::Welcomed { user: &name, sighting, password: PasswordAge::Old })
            });
            let refusals = reasons.iter().flat_map(|reason| refused(&name, *reason));
            let penalties = [Penalty::User, Penalty::GuessesOfSource, Penalty::GuessesOfUser]
                .map(|penalty| longest(&Event::Penalized { penalty, user: Some(&name) }));
            welcomes.into_iter().chain(refusals).chain(penalties).max()
        });
        let of_sources = longest(&Event::Penalized { penalty: Penalty::Source, user: None });
        assert_eq!(of_names.chain([of_sources]).max(), Some(LINE_MAX));
    }
}
