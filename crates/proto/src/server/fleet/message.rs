//! What one node tells the others, sealed under the key that they share.
//!
//! ```text
//! nonce 24 | body | tag 16                      XChaCha20-Poly1305, with the limit of failures as associated data
//! body:  sender 8, number 8, Unix time 8, batch 8,
//!        count 2, of each: node 8, batch 8      the last batch of each other node, which is thereby acknowledged
//!        count 2, of each: name, failures 1     the batch
//!        count 2, of each: name, source 17, credential 8
//! name:  length 1, bytes
//! ```
//!
//! All numbers are big-endian.

use std::hash::Hasher;

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{Key, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use siphasher::sip::SipHasher24;

use super::outbox::SourceOctets;
use crate::opaque::RngCore;
use crate::server::penalty::PoolLimits;
use crate::short_name::ShortName;

const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const PURPOSE: &[u8; 15] = b"letmein fleet 1";

/// The most other nodes whose messages are received.
pub const NODES_MAX: usize = 64;
/// Names whose failures are told at a time: those with the most.
pub(crate) const FAILURES_MAX: usize = 256;
/// Logins that are told at a time.
pub(crate) const LOGINS_MAX: usize = 128;
/// The longest message in bytes.
pub const MESSAGE_MAX: usize = 32_768;
const _: () = {
    use crate::credentials::NAME_MAX;
    let counts = 3 * size_of::<u16>();
    let lists = NODES_MAX * 16 + FAILURES_MAX * (2 + NAME_MAX) + LOGINS_MAX * (1 + NAME_MAX + 25);
    assert!(NONCE_LEN + 32 + counts + lists + TAG_LEN <= MESSAGE_MAX);
};

/// The key of the messages. It has no `Debug`, so that it is never shown.
pub(crate) struct FleetKey {
    cipher: XChaCha20Poly1305,
    credentials: SipHasher24,
}

impl FleetKey {
    /// The bytes of a key.
    pub(crate) const LEN: usize = 48;

    pub(crate) fn new(bytes: &[u8; Self::LEN]) -> Self {
        let (cipher, credentials) = bytes.split_at(32);
        let credentials = credentials.first_chunk().unwrap_or(&[0; 16]);
        let cipher = XChaCha20Poly1305::new(Key::from_slice(cipher));
        Self { cipher, credentials: SipHasher24::new_with_key(credentials) }
    }

    /// Tells a user's credentials from others: a keyed hash of parts, each with its length.
    pub(crate) fn credential(&self, parts: &[&[u8]]) -> u64 {
        let mut hash = self.credentials;
        for part in parts {
            hash.write_u64(part.len() as u64);
            hash.write(part);
        }
        hash.finish()
    }
}

/// What a node says.
pub(crate) struct Message {
    /// Drawn when the node started.
    pub(crate) sender: u64,
    /// How many messages its sender has sent, with this one.
    pub(crate) number: u64,
    pub(crate) unix_s: u64,
    /// The number of the batch, which is told until all acknowledge it.
    pub(crate) batch: u64,
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) failures: Vec<Failures>,
    pub(crate) logins: Vec<LoginElsewhere>,
}

/// The batch of another node that was counted last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) node: u64,
    pub(crate) batch: u64,
}

/// Failures at a name.
#[derive(Clone, Copy)]
pub(crate) struct Failures {
    pub(crate) name: ShortName,
    pub(crate) count: u8,
}

/// A source from which a user has logged in, and the credential that they had.
#[derive(Clone, Copy)]
pub(crate) struct LoginElsewhere {
    pub(crate) name: ShortName,
    pub(crate) source: SourceOctets,
    pub(crate) credential: u64,
}

impl Message {
    /// Appends the message, sealed.
    pub(crate) fn seal(
        &self,
        key: &FleetKey,
        limits: PoolLimits,
        random: &mut impl RngCore,
        out: &mut Vec<u8>,
    ) {
        let mut nonce = [0; NONCE_LEN];
        random.fill_bytes(&mut nonce);
        let mut body = Vec::new();
        self.append_to(&mut body);
        // A body of this length can always be sealed.
        let nonce = XNonce::from_slice(&nonce);
        let sealed = key.cipher.encrypt_in_place_detached(nonce, &associated_data(limits), &mut body);
        debug_assert!(sealed.is_ok());
        out.extend_from_slice(nonce);
        out.extend_from_slice(&body);
        out.extend_from_slice(&sealed.unwrap_or_default());
    }

