//! The keys of challenges and of sealed states, at a time: those that a server draws for itself, or those that several
//! servers share, so that a login may begin at one of them and end at another.
//!
//! A shared key is active from a tick until that of the next one. So the tick of a challenge tells its key, and a key
//! is replaced at all servers in the same second.

use std::fmt;
use std::hash::Hasher;
use std::iter;
use std::ops::RangeInclusive;
use std::slice;
use std::time::Duration;

use hkdf::Hkdf;
use sha2::Sha512;
use siphasher::sip::SipHasher24;
use zeroize::Zeroizing;

use crate::challenge::{Challenge, Challenges, LIFE_TICKS, OPAQUE_MARK, Purpose, tick};
use crate::dialect::Dialect;
use crate::hex::to_hex;
use crate::opaque::RngCore;
use crate::opaque::exchange::Pending;
use crate::opaque::key::ServerKey;
use crate::server::Keys;
use crate::server::fleet::message::FleetKey;
use crate::server::opaque::seal::{self, Offered, Owner, Seal, Sealed, Sealer, State};
use crate::users::Users;
use crate::{Now, Peer};

/// Bytes of a key of a cluster.
pub const CLUSTER_KEY_LEN: usize = 32;
/// How many ticks the clocks of the servers of a cluster may differ.
pub const SKEW_TICKS: u64 = 2;

/// A key that the servers of a cluster share: 256 random bits. It has no `Debug`, so that it is never shown.
#[derive(Clone)]
pub struct ClusterKey {
    /// The second since 1970-01-01 UTC in which it takes effect.
    pub from_unix_s: u64,
    /// The bits.
    pub bytes: Zeroizing<[u8; CLUSTER_KEY_LEN]>,
}

/// The id of a key of a cluster: 64 bits that follow from it, and do not give it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterKeyId([u8; 8]);

impl fmt::Display for ClusterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&to_hex::<8, 16>(self.0)).unwrap_or_default())
    }
}

impl ClusterKey {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> ClusterKeyId {
        let mut id = [0; 8];
        self.derive(None, b"letmein cluster key id 1", &mut id);
        ClusterKeyId(id)
    }

    /// `salt` goes into the key of states alone.
    fn timed(&self, salt: Option<&[u8]>) -> TimedKey {
        let (mut challenges, mut states) = (Zeroizing::new([0; 16]), Zeroizing::new([0; 32]));
        self.derive(None, b"letmein cluster challenges 1", &mut *challenges);
        self.derive(salt, b"letmein cluster states 1", &mut *states);
        TimedKey::new(self.from_unix_s, &challenges, &states)
    }

    fn of_fleet(&self) -> FleetKey {
        let mut bytes = Zeroizing::new([0; FleetKey::LEN]);
        self.derive(None, b"letmein cluster fleet 1", &mut *bytes);
        FleetKey::new(&bytes)
    }

    /// HKDF-SHA-512 (RFC 5869).
    fn derive(&self, salt: Option<&[u8]>, info: &[u8], key: &mut [u8]) {
        // It fails for more than 16,320 bytes alone.
        let derived = Hkdf::<Sha512>::new(salt, &*self.bytes).expand(info, key);
        debug_assert!(derived.is_ok());
    }
}

/// A key, and the tick in which it takes effect. The epoch follows from the key of states, and does not give it away.
#[derive(Clone)]
struct TimedKey {
    from: u64,
    challenges: Challenges,
    seal: Seal,
    epoch: u64,
}

impl TimedKey {
    fn new(from: u64, challenges: &[u8; 16], states: &[u8; 32]) -> Self {
        let (halves, _) = states.as_chunks::<16>();
        let epoch = halves.iter().fold(0, |epoch, half| {
            let mut hash = SipHasher24::new_with_key(half);
            hash.write_u64(epoch);
            hash.finish()
        });
        Self { from, challenges: Challenges::new(challenges), seal: Seal::new(states), epoch }
    }
}

/// The keys of a cluster, in the order of their times. It has no `Debug`, so that they are never shown.
pub struct Keyring {
    keys: Vec<TimedKey>,
    /// Those of the same keys, for what servers tell each other.
    of_fleet: Vec<FleetKey>,
    ids: Vec<(u64, ClusterKeyId)>,
}

