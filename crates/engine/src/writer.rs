//! A change of users, made once whatever becomes of the connection.
//!
//! ```text
//! BEGIN; take the revision with a fresh stamp; the change; COMMIT
//!                                                            └─ no answer: connect again, look for the stamp
//!                                                                 found:     it was made
//!                                                                 not found: make it, with the same stamp
//! ```
//! If the lost transaction is still on its way, taking the revision again waits for its end. If it was committed then,
//! its stamp is there already, and the database refuses it a second time.

use std::convert::Infallible;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::time::sleep;
use tokio_postgres::types::Type;

use crate::error::EngineError;
use crate::migrations::open;
use crate::session::{LOCK_LIMIT, STATEMENT_LIMIT, Session};
use crate::settings::Settings;

/// How often a change is begun.
const ATTEMPTS_MAX: u32 = 6;
/// The wait before the second attempt; each further one is twice as long, so that a restart of the database is bridged.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Makes changes, one after the other.
pub struct Writer<'s> {
    settings: &'s Settings,
    /// The connection, unless something went wrong with it.
    session: Option<Session>,
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<T> {
    /// Its revision.
    pub revision: i64,
    /// What the change gave.
    pub value: T,
}

impl<'s> Writer<'s> {
    /// It connects with the first change.
    #[must_use]
    pub fn new(settings: &'s Settings) -> Self {
        Self { settings, session: None }
    }

    /// Makes a change: `work`, in a transaction that has taken a revision. `what` tells others about it, so it has no
    /// password. `work` runs again if its transaction was undone together with the connection, or because of another
    /// transaction. It begins and ends no transaction itself.
    ///
    /// # Errors
    /// Why it was not made, or [`EngineError::Unsettled`].
    pub async fn change<T>(
        &mut self,
        what: &str,
        work: impl AsyncFn(&Session) -> Result<T, EngineError>,
    ) -> Result<Changed<T>, EngineError> {
        let decided = self.decide(what, async |session| work(session).await.map(Ok::<T, Infallible>)).await?;
        let Ok(changed) = decided;
        Ok(changed)
    }

    /// The same, unless `work` decides against it: then everything stays as it was.
    ///
    /// # Errors
    /// As for [`Writer::change`]. Inside, what `work` has against it.
    pub async fn decide<T, R>(
        &mut self,
        what: &str,
        work: impl AsyncFn(&Session) -> Result<Result<T, R>, EngineError>,
    ) -> Result<Result<Changed<T>, R>, EngineError> {
        let mut change = Change { stamp: fresh_stamp()?, what, work, unsettled: None };
        let mut wait = FIRST_WAIT;
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(&mut change).await {
                Err(error) if change.is_worth_another_attempt(&error) => {
                    sleep(wait).await;
                    wait *= 2;
                }
                ended => return ended,
            }
        }
        self.attempt(&mut change).await.map_err(|error| change.given_up(error))
    }

    async fn attempt<T, R, W: AsyncFn(&Session) -> Result<Result<T, R>, EngineError>>(
        &mut self,
        change: &mut Change<'_, T, W>,
    ) -> Result<Result<Changed<T>, R>, EngineError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => open(self.settings).await?,
        };
        let decided = change.run(&session).await?;
        // ROLLBACK may have failed.
        self.session = session.first_error().is_ok().then_some(session);
        Ok(decided)
    }
}

/// A change, until it is known whether it was made.
struct Change<'w, T, W> {
    stamp: String,
    what: &'w str,
    work: W,
    /// What `work` gave, if there was no answer to COMMIT.
    unsettled: Option<T>,
}

impl<T, R, W: AsyncFn(&Session) -> Result<Result<T, R>, EngineError>> Change<'_, T, W> {
    /// Makes the change, unless it turns out to be made, or `work` decides against it.
    async fn run(&mut self, session: &Session) -> Result<Result<Changed<T>, R>, EngineError> {
        if self.unsettled.is_some()
            && let Some(revision) = self.revision(session).await?
            && let Some(value) = self.unsettled.take()
        {
            return Ok(Ok(Changed { revision, value }));
        }
        // Under the lock on head it sees what the transactions before it have done.
        session
            .batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {LOCK_LIMIT}; {STATEMENT_LIMIT}"))
            .await?;
        let sql = "SELECT letmein.take_revision($1::uuid, $2)";
        let stamp = (&self.stamp as _, Type::TEXT);
        let revision = session.row(sql, &[stamp, (&self.what, Type::TEXT)]).await?.get(0);
        // The database has taken the stamp, so the transaction before, if there was one, is undone.
        self.unsettled = None;
        let decided = (self.work)(session).await?;
        session.first_error()?;
        let value = match decided {
            Ok(value) => value,
            Err(refusal) => {
                // If it fails, the database undoes the transaction with the session.
                let _ = session.batch("ROLLBACK").await;
                return Ok(Err(refusal));
            }
        };
        match session.batch("COMMIT").await {
            Ok(()) => Ok(Ok(Changed { revision, value })),
            Err(error @ EngineError::Refused { .. }) => Err(error),
            Err(error) => {
                self.unsettled = Some(value);
                Err(error)
            }
        }
    }

    /// The revision of the change, if it was made.
    async fn revision(&self, session: &Session) -> Result<Option<i64>, EngineError> {
        let sql = "SELECT revision FROM letmein.changes WHERE stamp = $1::uuid";
        let rows = session.rows(sql, &[(&self.stamp, Type::TEXT)]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    fn is_worth_another_attempt(&self, error: &EngineError) -> bool {
        self.unsettled.is_some() || error.is_lost() || error.is_conflict()
    }

    fn given_up(&self, error: EngineError) -> EngineError {
        match self.unsettled {
            Some(_) => EngineError::Unsettled(Box::new(error), self.stamp.clone()),
            None => error,
        }
    }
}

/// A UUID for a change, as text.
fn fresh_stamp() -> Result<String, EngineError> {
    let random = SysRng.try_next_u64().and_then(|high| Ok((high, SysRng.try_next_u64()?)));
    let (high, low) = random.map_err(|error| EngineError::NoRandomness(error.to_string()))?;
    Ok(format!("{high:016x}{low:016x}"))
}
