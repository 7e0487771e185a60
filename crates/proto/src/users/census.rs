//! What is counted of users.

use std::collections::BTreeMap;

use super::store::Record;
use crate::mechanism::Mechanisms;
use crate::opaque::stretching::Stretching;

/// Names and passwords of the shipped `users.toml`. They are public.
pub const SAMPLES: [(&str, &str); 3] =
    [("userone", "passwordone"), ("usertwo", "passwordtwo"), ("userthree", "passwordthree")];

/// Numbers of users, of all and of some kinds. Who is removed does not count.
#[derive(Clone, Default)]
pub(super) struct Census {
    pub(super) users: usize,
    /// Users who are not samples.
    pub(super) others: usize,
    pub(super) with_old_password: usize,
    /// The stretchings of records of OPAQUE, and how many users have each.
    pub(super) stretchings: BTreeMap<Stretching, u64>,
}

impl Census {
    pub(super) fn add(&mut self, user: &Record<'_>) {
        if user.is_removed {
            return;
        }
        self.users += 1;
        self.others += usize::from(!is_sample(user));
        self.with_old_password += usize::from(!user.old_password.is_empty());
        if let Some(stretching) = user.stretching() {
            *self.stretchings.entry(stretching).or_default() += 1;
        }
    }

    /// Takes out a user who was counted.
    pub(super) fn take_out(&mut self, user: &Record<'_>) {
        if user.is_removed {
            return;
        }
        self.users -= 1;
        self.others -= usize::from(!is_sample(user));
        self.with_old_password -= usize::from(!user.old_password.is_empty());
        if let Some(stretching) = user.stretching()
            && let Some(count) = self.stretchings.get_mut(&stretching)
        {
            *count -= 1;
            if *count == 0 {
                self.stretchings.remove(&stretching);
            }
        }
    }

    /// The mechanisms by which any user logs in.
    pub(super) fn mechanisms(&self) -> Mechanisms {
        let records = self.stretchings.values().sum::<u64>();
        // A server without users refuses by MD5, as it always did.
        Mechanisms { md5: records == 0 || self.users as u64 > records, opaque: records > 0 }
    }
}

/// Whether this is a user of the shipped file, as they are there.
fn is_sample(user: &Record<'_>) -> bool {
    let is_alike =
        |(name, password): &(&str, &str)| *name == user.name && password.as_bytes() == user.password();
    SAMPLES.iter().any(is_alike) && user.old_password.is_empty()
}

/// Whether a user has a published password, present or old.
pub(super) fn has_sample_password(user: &Record<'_>) -> bool {
    let is_published = |password: &[u8]| SAMPLES.iter().any(|(_, it)| it.as_bytes() == password);
    is_published(user.password()) || is_published(user.old_password)
}
