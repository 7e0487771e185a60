//! The commands that set up users in PostgreSQL.

use engine::{EngineError, Migrated, SCHEMA_VERSION, Session, Settings, Status, init, migrate, status};
use tokio::runtime;

use crate::command_line::{EngineCommand, EngineFile};
use crate::{PROGRAM, failed, print, say_each_line};
use letmein::cli::ExitStatus;

const NEXT: &str = "\
Nobody can log in to the database as one of the roles. Make members of them, in psql:
  CREATE ROLE alice LOGIN IN ROLE letmein_admin;   -- changes users
  \\password alice
  CREATE ROLE node1 LOGIN IN ROLE letmein_server;  -- reads users
  \\password node1
So that its log shows no password of a row that it refuses:
  ALTER SYSTEM SET log_error_verbosity = terse;
  ALTER SYSTEM SET log_min_error_statement = panic;
  SELECT pg_reload_conf();
Leave log_statement at none and log_min_duration_statement at -1, their defaults.";

/// SQLSTATE insufficient_privilege.
const NO_PRIVILEGE: &str = "42501";
/// SQLSTATE lock_not_available.
const LOCKED: &str = "55P03";

pub(crate) fn run(command: &EngineCommand) -> Result<ExitStatus, ExitStatus> {
    let (EngineCommand::Init(EngineFile { engine })
    | EngineCommand::Migrate(EngineFile { engine })
    | EngineCommand::Status(EngineFile { engine })) = command;
    let settings = Settings::load(engine, PROGRAM).map_err(|error| {
        say_each_line(&error);
        ExitStatus::Usage
    })?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let lines = runtime.block_on(async {
        let session = Session::open(&settings).await?;
        match command {
            EngineCommand::Init(_) => init(&session).await.map(made),
            EngineCommand::Migrate(_) => migrate(&session).await.map(|migrated| vec![brought(migrated)]),
            EngineCommand::Status(_) => status(&session).await.map(shown),
        }
    });
    // Do not wait for a DNS lookup that hangs.
    runtime.shutdown_background();
    print(lines.map_err(|error| refused(command, &error))?)
}

fn made(migrated: Migrated) -> Vec<String> {
    match migrated {
        Migrated { from: 0, to } => {
            let made = format!(
                "made version {to} of the tables, and the roles letmein_owner, letmein_admin and letmein_server"
            );
            vec![made, NEXT.to_owned()]
        }
        migrated => vec![brought(migrated)],
    }
}

fn brought(Migrated { from, to }: Migrated) -> String {
    if from == to {
        format!("nothing to do: the tables have version {to}")
    } else {
        format!("brought the tables from version {from} to version {to}")
    }
}

fn shown(Status { revision, users, schema_version }: Status) -> Vec<String> {
    let version = if schema_version < SCHEMA_VERSION {
        format!("{schema_version}, and engine migrate makes it {SCHEMA_VERSION}")
    } else {
        schema_version.to_string()
    };
    let rows = [("revision", revision.to_string()), ("users", users.to_string()), ("version", version)];
    rows.map(|(what, it)| format!("{what:8}  {it}")).into()
}

/// Says what is wrong. A database that is another than it should be is wrong as a users file is.
fn refused(command: &EngineCommand, error: &EngineError) -> ExitStatus {
    match remedy(command, error) {
        Some(remedy) => say_each_line(&format!("{error}: {remedy}")),
        None => say_each_line(error),
    }
    match error {
        EngineError::NotUtf8(_)
        | EngineError::NoSchema
        | EngineError::EqualLogins
        | EngineError::TooOld { .. }
        | EngineError::TooNew { .. } => ExitStatus::Usage,
        EngineError::Unreachable(_)
        | EngineError::ConnectTimedOut
        | EngineError::TimedOut(_)
        | EngineError::Refused { .. }
        | EngineError::Unexpected(_)
        | EngineError::Unsettled(..)
        | EngineError::NoRandomness(_) => ExitStatus::Failed,
    }
}

/// What to do about a refusal.
fn remedy(command: &EngineCommand, error: &EngineError) -> Option<&'static str> {
    let EngineError::Refused { code, .. } = error else { return None };
    match (code.as_str(), command) {
        (NO_PRIVILEGE, EngineCommand::Init(_)) => {
            Some("run it as a superuser, or as the owner of the database with CREATEROLE")
        }
        (NO_PRIVILEGE, EngineCommand::Migrate(_)) => {
            Some("run it as a member of letmein_owner or as a superuser")
        }
        (NO_PRIVILEGE, EngineCommand::Status(_)) => Some("run it as a member of one of the roles"),
        (LOCKED, _) => Some("see in pg_stat_activity who uses the tables, and try again afterwards"),
        _ => None,
    }
}
