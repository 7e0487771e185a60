//! The commands that show what became of users in PostgreSQL, and where they are served.

use std::path::Path;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::refusal::Doing;
use super::{ask, load_settings};
use crate::command_line::History;
use crate::plain::Plain;
use crate::{failed, print};
use engine::{ChangesOf, Node, PastChange, open};
use letmein::cli::{ExitStatus, normal};

/// A change, as JSON has it.
#[derive(Serialize)]
struct ChangeRow {
    revision: i64,
    at: String,
    actor: String,
    program: String,
    what: String,
}

/// A node, as JSON has it.
#[derive(Serialize)]
struct NodeRow {
    name: String,
    revision: i64,
    behind: i64,
    seen: Option<String>,
}

/// The commands of which others are told with a name after them, and nothing else.
const OF_ONE_USER: [&str; 7] = ["add", "passwd", "disable", "enable", "expire", "from", "remove"];

pub(crate) fn history(file: &Path, asked: &History) -> Result<ExitStatus, ExitStatus> {
    let settings = load_settings(file)?;
    let normal = asked.name.as_ref().map(|name| normal::name(name.as_str()));
    let names = asked.name.as_ref().zip(normal.as_deref()).map(|(name, normal)| [name.as_str(), normal]);
    let told: Vec<_> =
        names.iter().flatten().flat_map(|name| OF_ONE_USER.map(|it| format!("{it} {name}"))).collect();
    let of = names.as_ref().map(|names| ChangesOf { names, told: &told });
    let changes = ask(Doing::Read, async || engine::history(&open(&settings).await?, of, asked.limit).await)?;
    let row =
        |PastChange { revision, at, actor, program, what }| ChangeRow { revision, at, actor, program, what };
    let rows: Vec<_> = changes.into_iter().map(row).collect();
    if asked.json {
        return print_json(&rows);
    }
    let cells = |row: ChangeRow| {
        [row.revision.to_string(), row.at, row.actor, row.program, row.what]
            .map(|cell| Plain(&cell).to_string())
    };
    print_table(["REVISION", "TIME", "WHO", "PROGRAM", "WHAT"], rows.into_iter().map(cells))
}

pub(crate) fn nodes(file: &Path, json: bool) -> Result<ExitStatus, ExitStatus> {
    let settings = load_settings(file)?;
    let nodes = ask(Doing::Read, async || engine::nodes(&open(&settings).await?).await)?;
    let row = |Node { name, revision, behind, seen }| NodeRow { name, revision, behind, seen };
    let rows: Vec<_> = nodes.into_iter().map(row).collect();
    if json {
        return print_json(&rows);
    }
    let cells = |row: NodeRow| {
        let seen = row.seen.unwrap_or_else(|| "never".to_owned());
        // Of a history that the database has not, as after a loss.
        let behind = if row.behind < 0 { "ahead".to_owned() } else { row.behind.to_string() };
        [row.name, row.revision.to_string(), behind, seen].map(|cell| Plain(&cell).to_string())
    };
    print_table(["NAME", "REVISION", "BEHIND", "SEEN"], rows.into_iter().map(cells))
}

fn print_json(rows: &[impl Serialize]) -> Result<ExitStatus, ExitStatus> {
    print([serde_json::to_string(rows).map_err(|error| failed(&error))?])
}

/// Prints columns, each as wide as its widest cell.
fn print_table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<ExitStatus, ExitStatus> {
    let table: Vec<_> = [header.map(str::to_owned)].into_iter().chain(rows).collect();
    let widths: Vec<_> = (0..N)
        .map(|column| table.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max())
        .collect();
    print(table.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let space = width.unwrap_or(0) - cell.width();
            format!("{cell}{:space$}", "")
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }))
}
