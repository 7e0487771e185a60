//! Frames ⇄ bytes, each with a checksum, so that what is torn or changed is seen.

use std::io::{self, Read, Write};

use crc32fast::Hasher;
use zeroize::Zeroizing;

use super::Position;
use super::row::Row;

/// What the files begin with. It changes when they do.
pub(super) const BASE_MAGIC: &[u8; MAGIC_LEN] = b"letmein base 1\n\n";
pub(super) const LOG_MAGIC: &[u8; MAGIC_LEN] = b"letmein log 01\n\n";
/// The length of either, in bytes.
pub(super) const MAGIC_LEN: usize = 16;

const HEADER_LEN: usize = 9;
/// A frame of rows is written once it has so many bytes. A row is shorter than 2 KiB, so none is twice as long.
const ROWS_LEN: usize = 64 << 10;
/// The longest body that is read.
const BODY_MAX: usize = 2 * ROWS_LEN;
const POSITION_LEN: usize = 24;

/// What a frame has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rows,
    Start,
    End,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Rows => b'R',
            Self::Start => b'S',
            Self::End => b'E',
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Rows, Self::Start, Self::End].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// Writes rows in frames.
struct FrameWriter<W> {
    file: W,
    /// Rows that are not written yet.
    rows: Zeroizing<Vec<u8>>,
    /// Rows since the last end.
    count: u64,
}

impl<W: Write> FrameWriter<W> {
    fn new(file: W) -> Self {
        // A buffer that grows leaves copies of passwords behind.
        Self { file, rows: Zeroizing::new(Vec::with_capacity(BODY_MAX)), count: 0 }
    }

    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        row.write(&mut self.rows);
        self.count += 1;
        if self.rows.len() < ROWS_LEN { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.rows.is_empty() {
            write(&mut self.file, Kind::Rows, &self.rows)?;
            self.rows.clear();
        }
        Ok(())
    }

    /// Ends all rows since the last end, and says how many they are.
    fn end(&mut self, position: Position) -> io::Result<u64> {
        self.flush()?;
        let count = self.count;
        self.count = 0;
        let body = [position_bytes(position).as_slice(), &count.to_le_bytes()].concat();
        write(&mut self.file, Kind::End, &body)?;
        Ok(count)
    }
}

fn write(file: &mut impl Write, kind: Kind, body: &[u8]) -> io::Result<()> {
    let len = (body.len() as u32).to_le_bytes();
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&len);
    header[4..8].copy_from_slice(&checksum(len, kind.byte(), body).to_le_bytes());
    header[8] = kind.byte();
    file.write_all(&header)?;
    file.write_all(body)
}

fn checksum(len: [u8; 4], kind: u8, body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    [&len[..], &[kind], body].into_iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

fn position_bytes(position: Position) -> [u8; POSITION_LEN] {
    let mut bytes = [0; POSITION_LEN];
    bytes[..8].copy_from_slice(&position.revision.to_le_bytes());
    bytes[8..].copy_from_slice(&position.stamp);
    bytes
}

/// Takes a position off the front of a body.
fn split_position(body: &[u8]) -> Option<(Position, &[u8])> {
    let (revision, rest) = body.split_first_chunk()?;
    let (stamp, rest) = rest.split_first_chunk()?;
    Some((Position { revision: i64::from_le_bytes(*revision), stamp: *stamp }, rest))
}

/// The position of a start.
pub(super) fn start_of(body: &[u8]) -> Option<Position> {
    split_position(body).filter(|(_, rest)| rest.is_empty()).map(|(position, _)| position)
}

/// The position of an end, and the number of rows before it.
pub(super) fn end_of(body: &[u8]) -> Option<(Position, u64)> {
    let (position, count) = split_position(body)?;
    Some((position, u64::from_le_bytes(count.try_into().ok()?)))
}

/// Writes a base.
pub struct BaseWriter<W>(FrameWriter<W>);

impl<W: Write> BaseWriter<W> {
    /// Begins a base in an empty file.
    ///
    /// # Errors
    /// The file's.
    pub fn begin(mut file: W) -> io::Result<Self> {
        file.write_all(BASE_MAGIC)?;
        Ok(Self(FrameWriter::new(file)))
    }

    /// Adds a user, who keeps all rules.
    ///
    /// # Errors
    /// The file's.
    pub fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.0.row(row)
    }

    /// Ends the base, and gives the file back, and how many users are in it.
    ///
    /// # Errors
    /// The file's.
    pub fn end(mut self, position: Position) -> io::Result<(W, u64)> {
        let count = self.0.end(position)?;
        Ok((self.0.file, count))
    }
}

