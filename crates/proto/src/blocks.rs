//! How long failed logins block, which clients tell their users, too.

use std::time::Duration;

/// The length of a first block; each further block is twice as long.
pub const FIRST_BLOCK: Duration = Duration::from_secs(15);
/// The length of the longest block.
pub const LONGEST_BLOCK: Duration = Duration::from_secs(600);
