//! The priority of work that must not delay logins.

use rustix::process::setpriority_process;
use tracing::warn;

/// The highest nice value: the scheduler gives it 15 for each 1,024 of a thread of the usual priority (sched(7)).
const NICEST: i32 = 19;

/// Gives this thread, and those that it starts, what processor time the logins leave. If the priority cannot be
/// lowered, it works all the same.
pub(crate) fn yield_to_logins() {
    // On Linux this applies to the calling thread alone: setpriority(2).
    if let Err(error) = setpriority_process(None, NICEST) {
        warn!(
            "a thread that should give way to logins may delay them, since its priority stays as it is: {error}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn a_thread_yields_to_logins_and_no_other_thread_does() {
        let before = getpriority_process(None).unwrap();
        let nice = thread::spawn(|| {
            yield_to_logins();
            getpriority_process(None).unwrap()
        });
        assert_eq!(nice.join().unwrap(), NICEST);
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
