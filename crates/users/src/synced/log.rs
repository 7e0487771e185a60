//! What is in the two files: all users at a position, and the batches of what has changed since.

use std::collections::BTreeMap;
use std::io::Read;

use zeroize::Zeroizing;

use super::Position;
use super::frames::{BASE_MAGIC, DamagedError, FrameReader, Kind, LOG_MAGIC, end_of, start_of};
use super::row::Row;

/// A base that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Where it is in the history.
    pub position: Position,
    /// How many users are in it.
    pub users: u64,
}

/// The whole batches of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// The base that they belong to.
    pub base: Position,
    /// Where the last of them is in the history; that of the base, if there is none.
    pub position: Position,
    /// How many rows are in them.
    pub rows: u64,
    /// The bytes up to the end of the last batch; after them, a batch may be under way.
    pub len: u64,
}

/// Reads a base.
///
/// # Errors
/// Why it is not whole. The rows that were read are then worth nothing.
pub fn read_base(file: impl Read, mut each: impl FnMut(Row<'_>)) -> Result<Base, DamagedError> {
    let mut frames = FrameReader::new(file, BASE_MAGIC)?;
    let mut count = 0;
    loop {
        match frames.next()?.ok_or(DamagedError::Torn)? {
            (Kind::Rows, rows) => count += each_row(rows, &mut each)?,
            (Kind::Start, _) => return Err(DamagedError::Wrong),
            (Kind::End, body) => {
                let (position, users) = end_of(body).ok_or(DamagedError::Wrong)?;
                let is_last = frames.next()?.is_none();
                return if users == count && is_last {
                    Ok(Base { position, users })
                } else {
                    Err(DamagedError::Wrong)
                };
            }
        }
    }
}

/// Reads the whole batches of a log; the rows of a batch are told before its end is known. What comes after the last
/// whole batch is left alone.
///
/// # Errors
/// It cannot be read, or does not begin as a log does.
pub fn read_log(file: impl Read, mut batch: impl FnMut(Step<'_>)) -> Result<Batches, DamagedError> {
    let mut frames = FrameReader::new(file, LOG_MAGIC)?;
    let base = match frames.next()?.ok_or(DamagedError::Torn)? {
        (Kind::Start, body) => start_of(body).ok_or(DamagedError::Wrong)?,
        (Kind::Rows | Kind::End, _) => return Err(DamagedError::Wrong),
    };
    let mut batches = Batches { base, position: base, rows: 0, len: frames.len() };
    let mut count = 0;
    loop {
        let ended = match frames.next() {
            Ok(Some((Kind::Rows, rows))) => each_row(rows, &mut |row| batch(Step::Row(row))).map(|rows| {
                count += rows;
                None
            }),
            Ok(Some((Kind::End, body))) => {
                end_of(body).filter(|(_, rows)| *rows == count).map(Some).ok_or(DamagedError::Wrong)
            }
            Ok(Some((Kind::Start, _))) => Err(DamagedError::Wrong),
            Ok(None) => Err(DamagedError::Torn),
            Err(error) => Err(error),
        };
        match ended {
            Ok(None) => {}
            Ok(Some((position, rows))) => {
                batches = Batches { base, position, rows: batches.rows + rows, len: frames.len() };
                count = 0;
                batch(Step::End);
            }
            Err(DamagedError::Io(error)) => return Err(error.into()),
            Err(DamagedError::Magic | DamagedError::Torn | DamagedError::Wrong) => return Ok(batches),
        }
    }
}

/// Reads the whole batches of a log, and keeps the last row of each name.
///
/// # Errors
/// As for [`read_log`].
pub fn read_changed(file: impl Read) -> Result<(Batches, Changed), DamagedError> {
    let mut changed = Changed::default();
    let mut pending = Vec::new();
    let batches = read_log(file, |step| match step {
        Step::Row(row) => pending.push((row.name.to_owned(), row.bytes())),
        Step::End => changed.0.extend(pending.drain(..)),
    })?;
    Ok((batches, changed))
}

/// What has changed since the base: the last row of each name.
#[derive(Default)]
pub struct Changed(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Changed {
    /// The rows, in the order of their names.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.0.values().filter_map(|row| Row::read(&mut row.as_slice()))
    }

    /// Whether a user of this name has changed.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// How many bytes a text of these users would have at most.
    pub(super) fn text_len(&self) -> u64 {
        self.0.values().map(|row| row.len() as u64 + REMOVED_LEN).sum()
    }
}

/// By so much a user who was removed takes more memory than such a row, and a little more.
const REMOVED_LEN: u64 = 32;

/// What is read of a log.
#[derive(Debug)]
pub enum Step<'a> {
    /// A row of the batch under way.
    Row(Row<'a>),
    /// The batch is whole.
    End,
}

/// Gives each row of a frame, and says how many there are.
fn each_row(mut rows: &[u8], each: &mut impl FnMut(Row<'_>)) -> Result<u64, DamagedError> {
    let mut count = 0;
    while !rows.is_empty() {
        each(Row::read(&mut rows).ok_or(DamagedError::Wrong)?);
        count += 1;
    }
    Ok(count)
}
