//! The result of a search for a name, and what is known of its user.

use std::net::IpAddr;
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq};

use super::conditions::{Conditions, Denial, NO_CONDITIONS};
use super::search::Places;
use super::{OpaqueUsers, Price, Users};
use crate::opaque::record::RECORD_LEN;
use crate::opaque::stretching::STRETCHING_LEN;
use crate::origin::Origin;
use crate::proof::SecretRef;

/// The result of a search for a name: a secret to check an answer with, whether the name is known or not.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(super) name: &'a str,
    /// Whether a user has the name.
    pub(crate) is_known: Choice,
    /// Whether the digest of an answer is looked at, unless all users are suspended.
    pub(super) is_judged: Choice,
    /// Whether all users are suspended, known ones and others.
    pub(super) is_suspended: bool,
    /// For an unknown name the passwords and places are another user's.
    pub(super) password: &'a [u8],
    /// Empty if there is none.
    pub(super) old_password: &'a [u8],
    /// The stretching and the record of OPAQUE; empty if there is none.
    pub(super) opaque: &'a [u8],
    pub(super) users: &'a Users,
    pub(super) places: Places<'a>,
}

impl<'a> Found<'a> {
    /// The name that was searched for.
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// Whether the right digest lets the user in.
    pub(crate) fn may_enter(&self) -> Choice {
        self.is_known & self.is_judged & !Choice::from(u8::from(self.is_suspended))
    }

    /// Whether any user was guessed at beyond the budget.
    pub(crate) fn are_any_guesses_spent(&self, uptime: Duration) -> bool {
        self.users.are_any_guesses_spent(uptime)
    }

    /// Whether this user was. For an unknown name the result is another user's, which makes no difference to a refusal.
    pub(crate) fn are_guesses_spent(&self, origin: Origin, price: Price, uptime: Duration) -> bool {
        self.places.select(|place| place.layer.guesses.is_spent(place.number, origin, price, uptime))
    }

    /// The same, but if the guesses are `spent` the answer will be refused whatever its digest, after the usual steps.
    pub(crate) fn refused_if(self, spent: bool) -> Self {
        Self { is_judged: !Choice::from(u8::from(spent)), ..self }
    }

    /// Whether the name is known and its answer is refused without a look at the digest.
    pub(crate) fn is_refused_unseen(&self) -> bool {
        (self.is_known & !self.may_enter()).into()
    }

    /// Whether all users are suspended.
    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// Counts a guess at the user, if its digest was looked at.
    pub(crate) fn guessed(&self, origin: Origin, price: Price, uptime: Duration) {
        self.places.for_both(|place, counts| {
            place.layer.guesses.add(place.number, origin, price, uptime, counts & self.may_enter());
        });
    }

    /// Whether this user was guessed at by OPAQUE beyond the budget of a day. For an unknown name the result is another
    /// user's, which makes no difference to what is replied.
    pub(crate) fn is_day_spent(&self, price: Price, uptime: Duration) -> bool {
        let origin = Origin::Proven;
        self.places.select(|place| place.layer.guesses_a_day.is_spent(place.number, origin, price, uptime))
    }

    /// Counts a guess by OPAQUE against the budget of a day, unless that is spent. One that begins while all users are
    /// suspended counts, since its offer may be made when they no longer are.
    pub(crate) fn guessed_in_a_day(&self, price: Price, uptime: Duration) {
        self.places.for_both(|place, counts| {
            let counts = counts & self.is_known & self.is_judged;
            place.layer.guesses_a_day.add(place.number, Origin::Proven, price, uptime, counts);
        });
    }

    /// Takes back such a guess, which was right.
    pub(crate) fn give_back_in_a_day(&self, price: Price) {
        let place = self.places.selected();
        place.layer.guesses_a_day.give_back(place.number, Origin::Proven, price);
    }

    /// Notes a login of the user from a source, given as a keyed hash. Whether others should hear of it again.
    pub(crate) fn exempt(&self, source: u64, password: PasswordAge, uptime: Duration) -> bool {
        let place = self.places.selected();
        self.is_known.into() && place.layer.exemptions.note(place.number, source, password, uptime)
    }

