//! How a name is found in a base and an overlay: by the same steps, whichever has it.

use std::hint::black_box;

use subtle::{Choice, ConstantTimeEq};

use super::conditions::Conditions;
use super::found::Found;
use super::layer::Layer;
use super::store::Lookup;
use super::{Overlay, Users};
use crate::mechanism::Mechanism;

/// Names that are prefetched at a time: those of a batch of datagrams.
const PREFETCH_MAX: usize = 64;
/// Up to this many users fit in the processor's caches, and need no prefetch.
const CACHED_MAX: usize = 4096;

/// The record that a search ends with.
#[derive(Clone, Copy)]
pub(super) struct Hit<'a> {
    /// Where the record is.
    pub(super) layer: &'a Layer,
    pub(super) record: Lookup<'a>,
    /// Whether a user has the name, and this is the record. Otherwise it is another user's, or stands for a user who is
    /// removed.
    pub(super) is_user: Choice,
}

impl<'a> Hit<'a> {
    /// The passwords and the record of OPAQUE, of which some are empty.
    pub(super) fn credentials(&self) -> [&'a [u8]; 3] {
        [self.record.password, self.record.old_password, self.record.opaque]
    }

    /// The conditions of the user's logins, if there are any.
    pub(super) fn conditions(&self) -> Option<&'a Conditions> {
        self.layer.conditions.get(&self.record.start)
    }

    /// The first second since 1970-01-01 UTC in which the user's old password is refused, if there is one.
    pub(super) fn old_end_unix_s(&self) -> Option<u64> {
        self.layer.old_ends_unix_s.get(&self.record.start).copied()
    }
}

impl Users {
    /// Looks for the user of this name who logs in by this mechanism. The time does not tell whether there is one.
    pub(crate) fn find<'a>(&'a self, name: &'a str, mechanism: Mechanism) -> Found<'a> {
        let Hit { layer, record, is_user } = self.search(name);
        let Lookup { is_match: _, has_name: _, start, number, password, old_password, opaque } = record;
        let credential = match mechanism {
            Mechanism::Md5 => password,
            Mechanism::Opaque => opaque,
        };
        Found {
            name,
            is_known: is_user & !credential.len().ct_eq(&0),
            is_judged: Choice::from(1),
            record: start,
            number,
            password,
            old_password,
            opaque,
            users: self,
            layer,
        }
    }

    /// Looks for a user in the layer that has the name, as the filter tells: so a search in two layers touches no more
    /// memory than one in the base alone, but for the filter. That for an unknown name ends with a record of the base.
    pub(super) fn search(&self, name: &str) -> Hit<'_> {
        let hash = self.base.store.hash(name);
        let (layer, is_overlay) = self.layer_of(hash);
        let record = layer.store.find(hash, name);
        let is_elsewhere = is_overlay & !record.has_name.unwrap_u8();
        if is_elsewhere != 0 && self.base.store.count() > 0 {
            // The filter was wrong, as it seldom is. That tells no more than that the overlay does not have the name.
            let record = self.base.store.find(hash, name);
            return Hit { layer: &self.base, record, is_user: record.is_match };
        }
        Hit { layer, record, is_user: record.is_match }
    }

    /// The layer in which a search begins, and 1 if that is the overlay. The time does not tell which. If there is
    /// nobody in the base, nothing there could stand in for an unknown name.
    fn layer_of(&self, hash: u64) -> (&Layer, u8) {
        let base = &*self.base;
        let Some(Overlay { layer: overlay, filter }) = &self.overlay else { return (base, 0) };
        let is_overlay = filter.may_have(hash).unwrap_u8() | u8::from(base.store.count() == 0);
        let layer = [base, overlay].get(usize::from(is_overlay)).copied().unwrap_or(base);
        (layer, is_overlay)
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
        if let Some(Overlay { filter, .. }) = &self.overlay {
            touch(hashes.iter().map(|hash| filter.touch(*hash)));
        }
        let mut layers = [&*self.base; PREFETCH_MAX];
        for (layer, hash) in layers.iter_mut().zip(hashes) {
            *layer = self.layer_of(*hash).0;
        }
        touch(layers.iter().zip(hashes).map(|(layer, hash)| layer.store.touch_slots(*hash)));
        let mut starts = [0; PREFETCH_MAX];
        for (start, (layer, hash)) in starts.iter_mut().zip(layers.iter().zip(hashes)) {
            *start = layer.store.first(*hash);
        }
        touch(starts.iter().zip(layers).take(count).map(|(start, layer)| layer.store.touch_record(*start)));
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