    /// Opens a message that was sealed under this key by a node with the same limits.
    pub(crate) fn open(key: &FleetKey, limits: PoolLimits, message: &[u8]) -> Option<Self> {
        let (nonce, rest) = message.split_first_chunk::<NONCE_LEN>()?;
        let (body, tag) = rest.split_last_chunk::<TAG_LEN>()?;
        let (nonce, tag) = (XNonce::from_slice(nonce), Tag::from_slice(tag));
        let mut body = body.to_vec();
        key.cipher.decrypt_in_place_detached(nonce, &associated_data(limits), &mut body, tag).ok()?;
        Self::decode(&body)
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        for number in [self.sender, self.number, self.unix_s, self.batch] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        append_all(out, &self.acknowledged, |out, it| {
            out.extend_from_slice(&it.node.to_be_bytes());
            out.extend_from_slice(&it.batch.to_be_bytes());
        });
        append_all(out, &self.failures, |out, it| {
            append_name(out, &it.name);
            out.push(it.count);
        });
        append_all(out, &self.logins, |out, it| {
            append_name(out, &it.name);
            out.extend_from_slice(&it.source);
            out.extend_from_slice(&it.credential.to_be_bytes());
        });
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut rest = Reader(body);
        let (sender, number, unix_s, batch) = (rest.u64()?, rest.u64()?, rest.u64()?, rest.u64()?);
        let acknowledged = rest.all(|rest| Some(Acknowledged { node: rest.u64()?, batch: rest.u64()? }))?;
        let failures =
            rest.all(|rest| Some(Failures { name: rest.name()?, count: u8::from_be_bytes(rest.bytes()?) }))?;
        let logins = rest.all(|rest| {
            let (name, source) = (rest.name()?, rest.bytes()?);
            Some(LoginElsewhere { name, source, credential: rest.u64()? })
        })?;
        rest.0.is_empty().then_some(Self { sender, number, unix_s, batch, acknowledged, failures, logins })
    }
}

/// What both sides must have in common, beside the key.
fn associated_data(PoolLimits { count, window }: PoolLimits) -> [u8; PURPOSE.len() + 9] {
    let mut data = [0; PURPOSE.len() + 9];
    let (purpose, rest) = data.split_at_mut(PURPOSE.len());
    purpose.copy_from_slice(PURPOSE);
    let (of_count, of_window) = rest.split_at_mut(1);
    of_count.copy_from_slice(&[count]);
    of_window.copy_from_slice(&window.as_secs().to_be_bytes());
    data
}

fn append_all<T>(out: &mut Vec<u8>, all: &[T], append: impl Fn(&mut Vec<u8>, &T)) {
    out.extend_from_slice(&(all.len() as u16).to_be_bytes());
    all.iter().for_each(|it| append(out, it));
}

fn append_name(out: &mut Vec<u8>, name: &ShortName) {
    let name = name.as_str();
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

/// What is left of a body.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    fn name(&mut self) -> Option<ShortName> {
        let [len] = self.bytes()?;
        let (name, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        let name = ShortName::new(str::from_utf8(name).ok()?);
        (!name.as_str().is_empty()).then_some(name)
    }

    /// A list, up to the first element that is none.
    fn all<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = u16::from_be_bytes(self.bytes()?);
        (0..count).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::credentials::NAME_MAX;
    use crate::server::penalty::WINDOW_MAX;

    const LIMITS: PoolLimits = PoolLimits { count: 60, window: Duration::from_secs(60) };

    fn encoded(message: &Message) -> Vec<u8> {
        let mut body = Vec::new();
        message.append_to(&mut body);
        body
    }

    /// As much as there may be, with the longest names.
    fn longest() -> Message {
        let name = ShortName::new(&"n".repeat(NAME_MAX));
        Message {
            sender: 1,
            number: 2,
            unix_s: 3,
            batch: 4,
            acknowledged: vec![Acknowledged { node: 4, batch: 5 }; NODES_MAX],
            failures: vec![Failures { name, count: 6 }; FAILURES_MAX],
            logins: vec![LoginElsewhere { name, source: [7; 17], credential: 8 }; LOGINS_MAX],
        }
    }

    #[test]
    fn the_longest_message_is_heard_as_it_was_said() {
        let key = FleetKey::new(&[9; FleetKey::LEN]);
        let mut sealed = Vec::new();
        longest().seal(&key, LIMITS, &mut ChaCha20Rng::from_seed([1; 32]), &mut sealed);
        assert!(sealed.len() <= MESSAGE_MAX, "{}", sealed.len());
        let heard = Message::open(&key, LIMITS, &sealed).unwrap();
        assert_eq!(encoded(&heard), encoded(&longest()));
        assert!(Message::open(&FleetKey::new(&[8; FleetKey::LEN]), LIMITS, &sealed).is_none());
        let others = [PoolLimits { count: 61, ..LIMITS }, PoolLimits { window: WINDOW_MAX, ..LIMITS }];
        assert!(others.iter().all(|limits| Message::open(&key, *limits, &sealed).is_none()));
    }

    #[test]
    fn a_body_that_is_cut_off_or_longer_is_none() {
        let body = encoded(&longest());
        assert!((0..body.len()).step_by(7).all(|len| Message::decode(&body[..len]).is_none()));
        assert!(Message::decode(&[&body[..], b"x"].concat()).is_none());
    }

    proptest! {
        #[test]
        fn bytes_that_are_a_body_are_so_in_one_way_only(bytes: Vec<u8>, counts in [0_u8..3, 0..3, 0..3]) {
            // Bytes alone have no lists that end.
            let [acknowledged, failures, logins] = counts;
            let list = |count, rest: &[u8]| [&[0, count][..], rest].concat();
            let lists = [list(acknowledged, &bytes), list(failures, &bytes), list(logins, &bytes)].concat();
            for body in [bytes, [vec![0; 32], lists].concat()] {
                if let Some(message) = Message::decode(&body) {
                    prop_assert_eq!(encoded(&message), body);
                }
            }
        }
    }
}