    /// By which password the user has logged in from that source lately, if they have.
    pub(crate) fn exempting(&self, source: u64, uptime: Duration) -> Option<PasswordAge> {
        let place = self.places.selected();
        place.layer.exemptions.password(place.number, source, uptime).filter(|_| self.is_known.into())
    }

    /// The password of this age, and for the present one the record; absent if there is neither.
    pub(crate) fn credential(&self, age: PasswordAge) -> Option<[&'a [u8]; 2]> {
        let parts = match age {
            PasswordAge::Present => [self.password, self.opaque],
            PasswordAge::Old => [self.old_password, &[]],
        };
        parts.iter().any(|part| !part.is_empty()).then_some(parts)
    }

    /// Whether the user has logged in from that source lately. For an unknown name the slots of another user are looked
    /// at, so that the time does not tell the two apart.
    pub(crate) fn is_exempt(&self, source: u64, uptime: Duration) -> bool {
        let is_noted =
            self.places.select(|place| place.layer.exemptions.contains(place.number, source, uptime));
        bool::from(self.is_known & Choice::from(u8::from(is_noted)))
    }

    /// The secret to check an answer with. For an unknown name it has another user's password, and a right digest
    /// proves nothing.
    pub(crate) fn present(&self) -> Candidate<'a> {
        Candidate {
            secret: self.secret(self.password),
            password: PasswordAge::Present,
            counts: self.may_enter(),
        }
    }

    /// The second secret to check an answer with, for every name if any user has an old password. For a user who has
    /// none, the present password stands in, and a right digest proves nothing.
    pub(crate) fn old(&self) -> Option<Candidate<'a>> {
        if !self.users.has_old_passwords() {
            return None;
        }
        let has_old = !self.old_password.len().ct_eq(&0);
        let password = if has_old.into() { self.old_password } else { self.password };
        Some(Candidate {
            secret: self.secret(password),
            password: PasswordAge::Old,
            counts: self.may_enter() & has_old,
        })
    }

    /// The secret is cut to the longest of all users, since one more block of MD5 would take longer.
    fn secret(&self, password: &'a [u8]) -> SecretRef<'a> {
        let (name, room) = cut(self.name.as_bytes(), self.users.blocks.room());
        let (password, _) = cut(password, room);
        SecretRef::new(name, password)
    }

    /// Whether a user who has proven to know a password may log in with it, at this time from this address, if there is
    /// one.
    pub(crate) fn admit(
        &self,
        password: PasswordAge,
        unix_s: u64,
        source: Option<IpAddr>,
    ) -> Result<(), Denial> {
        self.conditions().admit(unix_s, source)?;
        let end = || self.places.old_end_unix_s().unwrap_or(0);
        match password {
            PasswordAge::Old if unix_s >= end() => Err(Denial::OldPassword),
            PasswordAge::Old | PasswordAge::Present => Ok(()),
        }
    }

    /// The stretching and the record for an exchange by OPAQUE: the user's, if they may log in at this time from this
    /// address and are not guessed at too often, or else the fake one.
    pub(crate) fn opaque_part(
        &self,
        opaque: &OpaqueUsers,
        is_admitted: Choice,
    ) -> ([u8; STRETCHING_LEN], [u8; RECORD_LEN]) {
        opaque.select(self.name, self.opaque, self.is_known, self.may_enter() & is_admitted)
    }

    /// The conditions of the user's logins, besides the password.
    fn conditions(&self) -> &'a Conditions {
        self.places.conditions().unwrap_or(&NO_CONDITIONS)
    }
}

/// A secret that an answer may have been made with.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) secret: SecretRef<'a>,
    pub(crate) password: PasswordAge,
    /// Whether the right digest of it lets the user in.
    pub(crate) counts: Choice,
}

/// Which of a user's passwords it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PasswordAge {
    /// The only one, or the new one.
    Present,
    /// The one before, while not everything that logs in as the user has the new one.
    Old,
}

/// The bytes that fit in `room`, and the room that is left.
fn cut(bytes: &[u8], room: usize) -> (&[u8], usize) {
    let len = bytes.len().min(room);
    (bytes.get(..len).unwrap_or_default(), room - len)
}
