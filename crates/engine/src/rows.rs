//! Users as rows: read, and written in the transaction of a writer.
//!
//! Nothing here checks names and passwords: a CHECK that is violated shows the row in the log of the database, so
//! whoever writes has done that before.

use std::collections::HashSet;

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use zeroize::Zeroizing;

use crate::error::EngineError;
use crate::session::Session;

/// The most networks that a user may have.
pub const NETWORKS_MAX: usize = 64;
/// How many rows a statement reads or writes. With their triggers, they take a tenth of its time limit.
const ROWS_A_STATEMENT: usize = 5_000;

/// A user, as the database has them.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The name.
    pub name: String,
    /// The password, unless there is a record.
    pub password: Option<Zeroizing<String>>,
    /// The record in its place.
    pub opaque: Option<Zeroizing<String>>,
    /// Whether the user is refused.
    pub disabled: bool,
    /// The last good day, as in 2027-01-31. Where rules were dropped, it may be no day.
    pub expires: Option<String>,
    /// From where the user may log in, each with the length of its prefix; empty for anywhere. Where rules were
    /// dropped, one may be no network.
    pub networks: Vec<String>,
}

/// A name and a password that are to be written.
pub type LoginText<'t> = (&'t str, &'t str);

/// Two users who could each log in as the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EqualLogins {
    /// The one who is to be written.
    pub name: String,
    /// The one who is there.
    pub other: String,
}

/// The columns of a user, as [`UserRow::new`] reads them. Days without end have no other text.
const COLUMNS: &str = "name, password, opaque, disabled, CASE WHEN pg_catalog.isfinite(expires) \
    THEN pg_catalog.to_char(expires::timestamp, 'YYYY-MM-DD') ELSE expires::text END, networks::text[]";

/// The rows of the six arrays that `write` gives.
const NEW: &str = "SELECT name, password, opaque, disabled, expires::date, networks::cidr[] \
    FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), \
    pg_catalog.unnest($5), pg_catalog.unnest($6)) AS new(name, password, opaque, disabled, expires, networks)";

impl UserRow {
    fn new(row: &Row) -> Self {
        let secret = |column| row.get::<_, Option<&str>>(column).map(|text| Zeroizing::new(text.to_owned()));
        Self {
            name: row.get(0),
            password: secret(1),
            opaque: secret(2),
            disabled: row.get(3),
            expires: row.get(4),
            networks: networks(row.get(5)),
        }
    }
}

/// One that is missing is left in its place, as no network: without it, the user might log in from anywhere.
fn networks(networks: Option<Vec<Option<String>>>) -> Vec<String> {
    let network = |network: Option<String>| network.unwrap_or_else(|| "NULL".into());
    networks.unwrap_or_default().into_iter().map(network).collect()
}

/// The users of these names, and those whose names may be one of them in another form.
///
/// # Errors
/// Why the database does not tell.
pub async fn find_users(session: &Session, names: &[&str]) -> Result<Vec<UserRow>, EngineError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM letmein.users WHERE name = ANY ($1) \
         UNION ALL \
         SELECT {COLUMNS} FROM letmein.users WHERE name IS NOT NFKC NORMALIZED AND NOT name = ANY ($1) \
         AND normalize(name, NFKC) IN (SELECT normalize(it, NFKC) FROM pg_catalog.unnest($1) AS it)"
    );
    let mut users = Vec::new();
    for names in names.chunks(ROWS_A_STATEMENT) {
        let rows = session.rows(&sql, &[(&names, Type::TEXT_ARRAY)]).await?;
        users.extend(rows.iter().map(UserRow::new));
    }
    Ok(users)
}

/// All users at one time, in the order of their names.
///
/// # Errors
/// Why the database does not tell.
pub async fn all_users(session: &Session) -> Result<Vec<UserRow>, EngineError> {
    let sql =
        format!("SELECT {COLUMNS} FROM letmein.users WHERE name > $1 ORDER BY name LIMIT {ROWS_A_STATEMENT}");
    session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut users: Vec<UserRow> = Vec::new();
    loop {
        let last = users.last().map_or("", |user| &user.name);
        let rows = session.rows(&sql, &[(&last, Type::TEXT)]).await?;
        users.extend(rows.iter().map(UserRow::new));
        if rows.len() < ROWS_A_STATEMENT {
            break;
        }
    }
    session.batch("COMMIT").await?;
    Ok(users)
}

/// The record of any user, if somebody has one: one that is good, if there is such.
///
/// # Errors
/// Why the database does not tell.
pub async fn record_of_anybody(
    session: &Session,
    is_good: impl Fn(&str) -> bool,
) -> Result<Option<Zeroizing<String>>, EngineError> {
    let record = |row: &Row| Zeroizing::new(row.get::<_, String>(0));
    let rows = session.rows("SELECT opaque FROM letmein.users WHERE opaque IS NOT NULL LIMIT 1", &[]).await?;
    let Some(first) = rows.first().map(record) else { return Ok(None) };
    if is_good(&first) {
        return Ok(Some(first));
    }
    let sql = format!(
        "SELECT opaque, name FROM letmein.users WHERE opaque IS NOT NULL AND name > $1 \
         ORDER BY name LIMIT {ROWS_A_STATEMENT}"
    );
    let mut last = String::new();
    loop {
        let rows = session.rows(&sql, &[(&last, Type::TEXT)]).await?;
        if let Some(good) = rows.iter().map(record).find(|record| is_good(record)) {
            return Ok(Some(good));
        }
        match rows.last() {
            Some(row) => last = row.get(1),
            None => return Ok(Some(first)),
        }
    }
}

