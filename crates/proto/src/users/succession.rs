//! What a snapshot has in common with the one before it: what is known of its users, and who has changed.

use std::sync::Arc;

use super::Users;

impl Users {
    /// Takes over the guesses at users who are in both snapshots, and the exemptions that were earned by a password
    /// that they still have. Those of an old password may outlive its last day, by a day at most.
    ///
    /// Snapshots of one base share what is known of users who are in neither overlay. Only the overlays are walked.
    pub fn adopt(&self, old: &Self) {
        if self.shares_base_of(old) {
            self.names_that_may_differ(old).for_each(|name| self.adopt_user(old, name));
        } else {
            let marked = old.users_who(|layer, record| layer.is_marked(record.number));
            marked.for_each(|(_, record)| self.adopt_user(old, record.name));
        }
    }

    fn adopt_user(&self, old: &Self, name: &str) {
        let [own, before] = [self, old].map(|users| users.search(name));
        let [layer, others] = [own, before].map(|hit| hit.places.selected().layer);
        if bool::from(own.is_user & before.is_user) && others.is_marked(before.record.number) {
            layer.adopt(&own.record, others, &before.record);
        }
    }

    /// The names of all users who were added, removed or changed, each once, and perhaps of others: first those of this
    /// snapshot, then those of the old one alone. If both have one base, these are the names in the overlays.
    pub fn names_that_may_differ<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = &'a str> {
        let common = usize::from(self.shares_base_of(old));
        let names = move |users: &'a Self| {
            users.layers().skip(common).flat_map(move |layer| {
                layer.store.iter().map(|record| record.name).filter(move |name| users.is_last(layer, name))
            })
        };
        let is_new = move |name: &&str| !self.layers().skip(common).any(|layer| layer.has(name));
        names(self).chain(names(old).filter(is_new))
    }

    /// Whether a user has the same passwords and conditions in both snapshots; `None` if one of them has no such user.
    #[must_use]
    pub fn is_unchanged(&self, other: &Self, name: &str) -> Option<bool> {
        let [own, others] = [self, other].map(|users| users.search(name));
        let is_same = || {
            own.credentials() == others.credentials()
                && own.places.old_end_unix_s() == others.places.old_end_unix_s()
                && own.places.conditions() == others.places.conditions()
        };
        bool::from(own.is_user & others.is_user).then(is_same)
    }

    fn shares_base_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
    }
}
