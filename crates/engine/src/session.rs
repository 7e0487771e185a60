//! A connection to the database, on which every answer has a time limit.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, RowStream, Socket};

use crate::error::EngineError;
use crate::settings::Settings;

/// How long a connection, or the answer to a statement, may take. The protocol has no limit of its own.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Limits in the database, a little shorter: nothing goes on, or keeps others waiting, after we have given up.
pub(crate) const LOCK_LIMIT: &str = "SET LOCAL lock_timeout = '4s'";
/// The second of these is for a client that has stopped or vanished, and would keep the lock on head.
pub(crate) const STATEMENT_LIMIT: &str =
    "SET LOCAL statement_timeout = '4500ms'; SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// A value for a statement, and its type. Told beforehand, types save a round trip, and no statement is left prepared,
/// which a pool between us and the database would mix up.
pub type Parameter<'v> = (&'v (dyn ToSql + Sync), Type);

/// A connection to the database. It needs a runtime with I/O and time.
pub struct Session {
    client: Client,
    connection: AbortHandle,
    /// The first error, after which no transaction may be committed: the database would undo it and call that success.
    first_error: RefCell<Option<EngineError>>,
}

impl Session {
    /// Connects to the first host that lets us in. All share the time limit, so one that hangs leaves time for the
    /// next.
    ///
    /// # Errors
    /// Whatever keeps it from connecting to the last host, within the time limit.
    pub async fn open(settings: &Settings) -> Result<Self, EngineError> {
        let hosts = settings.hosts();
        let limit = TIME_LIMIT / u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let mut last = EngineError::ConnectTimedOut;
        for host in hosts {
            let connected = match settings.tls.clone() {
                Some(tls) => timeout(limit, connect(host, tls)).await,
                None => timeout(limit, connect(host, NoTls)).await,
            };
            last = match connected {
                Ok(Ok((client, connection))) => {
                    return Ok(Self { client, connection, first_error: RefCell::new(None) });
                }
                Ok(Err(error)) => EngineError::of_connecting(&error),
                Err(_) => EngineError::ConnectTimedOut,
            };
        }
        Err(last)
    }

    /// Runs a statement, and gives the rows that it returns.
    ///
    /// # Errors
    /// Why it did not run, or that it is not known whether it did.
    pub async fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, EngineError> {
        self.noted(limited(self.client.query_typed(sql, parameters)).await)
    }

    /// Runs a statement, and gives the rows one by one. Whoever takes them limits their time.
    pub(crate) async fn stream(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<RowStream, EngineError> {
        let parameters = parameters.iter().map(|(value, kind)| (*value, kind.clone()));
        self.noted(limited(self.client.query_typed_raw(sql, parameters)).await)
    }

    /// Runs a statement that gives one row.
    ///
    /// # Errors
    /// As for [`Session::rows`], or if it gives another number of rows.
    pub async fn row(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Row, EngineError> {
        self.noted(limited(self.client.query_typed_one(sql, parameters)).await)
    }

    /// Runs statements without parameters.
    ///
    /// # Errors
    /// As for [`Session::rows`].
    pub async fn batch(&self, sql: &str) -> Result<(), EngineError> {
        self.long_batch(sql, TIME_LIMIT).await
    }

    /// The same, with a time limit of its own.
    pub(crate) async fn long_batch(&self, sql: &str, limit: Duration) -> Result<(), EngineError> {
        let answer = timeout(limit, self.client.batch_execute(sql)).await;
        self.noted(answer.map_err(|_| EngineError::TimedOut(limit)))
    }

    /// The first error that this session has met.
    pub(crate) fn first_error(&self) -> Result<(), EngineError> {
        self.first_error.borrow().clone().map_or(Ok(()), Err)
    }

    fn noted<T>(
        &self,
        answer: Result<Result<T, tokio_postgres::Error>, EngineError>,
    ) -> Result<T, EngineError> {
        let answer = answer.and_then(|answer| Ok(answer?));
        if let Err(error) = &answer {
            self.first_error.borrow_mut().get_or_insert_with(|| error.clone());
        }
        answer
    }
}

impl Drop for Session {
    /// Left to itself, the connection would wait for all answers, and a database that hangs gives none.
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The connection runs beside its client. Its errors reach whoever waits for an answer.
async fn connect<T>(config: &Config, tls: T) -> Result<(Client, AbortHandle), tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static>,
{
    let (client, connection) = config.connect(tls).await?;
    Ok((client, tokio::spawn(connection).abort_handle()))
}

async fn limited<T>(answer: impl Future<Output = T>) -> Result<T, EngineError> {
    timeout(TIME_LIMIT, answer).await.map_err(|_| EngineError::TimedOut(TIME_LIMIT))
}
