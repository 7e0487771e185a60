//! How many descriptors this process may have: files, sockets, all that is open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// The limit as it is now.
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize)
}

/// Makes it as high as it may be: a shell often gives 1,024, which is fewer than the TCP connections that are allowed.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!("cannot raise the limit of open files: {error}; going on");
    }
}
