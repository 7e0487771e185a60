//! The users of a database, and those of a folder in the same form.

use std::collections::BTreeMap;

use letmein_auth_engine::{EngineError, Session, Type};
use users::synced::{Credential, Position, Row};

use crate::postgres::{Database, run};

/// All that there is to say of each user, by name.
pub(crate) type Users = BTreeMap<String, String>;

/// Where the database is, and its users.
pub(crate) fn of_database(database: &Database) -> (Position, Users) {
    run(async { read(&database.session().await).await }).unwrap()
}

async fn read(session: &Session) -> Result<(Position, Users), EngineError> {
    session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let head = session.row("SELECT revision, replace(stamp::text, '-', '') FROM letmein.head", &[]).await?;
    let stamp = u128::from_str_radix(head.get(1), 16).unwrap().to_be_bytes();
    // In pages, each of which has its own time limit.
    let sql = "SELECT name, password, opaque, disabled, expires - DATE '1970-01-01', networks::text[] \
               FROM letmein.users WHERE name > $1 ORDER BY name LIMIT 5000";
    let (mut users, mut last) = (Users::new(), String::new());
    loop {
        let rows = session.rows(sql, &[(&last, Type::TEXT)]).await?;
        let Some(end) = rows.last() else { break };
        last = end.get(0);
        for row in rows {
            let (day, networks): (Option<i32>, Option<Vec<String>>) = (row.get(4), row.get(5));
            let (password, record): (Option<&str>, Option<&str>) = (row.get(1), row.get(2));
            let day = day.map(i32::cast_unsigned);
            users.insert(row.get(0), text(password, record, row.get(3), day, &networks.unwrap_or_default()));
        }
    }
    session.batch("COMMIT").await?;
    Ok((Position { revision: head.get(0), stamp }, users))
}

/// The same of a row of the folder.
pub(crate) fn of_row(row: &Row<'_>) -> String {
    let (password, record) = match row.credential {
        Credential::Removed => (None, None),
        Credential::Password(password) => (Some(password), None),
        Credential::Record(record) => (None, Some(record)),
    };
    let networks: Vec<_> = row.networks.iter().map(ToString::to_string).collect();
    text(password, record, row.is_disabled, row.last_day, &networks)
}

fn text(
    password: Option<&str>,
    record: Option<&str>,
    is_disabled: bool,
    last_day: Option<u32>,
    networks: &[String],
) -> String {
    format!("{password:?} {record:?} {is_disabled} {last_day:?} {networks:?}")
}

/// Adds users with names of their own, in one transaction.
pub(crate) fn add_users(database: &Database, prefix: &str, count: usize) {
    const AT_A_TIME: usize = 2500;
    run(async {
        let session = database.session().await;
        session.batch("BEGIN").await?;
        for first in (0..count).step_by(AT_A_TIME) {
            let last = count.min(first + AT_A_TIME) - 1;
            let sql = format!(
                "INSERT INTO letmein.users (name, password)
                 SELECT '{prefix}' || number, 'password' || number FROM generate_series({first}, {last}) AS it(number)"
            );
            session.batch(&sql).await?;
        }
        session.batch("COMMIT").await
    })
    .unwrap();
}
