//! Settles an answer over either transport: checks the penalties, judges the answer, and counts the result.

use subtle::Choice;

use crate::challenge::Challenge;
use crate::dialect::Dialect;
use crate::lanes::LANES;
use crate::mechanism::Mechanism;
use crate::origin::Origin;
use crate::server::Case;
use crate::server::event::{Event, Reaction, Reason, Refusal};
use crate::server::penalty::LoginAttempt;
use crate::server::recent::Sighting;
use crate::users::{Candidate, Found, PasswordAge};
use crate::wire::{Answer, ServerMessage, Verdict};

/// The context in which an answer is settled.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'u> {
    pub(crate) case: Case<'u>,
    /// Whether the sender has shown that it can receive there.
    pub(crate) origin: Origin,
}

/// A challenge as it was issued: for a verdict in this dialect.
pub(crate) type Issued = (Dialect, Challenge);

/// A right answer: the challenge that it is for, and the password that it was made with.
pub(crate) type Right = (Issued, PasswordAge);

impl Desk<'_> {
    /// Judges an answer, counts the result, and appends the verdict to `reply`. `sight` says whether a login by this
    /// challenge was counted before. A refusal is in `dialect`, and follows after the same steps whatever its reason.
    pub(crate) fn settle<'a>(
        &self,
        answer: &Answer<'a>,
        dialect: Dialect,
        judge: impl FnOnce(&Self, &Found<'_>) -> Result<Right, Reason>,
        sight: impl FnOnce(Challenge) -> Sighting,
        reply: &mut Vec<u8>,
    ) -> Reaction<'a> {
        let Self { case: Case { users, penalties, now, peer }, origin } = *self;
        let found = users.find(answer.name, Mechanism::Md5);
        let attempt = match penalties.check(LoginAttempt::new(now.uptime, origin, peer, found)) {
            Ok(attempt) => attempt,
            Err(penalty) => {
                let user = bool::from(found.is_known).then_some(answer.name);
                return Event::Penalized { penalty, user }.into();
            }
        };
        match judge(self, &attempt.found) {
            Ok(((dialect, challenge), password)) => {
                let sighting = sight(challenge);
                if sighting == Sighting::First {
                    penalties.welcomed(&attempt, password);
                }
                ServerMessage::Verdict(Verdict::Welcome, dialect).append_to(reply);
                Event::Welcomed { user: answer.name, sighting, password }.into()
            }
            Err(reason) => {
                let blocks = penalties.failed(&attempt, answer.digest);
                ServerMessage::Verdict(Verdict::Refused, dialect).append_to(reply);
                let event = Event::Refused(Refusal { name: answer.name, reason, origin });
                Reaction { blocks, ..event.into() }
            }
        }
    }

    /// Judges an answer to a challenge that the peer has proven to have. For an unknown name digests are made with
    /// another user's passwords, and are never right.
    pub(crate) fn judge(&self, found: &Found<'_>, answer: &Answer<'_>, to: Issued) -> Result<Right, Reason> {
        let (_, challenge) = to;
        let judge = |candidate: Candidate<'_>| {
            let fits = candidate.secret.has_digest(answer.digest, self.case.users.blocks(), challenge);
            is_right(&candidate, fits).then(|| self.admit(found, (to, candidate.password)))
        };
        // Both are made before either counts.
        let (present, old) = (judge(found.present()), found.old().and_then(judge));
        present.or(old).unwrap_or(Err(wrong(found)))
    }

    /// Judges an answer by all challenges that it may be for. The search ends early only for a welcome.
    pub(crate) fn judge_by_any(
        &self,
        found: &Found<'_>,
        answer: &Answer<'_>,
        challenges: impl Iterator<Item = Issued> + Clone,
    ) -> Result<Right, Reason> {
        let present = self.search(found, found.present(), answer, challenges.clone());
        if let Some(Ok(right)) = present {
            return Ok(right);
        }
        let old = found.old().and_then(|old| self.search(found, old, answer, challenges));
        present.or(old).unwrap_or(Err(wrong(found)))
    }

    /// Looks for a challenge to which the answer is right by this password. `None` if there is none.
    fn search(
        &self,
        found: &Found<'_>,
        candidate: Candidate<'_>,
        answer: &Answer<'_>,
        mut challenges: impl Iterator<Item = Issued>,
    ) -> Option<Result<Right, Reason>> {
        let mut trials = candidate.secret.trials(answer.digest, self.case.users.blocks());
        let mut denied = None;
        while let Some(first) = challenges.next() {
            let mut lanes = [first; LANES];
            let rest = lanes.iter_mut().skip(1).zip(&mut challenges).map(|(lane, next)| *lane = next);
            let count = 1 + rest.count();
            let fits = trials.fits(lanes.map(|(_, challenge)| challenge));
            for (issued, fits) in lanes.into_iter().zip(fits).take(count) {
                if is_right(&candidate, fits) {
                    match self.admit(found, (issued, candidate.password)) {
                        Ok(right) => return Some(Ok(right)),
                        Err(reason) => denied = Some(Err(reason)),
                    }
                }
            }
        }
        denied
    }

    /// Whether a user may log in by a right answer.
    fn admit(&self, found: &Found<'_>, right: Right) -> Result<Right, Reason> {
        let (_, password) = right;
        found
            .admit(password, self.case.now.unix_s, self.case.peer.ip())
            .map(|()| right)
            .map_err(Reason::Denied)
    }
}

