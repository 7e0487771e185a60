//! The commands that set up users in PostgreSQL.

use std::path::Path;

use super::refusal::Doing;
use super::{ask, load_settings};
use crate::command_line::EngineCommand;
use crate::print;
use engine::{Migrated, Purged, SCHEMA_VERSION, Session, Status, init, migrate, open, purge, status};
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

pub(crate) fn set_up(file: &Path, command: &EngineCommand) -> Result<ExitStatus, ExitStatus> {
    let settings = load_settings(file)?;
    let doing = match command {
        EngineCommand::Init => Doing::Init,
        EngineCommand::Migrate => Doing::Migrate,
        EngineCommand::Status => Doing::Read,
        EngineCommand::Purge { .. } => Doing::Purge,
    };
    let lines = ask(doing, async || match command {
        EngineCommand::Init => init(&Session::open(&settings).await?).await.map(made),
        EngineCommand::Migrate => {
            migrate(&Session::open(&settings).await?).await.map(|migrated| vec![brought(migrated)])
        }
        EngineCommand::Status => status(&Session::open(&settings).await?).await.map(shown),
        EngineCommand::Purge { older_than } => {
            purge(&open(&settings).await?, *older_than).await.map(|purged| vec![forgotten(purged)])
        }
    });
    print(lines?)
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

fn shown(Status { revision, users, schema_version, missing_rules }: Status) -> Vec<String> {
    let version = if schema_version < SCHEMA_VERSION {
        format!("{schema_version}, and engine migrate makes it {SCHEMA_VERSION}")
    } else {
        schema_version.to_string()
    };
    let missing = (!missing_rules.is_empty()).then(|| {
        let rules = missing_rules.join(", ");
        (
            "missing",
            format!(
                "{rules}: rules that somebody has dropped or turned off; see \"Rules that are missing\" in docs/ENGINE.md"
            ),
        )
    });
    let rows = [("revision", revision.to_string()), ("users", users.to_string()), ("version", version)];
    rows.into_iter().chain(missing).map(|(what, it)| format!("{what:8}  {it}")).collect()
}

fn forgotten(Purged { removals, changes, nodes, floor }: Purged) -> String {
    if removals + changes + nodes == 0 {
        return "nothing to forget".to_owned();
    }
    let counted =
        |count: i64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let [removals, changes, nodes] =
        [(removals, "removal", "removals"), (changes, "change", "changes"), (nodes, "node", "nodes")]
            .map(|(count, one, many)| counted(count, one, many));
    format!("forgot {removals}, {changes} and {nodes}; nodes below revision {floor} will load all users")
}
