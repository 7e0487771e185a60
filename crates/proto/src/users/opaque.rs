//! What a snapshot has for users who log in by OPAQUE: the key, and what is said of names that have no record.

use std::collections::BTreeMap;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use subtle::{Choice, ConditionallySelectable};

use crate::opaque::key::ServerKey;
use crate::opaque::record::{RECORD_LEN, RecordBytes, STORED_LEN};
use crate::opaque::stretching::{STRETCHING_LEN, Stretching};

/// The key of all records, and what stands in where there is none.
pub(crate) struct OpaqueUsers {
    pub(crate) key: ServerKey,
    /// It is refused whatever the password.
    pub(crate) fake: RecordBytes,
    names: SipHasher24,
    /// The stretchings of all records, each with the number of records up to its last.
    stretchings: Vec<([u8; STRETCHING_LEN], u64)>,
}

impl OpaqueUsers {
    /// `stretchings` are those of all records, each with the number of its records.
    pub(super) fn new(key: ServerKey, stretchings: &BTreeMap<Stretching, u64>) -> Self {
        let (fake, names) = (key.fake_record(), SipHasher24::new_with_key(&key.stretching_key()));
        let mut end = 0;
        let mut up_to = |(stretching, count): (&Stretching, &u64)| {
            end += count;
            (stretching.to_bytes(), end)
        };
        let mut stretchings: Vec<_> = stretchings.iter().map(&mut up_to).collect();
        if stretchings.is_empty() {
            stretchings.push(up_to((&Stretching::DEFAULT, &1)));
        }
        Self { key, fake, names, stretchings }
    }

    /// The stretching and the record for an exchange: those that are `stored` beside a user who `is_known`, and else
    /// the fake ones. If the user `may_enter` not, the record is fake, and the stretching is not, since a change would
    /// tell that there is such a user. The time does not tell which.
    pub(crate) fn select(
        &self,
        name: &str,
        stored: &[u8],
        is_known: Choice,
        may_enter: Choice,
    ) -> ([u8; STRETCHING_LEN], [u8; RECORD_LEN]) {
        let (mut stretching, mut record) = (self.stretching_of(name), self.fake);
        let stored = stored.first_chunk::<STORED_LEN>().unwrap_or(&[0; STORED_LEN]);
        let (real_stretching, real_record) = stored.split_at(STRETCHING_LEN);
        for (fake, byte) in stretching.iter_mut().zip(real_stretching) {
            fake.conditional_assign(byte, is_known);
        }
        for (fake, byte) in record.iter_mut().zip(real_record) {
            fake.conditional_assign(byte, is_known & may_enter);
        }
        (stretching, record)
    }

    /// The stretching for a name without a record: that of some record, always the same while the records are. It is
    /// as frequent among such names as among records.
    fn stretching_of(&self, name: &str) -> [u8; STRETCHING_LEN] {
        let mut hasher = self.names;
        hasher.write(name.as_bytes());
        let all = self.stretchings.last().map_or(0, |(_, end)| *end);
        let pick = ((u128::from(hasher.finish()) * u128::from(all)) >> 64) as u64;
        let chosen = self.stretchings.iter().find(|(_, end)| pick < *end);
        chosen.map_or(Stretching::DEFAULT.to_bytes(), |(stretching, _)| *stretching)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn key() -> ServerKey {
        ServerKey::generate(&mut ChaCha20Rng::from_seed([7; 32]))
    }

    #[test]
    fn an_unknown_name_has_the_stretching_of_some_record_and_keeps_it_over_a_restart() {
        let counts = BTreeMap::from([(Stretching::NONE, 1), (Stretching::DEFAULT, 3)]);
        let [before, after] = [(); 2].map(|()| OpaqueUsers::new(key(), &counts));
        let mut defaults = 0;
        for number in 0..4000 {
            let name = format!("nobody{number}");
            let stretching = before.stretching_of(&name);
            assert_eq!(stretching, after.stretching_of(&name));
            assert!(counts.keys().any(|it| it.to_bytes() == stretching));
            defaults += u32::from(stretching == Stretching::DEFAULT.to_bytes());
        }
        assert!((2800..3200).contains(&defaults), "{defaults}");
    }

    #[test]
    fn a_record_is_used_only_where_it_is_real() {
        let users = OpaqueUsers::new(key(), &BTreeMap::new());
        let stored: Vec<u8> = (0..STORED_LEN).map(|number| number as u8).collect();
        let (yes, no) = (Choice::from(1), Choice::from(0));
        let (stretching, record) = users.select("alice", &stored, yes, yes);
        assert_eq!([&stretching[..], &record].concat(), stored);
        let (stretching, record) = users.select("alice", &stored, yes, no);
        assert_eq!((&stretching[..], record), (&stored[..STRETCHING_LEN], users.fake));
        for none in [&stored[..], &[]] {
            let (stretching, record) = users.select("alice", none, no, yes);
            assert_eq!((stretching, record), (Stretching::DEFAULT.to_bytes(), users.fake));
        }
    }
}
