//! The users that the service does not answer.

use std::collections::HashMap;
use std::time::Duration;

use super::PAUSE;
use proto::credentials::Username;

/// Users remembered at once. The 64 logins under way leave 320 in a pause if each takes a second, and as many as this
/// if
/// `--timeout` is 0.16 s. Users beyond are not remembered: each of their logins has its place for its time.
const UNANSWERED: usize = 2048;

/// The users that the service has not answered, and the end of each one's pause.
#[derive(Default)]
pub(super) struct Unanswered(HashMap<Username, Duration>);

impl Unanswered {
    /// Whether a user certainly gets no place now.
    pub(super) fn pauses(&self, user: &Username, now: Duration) -> bool {
        self.0.get(user).is_some_and(|until| now < *until)
    }

    /// Whether a user may log in. After each pause one login finds out whether the service answers again.
    pub(super) fn admits(&mut self, user: &Username, now: Duration) -> bool {
        let Some(until) = self.0.get_mut(user) else { return true };
        let is_over = now >= *until;
        if is_over {
            *until = now + PAUSE;
        }
        is_over
    }

    pub(super) fn note(&mut self, user: &Username, now: Duration) {
        if self.0.len() >= UNANSWERED {
            self.0.retain(|_, until| now < *until);
        }
        if self.0.len() < UNANSWERED {
            self.0.insert(user.clone(), now + PAUSE);
        }
    }

    pub(super) fn forget(&mut self, user: &Username) {
        self.0.remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Username {
        format!("name{number}").parse().unwrap()
    }

    #[test]
    fn a_user_without_an_answer_is_tried_once_after_each_pause_until_there_is_one() {
        let (user, mut unanswered) = (name(0), Unanswered::default());
        let mut now = Duration::from_secs(7);
        assert!(unanswered.admits(&user, now));
        unanswered.note(&user, now);
        for _ in 0..3 {
            assert!(!unanswered.admits(&user, now + PAUSE - Duration::from_millis(1)));
            now += PAUSE;
            assert!(unanswered.admits(&user, now));
            assert!(!unanswered.admits(&user, now));
            assert!(unanswered.admits(&name(1), now));
        }
        unanswered.forget(&user);
        assert!(unanswered.admits(&user, now) && unanswered.admits(&user, now));
    }

    #[test]
    fn no_more_than_a_fixed_number_of_users_is_remembered() {
        let mut unanswered = Unanswered::default();
        for number in 0..3 * UNANSWERED {
            let now = PAUSE * (number / UNANSWERED) as u32;
            unanswered.note(&name(number), now);
            assert!(unanswered.0.len() <= UNANSWERED);
            assert!(!unanswered.admits(&name(number), now));
        }
    }
}