/// Appends batches to a log.
pub struct LogWriter<W>(FrameWriter<W>);

impl<W: Write> LogWriter<W> {
    /// Begins a log in an empty file, for the base at this position.
    ///
    /// # Errors
    /// The file's.
    pub fn begin(mut file: W, base: Position) -> io::Result<Self> {
        file.write_all(LOG_MAGIC)?;
        write(&mut file, Kind::Start, &position_bytes(base))?;
        Ok(Self(FrameWriter::new(file)))
    }

    /// Goes on with a log, at the end of its last batch.
    #[must_use]
    pub fn go_on(file: W) -> Self {
        Self(FrameWriter::new(file))
    }

    /// Adds a change, which keeps all rules, to the batch.
    ///
    /// # Errors
    /// The file's. What was written of the batch is to be cut off then.
    pub fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.0.row(row)
    }

    /// Ends the batch, and says how many rows are in it.
    ///
    /// # Errors
    /// As for [`Self::row`].
    pub fn end(&mut self, position: Position) -> io::Result<u64> {
        self.0.end(position)
    }

    /// Forgets the batch that has not ended, as far as it is not in the file yet.
    pub fn forget(&mut self) {
        self.0.rows.clear();
        self.0.count = 0;
    }

    /// The file.
    pub fn file(&mut self) -> &mut W {
        &mut self.0.file
    }
}

/// Why a file is not read further.
#[derive(Debug, thiserror::Error)]
pub enum DamagedError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is another kind of file, or of another version.
    #[error("no file of users of this version")]
    Magic,
    /// It ends too early.
    #[error("not complete")]
    Torn,
    /// A checksum does not fit, or what is in a frame.
    #[error("damaged")]
    Wrong,
}

/// Reads frames.
pub(super) struct FrameReader<R> {
    file: R,
    body: Zeroizing<Vec<u8>>,
    /// How many bytes were read, of whole frames.
    len: u64,
}

impl<R: Read> FrameReader<R> {
    /// # Errors
    /// If the file does not begin as it should.
    pub(super) fn new(mut file: R, magic: &[u8; MAGIC_LEN]) -> Result<Self, DamagedError> {
        let mut found = [0; MAGIC_LEN];
        file.read_exact(&mut found).map_err(|_| DamagedError::Magic)?;
        if found != *magic {
            return Err(DamagedError::Magic);
        }
        Ok(Self { file, body: Zeroizing::default(), len: MAGIC_LEN as u64 })
    }

    /// The next frame; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<(Kind, &[u8])>, DamagedError> {
        let mut header = [0; HEADER_LEN];
        if !fill(&mut self.file, &mut header)? {
            return Ok(None);
        }
        let [a, b, c, d, e, f, g, h, kind] = header;
        let (len, sum) = ([a, b, c, d], u32::from_le_bytes([e, f, g, h]));
        let body_len = u32::from_le_bytes(len) as usize;
        if body_len > BODY_MAX {
            return Err(DamagedError::Wrong);
        }
        if body_len > self.body.len() {
            // Another one: one that grows leaves copies of passwords behind.
            self.body = Zeroizing::new(vec![0; body_len]);
        }
        let body = self.body.get_mut(..body_len).ok_or(DamagedError::Wrong)?;
        if !fill(&mut self.file, body)? && body_len > 0 {
            return Err(DamagedError::Torn);
        }
        let kind = Kind::of(kind).filter(|kind| checksum(len, kind.byte(), body) == sum);
        let kind = kind.ok_or(DamagedError::Wrong)?;
        self.len += (HEADER_LEN + body_len) as u64;
        Ok(Some((kind, body)))
    }

    /// How many bytes of the file were read, up to the end of the last frame.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// Fills a buffer; `false` if the file has ended before it.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> Result<bool, DamagedError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(DamagedError::Torn),
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled > 0)
}