impl Keyring {
    /// A ring of these keys. Of two for the same second, that which is later in the list takes effect. States are
    /// sealed under both the present key and that of the records: who can open one can log in as whom it is for.
    #[must_use]
    pub fn new(mut keys: Vec<ClusterKey>, key_of_records: Option<&ServerKey>) -> Self {
        keys.sort_by_key(|key| key.from_unix_s);
        let ids = keys.iter().map(|key| (key.from_unix_s, key.id())).collect();
        let salt = key_of_records.map(ServerKey::state_salt);
        let timed = |key: &ClusterKey| key.timed(salt.as_ref().map(|salt| salt.as_slice()));
        let of_fleet = keys.iter().map(ClusterKey::of_fleet).collect();
        Self { keys: keys.iter().map(timed).collect(), of_fleet, ids }
    }

    /// When each key takes effect, in seconds since 1970-01-01 UTC, and its id.
    #[must_use]
    pub fn ids(&self) -> &[(u64, ClusterKeyId)] {
        &self.ids
    }

    /// The id of the key that is active at a second since 1970; `None` before the first.
    #[must_use]
    pub fn active(&self, unix_s: u64) -> Option<ClusterKeyId> {
        self.ids.iter().rfind(|(from, _)| *from <= unix_s).map(|(_, id)| *id)
    }

    /// The key under which servers seal what they tell each other, at a second since 1970; `None` before the first.
    pub(crate) fn fleet_key(&self, unix_s: u64) -> Option<&FleetKey> {
        let of_keys = self.keys.iter().zip(&self.of_fleet);
        of_keys.rev().find(|(key, _)| key.from <= unix_s).map(|(_, of_fleet)| of_fleet)
    }

    /// The keys at a tick; `None` before the first.
    fn at(&self, tick: u64) -> Option<KeysAt<'_>> {
        let present = self.keys.iter().rfind(|key| key.from <= tick)?;
        Some(KeysAt { keys: &self.keys, present, tick, are_shared: true })
    }
}

/// The keys that a server draws for itself, whose ticks are those of its uptime.
#[derive(Clone)]
pub(crate) struct OwnKeys(TimedKey);

impl OwnKeys {
    pub(crate) fn new(keys: &Keys) -> Self {
        Self(TimedKey::new(0, &keys.challenges, &keys.states))
    }

    pub(crate) fn at(&self, uptime: Duration) -> KeysAt<'_> {
        let Self(key) = self;
        KeysAt { keys: slice::from_ref(key), present: key, tick: tick(uptime), are_shared: false }
    }

    /// The shared keys, where there are any that are active now; else its own.
    pub(crate) fn or_shared<'k>(&'k self, users: &'k Users, now: Now) -> KeysAt<'k> {
        let shared = users.keyring().zip(now.cluster_s);
        shared.and_then(|(keyring, tick)| keyring.at(tick)).unwrap_or_else(|| self.at(now.uptime))
    }
}

/// The keys at a tick.
#[derive(Clone, Copy)]
pub(crate) struct KeysAt<'k> {
    keys: &'k [TimedKey],
    /// That of the tick.
    present: &'k TimedKey,
    tick: u64,
    are_shared: bool,
}

impl<'k> KeysAt<'k> {
    /// Whether other servers have them, too.
    pub(crate) fn are_shared(&self) -> bool {
        self.are_shared
    }

    /// Tells the present key of states from others.
    pub(crate) fn epoch(&self) -> u64 {
        self.present.epoch
    }

    /// The challenge for a peer. It is the same throughout a tick.
    pub(crate) fn issue(&self, peer: Peer, purpose: Purpose) -> Challenge {
        self.present.challenges.of(peer, purpose.mark()).at(self.tick)
    }

