//! How a name is found in a base and an overlay: by the same steps, whichever has it.

use std::hint::{black_box, select_unpredictable};

use subtle::{Choice, ConstantTimeEq};

use super::Users;
use super::conditions::Conditions;
use super::found::Found;
use super::layer::Layer;
use super::store::Lookup;
use crate::mechanism::Mechanism;

/// Names that are prefetched at a time: those of a batch of datagrams.
const PREFETCH_MAX: usize = 64;
/// Up to this many users fit in the processor's caches, and need no prefetch.
const CACHED_MAX: usize = 4096;

/// The result of a search.
#[derive(Clone, Copy)]
pub(super) struct Hit<'a> {
    pub(super) record: Lookup<'a>,
    /// Whether a user has the name, and this is the record. Otherwise it is another user's, or stands for a user who is
    /// removed.
    pub(super) is_user: Choice,
    pub(super) places: Places<'a>,
}

/// Where the searches of a name in the base and in the overlay end. What is known of a user is looked up at both, so
/// that a user of either and an unknown name touch the same memory.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    base: Place<'a>,
    overlay: Option<Place<'a>>,
    /// Whether the one in the overlay counts.
    is_overlay: Choice,
}

/// A record in a layer.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) layer: &'a Layer,
    /// The offset of the record.
    pub(super) start: u32,
    /// How many users were added before this one.
    pub(super) number: u32,
}

impl<'a> Hit<'a> {
    /// The passwords and the record of OPAQUE, of which some are empty.
    pub(super) fn credentials(&self) -> [&'a [u8]; 3] {
        [self.record.password, self.record.old_password, self.record.opaque]
    }
}

impl<'a> Places<'a> {
    /// Asks at both places, and gives the result of the one that counts.
    pub(super) fn select<T: Copy>(&self, ask: impl Fn(&Place<'a>) -> T) -> T {
        let of_base = ask(&self.base);
        let of_overlay = self.overlay.map(|place| ask(&place));
        of_overlay.map_or(of_base, |it| select_unpredictable(self.is_overlay.into(), it, of_base))
    }

    /// Does the same at both places; a choice says which counts.
    pub(super) fn for_both(&self, act: impl Fn(&Place<'a>, Choice)) {
        act(&self.base, !self.is_overlay);
        if let Some(place) = &self.overlay {
            act(place, self.is_overlay);
        }
    }

    /// The place that counts.
    pub(super) fn selected(&self) -> Place<'a> {
        Place {
            layer: self.select(|place| place.layer),
            start: self.select(|place| place.start),
            number: self.select(|place| place.number),
        }
    }

    /// The conditions of the user's logins, if there are any.
    pub(super) fn conditions(&self) -> Option<&'a Conditions> {
        self.select(|Place { layer, start, number: _ }| layer.conditions.get(start))
    }

    /// The first second since 1970-01-01 UTC in which the user's old password is refused, if there is one.
    pub(super) fn old_end_unix_s(&self) -> Option<u64> {
        self.select(|Place { layer, start, number: _ }| layer.old_ends_unix_s.get(start).copied())
    }
}

impl<'a> Place<'a> {
    fn new(layer: &'a Layer, record: &Lookup<'a>) -> Self {
        Self { layer, start: record.start, number: record.number }
    }
}

impl Users {
    /// Looks for the user of this name who logs in by this mechanism. The time does not tell whether there is one.
    pub(crate) fn find<'a>(&'a self, name: &'a str, mechanism: Mechanism) -> Found<'a> {
        let Hit { record, is_user, places } = self.search(name);
        let Lookup { password, old_password, opaque, .. } = record;
        let credential = match mechanism {
            Mechanism::Md5 => password,
            Mechanism::Opaque => opaque,
        };
        Found {
            name,
            is_known: is_user & !credential.len().ct_eq(&0),
            is_judged: Choice::from(1),
            is_suspended: self.suspension.is_on(),
            password,
            old_password,
            opaque,
            users: self,
            places,
        }
    }

    /// The user of this name, whatever mechanism they log in by.
    pub(crate) fn owner<'a>(&'a self, name: &'a str) -> Option<Found<'a>> {
        let found = [Mechanism::Md5, Mechanism::Opaque].map(|mechanism| self.find(name, mechanism));
        found.into_iter().find(|found| found.is_known.into())
    }

    /// Looks for a user in both layers. A record of that name in the overlay counts more than one in the base; a search
    /// for an unknown name ends with a record of the base, unless there is none.
    pub(super) fn search(&self, name: &str) -> Hit<'_> {
        let hash = self.base.store.hash(name);
        let of_base = self.base.store.find(hash, name);
        let of_overlay = self.overlay.as_ref().map(|layer| (layer, layer.store.find(hash, name)));
        let (mut record, mut is_overlay, mut overlay) = (of_base, Choice::from(0), None);
        if let Some((layer, of_overlay)) = of_overlay {
            is_overlay = of_overlay.has_name() | Choice::from(u8::from(self.base.store.count() == 0));
            record = of_base.or(of_overlay, is_overlay);
            overlay = Some(Place::new(layer, &of_overlay));
        }
        let places = Places { base: Place::new(&self.base, &of_base), overlay, is_overlay };
        Hit { record, is_user: record.is_user(), places }
    }

    /// Brings the records of up to 64 names into the cache, where there are more users than stay there by themselves.
    /// What the processor does between two misses is kept short, so that more of them overlap.
    pub fn prefetch<'n>(&self, names: impl Iterator<Item = &'n str>) {
        if self.len() <= CACHED_MAX {
            return;
        }
        let mut hashes = [0; PREFETCH_MAX];
        let mut count = 0;
        for (hash, name) in hashes.iter_mut().zip(names) {
            *hash = self.base.store.hash(name);
            count += 1;
        }
        let hashes = hashes.get(..count).unwrap_or_default();
        for layer in self.layers() {
            touch(hashes.iter().map(|hash| layer.store.touch_slots(*hash)));
        }
        for layer in self.layers() {
            let mut starts = [0; PREFETCH_MAX];
            for (start, hash) in starts.iter_mut().zip(hashes) {
                *start = layer.store.first(*hash);
            }
            touch(starts.iter().take(count).map(|start| layer.store.touch_record(*start)));
        }
    }

    /// Whether a user has this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.search(name).is_user.into()
    }
}

/// Has bytes brought into the cache.
fn touch(bytes: impl Iterator<Item = u8>) {
    black_box(bytes.fold(0, u8::wrapping_add));
}
