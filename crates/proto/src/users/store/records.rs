//! Records of users: a header, the name, and what the user may log in by.

use std::hint::select_unpredictable;
use std::io;
use std::iter;
use std::ops::Range;
use std::thread;

use subtle::{Choice, ConstantTimeEq};

use super::pages::Pages;
use crate::credentials::{Password, Username};
use crate::opaque::record::Record as OpaqueRecord;
use crate::opaque::stretching::Stretching;

/// A user's record.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    /// Its offset in bytes.
    pub(crate) start: u32,
    /// How many users were added before this one.
    pub(crate) number: u32,
    pub(crate) name: &'a str,
    /// Whether it stands for a user who is removed. The password is then nobody's.
    pub(crate) is_removed: bool,
    /// Name ‖ password.
    pub(crate) secret: &'a [u8],
    /// The password before this one; empty if there is none.
    pub(crate) old_password: &'a [u8],
    /// In place of passwords: the stretching and the record of OPAQUE. Empty if there is none.
    pub(crate) opaque: &'a [u8],
}

/// The record that a search ended with.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    /// In what its name differs from the one asked for: 0 if in nothing.
    difference: u64,
    /// [`REMOVED`] or 0.
    flag: u8,
    /// Its offset in bytes.
    pub(crate) start: u32,
    /// How many users were added before this one.
    pub(crate) number: u32,
    /// Empty if there is none.
    pub(crate) password: &'a [u8],
    /// The password before this one; empty if there is none.
    pub(crate) old_password: &'a [u8],
    /// In place of passwords: the stretching and the record of OPAQUE. Empty if there is none.
    pub(crate) opaque: &'a [u8],
}

/// What a new user may log in by.
#[derive(Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// A password, and perhaps the one before it.
    Password(&'a Password, Option<&'a Password>),
    /// A record of OPAQUE.
    Opaque(&'a OpaqueRecord),
    /// Nothing: the user is removed.
    Removed,
}

impl Lookup<'_> {
    /// Whether this is the record asked for, rather than that of another user, even if the user is removed.
    pub(crate) fn has_name(&self) -> Choice {
        self.difference.ct_eq(&0)
    }

    /// Whether this is the record asked for, and the user is not removed.
    pub(crate) fn is_user(&self) -> Choice {
        (self.difference | u64::from(self.flag)).ct_eq(&0)
    }

    /// This one, or the other by `choice`. Each part is chosen in registers: with two records side by side in memory
    /// and an index, refusals of users in an overlay took some nanoseconds longer than those of unknown names.
    pub(crate) fn or(self, other: Self, choice: Choice) -> Self {
        let if_other = bool::from(choice);
        Self {
            difference: select_unpredictable(if_other, other.difference, self.difference),
            flag: select_unpredictable(if_other, other.flag, self.flag),
            start: select_unpredictable(if_other, other.start, self.start),
            number: select_unpredictable(if_other, other.number, self.number),
            password: select_unpredictable(if_other, other.password, self.password),
            old_password: select_unpredictable(if_other, other.old_password, self.old_password),
            opaque: select_unpredictable(if_other, other.opaque, self.opaque),
        }
    }
}

impl<'a> Record<'a> {
    pub(crate) fn password(&self) -> &'a [u8] {
        self.secret.get(self.name.len()..).unwrap_or_default()
    }

    /// That of the record of OPAQUE, if there is one.
    pub(crate) fn stretching(&self) -> Option<Stretching> {
        self.opaque.first_chunk().and_then(|bytes| Stretching::from_bytes(*bytes).ok())
    }

    fn len(&self) -> usize {
        HEADER_LEN + self.secret.len() + self.old_password.len() + self.opaque.len()
    }
}

/// Names and passwords, one after the other. The first record is a placeholder of zeros, which matches no name.
pub(crate) struct Records {
    pages: Pages,
    len: usize,
    count: usize,
}

const NUMBER_LEN: usize = 4;
const HEADER_LEN: usize = NUMBER_LEN + 4;
/// Beside the length of a name, which is not that of any name then: the user is removed.
const REMOVED: u8 = 0x80;
/// Stands in for the password of a user who is removed, as that of another user does for an unknown name.
const NO_PASSWORD: [u8; 12] = [0; 12];
/// Bytes by which a record can be longer than the line of its user: such a line has four bytes beside name and
/// password, or three at the end of the text.
const EXTRA_LEN: usize = HEADER_LEN - 3;
/// The shortest line: `a="b"`.
const LINE_MIN: usize = 5;
/// Records between two yields of the processor: some twenty microseconds of work, if each is a cache miss.
const YIELD_RECORDS: u32 = 256;
pub(super) const PLACEHOLDER_LEN: usize = HEADER_LEN;

impl Records {
    /// Reserves room for the users of a text of this many bytes. Untouched pages take no memory.
    ///
    /// # Errors
    /// The system's, for lack of memory.
    pub(crate) fn for_text(text_len: usize) -> io::Result<Self> {
        let extra = (text_len / LINE_MIN).saturating_mul(EXTRA_LEN);
        let len = PLACEHOLDER_LEN.saturating_add(text_len).saturating_add(extra);
        Ok(Self { pages: Pages::new(len)?, len: PLACEHOLDER_LEN, count: 0 })
    }