/// Whether a digest that fits is that of a known user whose guesses are not spent.
fn is_right(candidate: &Candidate<'_>, fits: Choice) -> bool {
    (candidate.counts & fits).into()
}

/// The reason to refuse a digest that is wrong or was ignored.
fn wrong(found: &Found<'_>) -> Reason {
    match (found.is_known.into(), found.is_refused_unseen(), found.is_suspended()) {
        (false, _, _) => Reason::UnknownUser,
        (true, false, _) => Reason::WrongPassword,
        (true, true, false) => Reason::TriedTooOften,
        (true, true, true) => Reason::Suspended,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::credentials::Password;
    use crate::proof::Secret;
    use crate::server::penalty::{Penalties, Policy};
    use crate::users::with_passwords;
    use crate::{Now, Peer};

    /// A user was guessed at beyond the budget, and a flood has made the table of names forget it.
    #[test]
    fn beyond_the_budget_a_right_answer_is_refused_as_an_unknown_name_is() {
        let users = with_passwords(&[("victim", "right")]);
        let penalties = Penalties::new(&[1; 16], Policy { of_source: None, ..Policy::default() });
        let challenge = Challenge::from_random(7);
        let settle = |name: &'static str, password: &str, second| {
            let (uptime, peer) =
                (Duration::from_secs(second), Peer::from(SocketAddr::from(([192, 0, 2, 1], 5000))));
            let now = Now::new(uptime, 1_767_225_600);
            let secret = Secret::new(&name.parse().unwrap(), &Password::new(password).unwrap());
            let answer = Answer { name, digest: secret.digest(challenge), echo: None };
            let case = Case { users: &users, penalties: &penalties, now, peer };
            let desk = Desk { case, origin: Origin::Proven };
            let judge =
                |desk: &Desk<'_>, found: &Found<'_>| desk.judge(found, &answer, (Dialect::Words, challenge));
            let mut reply = Vec::new();
            let reaction = desk.settle(&answer, Dialect::Words, judge, |_| Sighting::First, &mut reply);
            (reply, reaction.event)
        };
        for guess in 0..62 {
            settle("victim", &format!("guess{guess}"), 100);
            penalties.lift();
        }
        let (right, unknown) = (settle("victim", "right", 100), settle("nobody", "right", 100));
        assert_eq!(right.0, unknown.0);
        assert!(!right.0.is_empty());
        let reason = Reason::TriedTooOften;
        assert_eq!(right.1, Event::Refused(Refusal { name: "victim", reason, origin: Origin::Proven }));
        let later = settle("victim", "right", 102).1;
        assert_eq!(
            later,
            Event::Welcomed { user: "victim", sighting: Sighting::First, password: PasswordAge::Present }
        );
    }
}