/// Those of these logins whose name and password, written together, are those of another user. Users of the names of
/// `leaving` do not count.
///
/// # Errors
/// Why the database does not tell.
pub async fn equal_logins(
    session: &Session,
    logins: &[LoginText<'_>],
    leaving: &[&str],
) -> Result<Vec<EqualLogins>, EngineError> {
    let sql = "SELECT new.name, users.name FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) \
         AS new(name, password) \
         JOIN letmein.users ON pg_catalog.md5(users.name || users.password) = pg_catalog.md5(new.name || new.password) \
         WHERE users.password IS NOT NULL AND users.name <> new.name";
    let leaving: HashSet<_> = leaving.iter().copied().collect();
    let mut equal = Vec::new();
    for logins in logins.chunks(ROWS_A_STATEMENT) {
        let (names, passwords): (Vec<_>, Vec<_>) = logins.iter().copied().unzip();
        let [text, secret] = [&names as _, &passwords as _].map(|it| (it, Type::TEXT_ARRAY));
        let rows = session.rows(sql, &[text, secret]).await?;
        let found = rows.iter().map(|row| EqualLogins { name: row.get(0), other: row.get(1) });
        equal.extend(found.filter(|found| !leaving.contains(&*found.other)));
    }
    Ok(equal)
}

/// Adds users.
///
/// # Errors
/// Why they were not added.
pub async fn insert_users(session: &Session, users: &[&UserRow]) -> Result<(), EngineError> {
    let sql = format!(
        "INSERT INTO letmein.users (name, password, opaque, disabled, expires, networks) {NEW} RETURNING 1"
    );
    write(session, &sql, users).await
}

/// Gives users of the same names all that these have.
///
/// # Errors
/// Why they were not changed, or not all of them.
pub async fn update_users(session: &Session, users: &[&UserRow]) -> Result<(), EngineError> {
    let sql = format!(
        "UPDATE letmein.users SET password = new.password, opaque = new.opaque, disabled = new.disabled, \
         expires = new.expires, networks = new.networks FROM ({NEW}) AS new WHERE users.name = new.name RETURNING 1"
    );
    write(session, &sql, users).await
}

async fn write(session: &Session, sql: &str, users: &[&UserRow]) -> Result<(), EngineError> {
    for users in users.chunks(ROWS_A_STATEMENT) {
        let secret = |secret: fn(&UserRow) -> &Option<Zeroizing<String>>| -> Vec<Option<&str>> {
            users.iter().map(|user| secret(user).as_ref().map(|text| text.as_str())).collect()
        };
        let names: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
        let (passwords, records) = (secret(|user| &user.password), secret(|user| &user.opaque));
        let disabled: Vec<_> = users.iter().map(|user| user.disabled).collect();
        let expires: Vec<_> = users.iter().map(|user| user.expires.as_deref()).collect();
        let networks: Vec<_> = users.iter().map(|user| networks_text(&user.networks)).collect();
        let text = Type::TEXT_ARRAY;
        let columns = [
            (&names as _, text.clone()),
            (&passwords as _, text.clone()),
            (&records as _, text.clone()),
            (&disabled as _, Type::BOOL_ARRAY),
            (&expires as _, text.clone()),
            (&networks as _, text),
        ];
        all_written(session.rows(sql, &columns).await?.len(), users.len())?;
    }
    Ok(())
}

/// Refuses a change of which a trigger, a rule or a policy of somebody else has left rows out.
fn all_written(written: usize, expected: usize) -> Result<(), EngineError> {
    if written == expected {
        return Ok(());
    }
    let reason = format!(
        "{written} of {expected} users were written: look for a trigger, rule or policy of letmein.users"
    );
    Err(EngineError::Unexpected(reason))
}

/// Networks as the text of an array; none if the user may log in from anywhere.
fn networks_text(networks: &[String]) -> Option<String> {
    (!networks.is_empty()).then(|| format!("{{{}}}", networks.join(",")))
}

/// Gives a user another name.
///
/// # Errors
/// Why they keep theirs.
pub async fn rename_user(session: &Session, name: &str, new: &str) -> Result<(), EngineError> {
    let sql = "UPDATE letmein.users SET name = $2 WHERE name = $1 RETURNING 1";
    let rows = session.rows(sql, &[(&name, Type::TEXT), (&new, Type::TEXT)]).await?;
    all_written(rows.len(), 1)
}

/// Removes users.
///
/// # Errors
/// Why they are still there, or some of them.
pub async fn delete_users(session: &Session, names: &[&str]) -> Result<(), EngineError> {
    let sql = "DELETE FROM letmein.users WHERE name = ANY ($1) RETURNING 1";
    all_written(session.rows(sql, &[(&names, Type::TEXT_ARRAY)]).await?.len(), names.len())
}