    /// Adds a user, and gives the offset of the record; `None` if that does not fit, or would end beyond 4 GiB.
    pub(crate) fn add(&mut self, name: &Username, credential: Credential<'_>) -> Option<u32> {
        let start = u32::try_from(self.len).ok()?;
        let number = u32::try_from(self.count).ok()?.to_ne_bytes();
        let stored;
        let [password, old_password, opaque] = match credential {
            Credential::Password(password, old) => {
                [password.expose(), old.map(Password::expose).unwrap_or_default(), &[]]
            }
            Credential::Opaque(record) => {
                stored = record.stored();
                [&[], &[], stored.as_slice()]
            }
            Credential::Removed => [NO_PASSWORD.as_slice(), &[], &[]],
        };
        let parts = [name.as_str().as_bytes(), password, old_password, opaque];
        let [a, b, c, d] = parts.map(|part| u8::try_from(part.len()).ok());
        let flag = if matches!(credential, Credential::Removed) { REMOVED } else { 0 };
        let lens = [a? | flag, b?, c?, d?];
        let end = self.len + HEADER_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
        u32::try_from(end).ok()?;
        let mut rest = self.pages.slot(self.len..end)?;
        for part in [&number[..], &lens].into_iter().chain(parts) {
            let (slot, after) = rest.split_at_mut_checked(part.len())?;
            slot.copy_from_slice(part);
            rest = after;
        }
        self.len = end;
        self.count += 1;
        Some(start)
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// All users, in the order in which they were added. A walk through a million records yields the processor now and
    /// then.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut next = PLACEHOLDER_LEN as u32;
        let records = iter::from_fn(move || {
            let record = self.at(next)?;
            next += record.len() as u32;
            Some(record)
        });
        records.zip(1_u32..).map(|(record, number)| {
            if number.is_multiple_of(YIELD_RECORDS) {
                thread::yield_now();
            }
            record
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.pages.bytes()
    }

    pub(crate) fn at(&self, start: u32) -> Option<Record<'_>> {
        let records: Range<usize> = start as usize..self.len;
        let (header, rest) = self.pages.bytes().get(records)?.split_first_chunk::<HEADER_LEN>()?;
        let Header { number, flag, name_len, password_len, old_len, opaque_len } = Header::read(*header);
        let name = str::from_utf8(rest.get(..name_len)?).ok()?;
        let (secret, rest) = rest.split_at_checked(name_len + password_len)?;
        let (old_password, rest) = rest.split_at_checked(old_len)?;
        let (is_removed, opaque) = (flag == REMOVED, rest.get(..opaque_len)?);
        Some(Record { start, number, name, is_removed, secret, old_password, opaque })
    }

    /// Compares the name of a record with this one. The time depends on the lengths alone, unless the memory ends
    /// before a record of that name would.
    pub(super) fn compare(&self, start: u32, name: &str) -> Lookup<'_> {
        let record = self.pages.bytes().get(start as usize..).unwrap_or_default();
        let (header, rest) = record.split_first_chunk::<HEADER_LEN>().unwrap_or((&[0; HEADER_LEN], &[]));
        let Header { number, flag, name_len, password_len, old_len, opaque_len } = Header::read(*header);
        let beside = rest.get(..name.len()).unwrap_or_default();
        let difference =
            difference(beside, name.as_bytes()) | (name_len ^ name.len()) as u64 | u64::from(start == 0);
        let old_start = name_len + password_len;
        let password = rest.get(name_len..old_start).unwrap_or_default();
        let opaque_start = old_start + old_len;
        let old_password = rest.get(old_start..opaque_start).unwrap_or_default();
        let opaque = rest.get(opaque_start..opaque_start + opaque_len).unwrap_or_default();
        Lookup { difference, flag, start, number, password, old_password, opaque }
    }
}

/// The bits in which bytes differ from others of the same length. The time depends on the length alone: `memcmp` would
/// stop at the first difference.
fn difference(one: &[u8], other: &[u8]) -> u64 {
    let between = |(one, other): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other);
    let words = iter::zip(one.as_chunks().0, other.as_chunks().0).fold(0, |all, it| all | between(it));
    // The last eight bytes, some of them once more.
    match one.last_chunk().zip(other.last_chunk()) {
        Some(last) => words | between(last),
        None => iter::zip(one, other).fold(0, |all, (one, other)| all | u64::from(one ^ other)),
    }
}

/// The header of a record.
struct Header {
    number: u32,
    /// [`REMOVED`] or 0.
    flag: u8,
    name_len: usize,
    password_len: usize,
    old_len: usize,
    opaque_len: usize,
}

impl Header {
    fn read([a, b, c, d, name_len, password_len, old_len, opaque_len]: [u8; HEADER_LEN]) -> Self {
        Self {
            number: u32::from_ne_bytes([a, b, c, d]),
            flag: name_len & REMOVED,
            name_len: (name_len & !REMOVED).into(),
            password_len: password_len.into(),
            old_len: old_len.into(),
            opaque_len: opaque_len.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_differ_anywhere_differ_and_others_do_not() {
        for len in 0..=64 {
            let one = vec![b'a'; len];
            assert_eq!(difference(&one, &one), 0, "{len}");
            for (place, bit) in (0..len).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
                let mut other = one.clone();
                other[place] ^= 1 << bit;
                assert_ne!(difference(&one, &other), 0, "{len}: {place}");
            }
        }
    }
}