    /// The challenges that this peer may still answer, newest first.
    pub(crate) fn live(
        &self,
        peer: Peer,
        purpose: Purpose,
    ) -> impl Iterator<Item = Challenge> + Clone + use<'k> {
        self.live_marked(peer, purpose.mark())
    }

    /// The purpose of a challenge; `None` if it was not issued to this peer, or has expired.
    pub(crate) fn redeem(&self, peer: Peer, challenge: Challenge) -> Option<Purpose> {
        let requests = Dialect::ALL.into_iter().map(Purpose::Request);
        requests
            .chain([Purpose::Renewal])
            .find(|purpose| self.live(peer, *purpose).any(|live| live == challenge))
    }

    /// The challenge for a peer who is to begin a login by OPAQUE.
    pub(crate) fn issue_opaque(&self, peer: Peer) -> Challenge {
        self.present.challenges.of(peer, OPAQUE_MARK).at(self.tick)
    }

    /// Whether a challenge for OPAQUE was issued to this peer, and has not expired.
    pub(crate) fn is_live_opaque(&self, peer: Peer, challenge: Challenge) -> bool {
        self.live_marked(peer, OPAQUE_MARK).any(|live| live == challenge)
    }

    /// Seals a login that an offer was made for.
    pub(crate) fn seal(
        &self,
        owner: Owner<'_>,
        sealer: Sealer,
        offered: Offered,
        pending: &Pending,
        random: &mut impl RngCore,
    ) -> State {
        let sealed = Sealed { tick: self.tick, sealer, offered };
        self.present.seal.seal(owner, sealed, pending, random)
    }

    /// Opens a state that was sealed for this owner, not too long ago.
    pub(crate) fn open(&self, owner: Owner<'_>, state: &State) -> Option<(Sealed, Pending)> {
        let ticks = self.ticks(seal::LIFE_TICKS);
        self.parts(ticks.clone()).find_map(|(key, _)| key.seal.open(owner, &ticks, state))
    }

    /// The ticks in which something may have been issued that is good for `life` ticks.
    fn ticks(&self, life: u64) -> RangeInclusive<u64> {
        let skew = if self.are_shared { SKEW_TICKS } else { 0 };
        self.tick.saturating_sub(life - 1 + skew)..=self.tick.saturating_add(skew)
    }

    fn live_marked(&self, peer: Peer, mark: u8) -> impl Iterator<Item = Challenge> + Clone + use<'k> {
        self.parts(self.ticks(LIFE_TICKS)).flat_map(move |(key, ticks)| {
            let of_peer = key.challenges.of(peer, mark);
            ticks.rev().map(move |tick| of_peer.at(tick))
        })
    }

    /// The keys that are active in some of these ticks, each with those, newest first.
    fn parts(
        &self,
        ticks: RangeInclusive<u64>,
    ) -> impl Iterator<Item = (&'k TimedKey, RangeInclusive<u64>)> + Clone + use<'k> {
        let ends = self.keys.iter().rev().map(|later| later.from.saturating_sub(1));
        self.keys.iter().rev().zip(iter::once(u64::MAX).chain(ends)).filter_map(move |(key, end)| {
            let part = key.from.max(*ticks.start())..=end.min(*ticks.end());
            (!part.is_empty()).then_some((key, part))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::array;
    use std::net::{Ipv4Addr, SocketAddr};

    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::opaque::session::{KE3_LEN, SESSION_KEY_LEN};
    use crate::server::penalty::Rank;
    use crate::transport::Transport;

    const SEALER: Sealer = Sealer::from_random(1 << 50);
    const WORDS: Purpose = Purpose::Request(Dialect::Words);

    fn key(from_unix_s: u64, byte: u8) -> ClusterKey {
        ClusterKey { from_unix_s, bytes: Zeroizing::new([byte; CLUSTER_KEY_LEN]) }
    }

    fn ring(keys: Vec<ClusterKey>) -> Keyring {
        Keyring::new(keys, None)
    }

    fn peer() -> Peer {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)).into()
    }

    /// Whether a challenge that one server issues at a tick is good at another one's tick.
    fn is_good(issuer: &Keyring, at: u64, redeemer: &Keyring, then: u64) -> bool {
        let issued = issuer.at(at).unwrap().issue(peer(), WORDS);
        redeemer.at(then).unwrap().redeem(peer(), issued) == Some(WORDS)
    }

    #[test]
    fn a_challenge_is_good_at_every_server_with_its_key_for_16_ticks_and_2_of_skew() {
        let (ring, other) = (ring(vec![key(0, 1)]), ring(vec![key(0, 2)]));
        let good: Vec<_> = (950..1050).filter(|then| is_good(&ring, 1000, &ring, *then)).collect();
        assert_eq!(good, (998..=1017).collect::<Vec<_>>());
        assert!(!is_good(&ring, 1000, &other, 1000));
    }

    #[test]
    fn while_a_key_takes_the_place_of_another_every_challenge_is_good() {
        let both = ring(vec![key(1000, 2), key(0, 1)]);
        for issued in 980..1020 {
            for then in issued - 2..=issued + 17 {
                assert!(is_good(&both, issued, &both, then), "{issued} {then}");
            }
            let old = ring(vec![key(0, 1)]);
            assert_eq!(is_good(&both, issued, &old, issued), issued < 1000, "{issued}");
        }
    }

    #[test]
    fn no_key_is_active_before_its_second() {
        let ring = ring(vec![key(1000, 1)]);
        assert!(ring.at(999).is_none() && ring.at(1000).is_some());
        let ids = ring.ids();
        assert_eq!((ids[0].0, ids[0].1.to_string().len()), (1000, 16));
        assert_ne!(key(0, 1).id(), key(0, 2).id());
    }

    /// Servers of different versions may share keys.
    #[test]
    fn what_follows_from_a_key_is_the_same_in_every_version() {
        let bytes = Zeroizing::new(array::from_fn(|index| index as u8));
        let key = ClusterKey { from_unix_s: 0, bytes };
        let challenge = ring(vec![key.clone()]).at(1_767_225_600).unwrap().issue(peer(), WORDS);
        let states = hex_of(|states| key.derive(Some(&[5; 32]), b"letmein cluster states 1", states));
        assert_eq!(
            [&*key.id().to_string(), &challenge.to_string()],
            ["88244fb1570a4656", "5830b94e5b7054d8"]
        );
        assert_eq!(states, "c49b4db888351caf09da78d46fb9ab081eb4bc05ca151613c429aea9823d06e4");
    }

    fn hex_of(fill: impl FnOnce(&mut [u8])) -> String {
        let mut bytes = [0; 32];
        fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_state_is_opened_with_both_its_keys_alone() {
        let records = [5, 6].map(|seed| ServerKey::generate(&mut ChaCha20Rng::from_seed([seed; 32])));
        let ring = |byte, records: Option<&ServerKey>| Keyring::new(vec![key(0, byte)], records);
        let owner = Owner { transport: Transport::Udp, peer: peer(), name: "alice" };
        let pending = Pending::new(&[2; SESSION_KEY_LEN], &[3; KE3_LEN]);
        let offered = Offered { rank: Rank::Known, fake: None };
        let sealing = ring(1, Some(&records[0]));
        let random = &mut ChaCha20Rng::from_seed([7; 32]);
        let state = sealing.at(1000).unwrap().seal(owner, SEALER, offered, &pending, random);
        for (opening, is_opened) in [
            (ring(1, Some(&records[0])), true),
            (ring(1, Some(&records[1])), false),
            (ring(1, None), false),
            (ring(2, Some(&records[0])), false),
        ] {
            assert_eq!(opening.at(1000).unwrap().open(owner, &state).is_some(), is_opened);
        }
    }

    fn any_purpose() -> impl Strategy<Value = Purpose> {
        let requests = Dialect::ALL.map(Purpose::Request);
        prop::sample::select([&requests[..], &[Purpose::Renewal]].concat())
    }

    proptest! {
        /// Whatever the key, the time and the peer: only the peer of a challenge can redeem it, for its own purpose,
        /// for 16 ticks, and under the same key.
        #[test]
        fn a_challenge_is_its_peers_and_its_times_alone(
            keys: [[u8; 16]; 2],
            peers: [(std::net::Ipv6Addr, u16); 2],
            purpose in any_purpose(),
            issued_s in LIFE_TICKS..1_000_000_000,
            later_s in 0..40_u64,
        ) {
            let [peer, other] = peers.map(|peer| Peer::from(SocketAddr::from(peer)));
            let [own, others] = keys.map(|key| OwnKeys::new(&Keys { challenges: key, ..Keys::known(1) }));
            let challenge = own.at(Duration::from_secs(issued_s)).issue(peer, purpose);
            let later = Duration::from_secs(issued_s + later_s);
            let known = (later_s < LIFE_TICKS).then_some(purpose);
            prop_assert_eq!(own.at(later).redeem(peer, challenge), known);
            prop_assert_eq!(own.at(later).live(peer, purpose).any(|live| live == challenge), known.is_some());
            prop_assert_eq!(own.at(Duration::from_secs(issued_s - 1)).redeem(peer, challenge), None);
            if peer.mark() != other.mark() {
                prop_assert_eq!(own.at(later).redeem(other, challenge), None);
            }
            if keys[0] != keys[1] {
                prop_assert_eq!(others.at(later).redeem(peer, challenge), None);
            }
            prop_assert_eq!(Challenge::from_digits(&challenge.digits()), Some(challenge));
        }
    }
}
