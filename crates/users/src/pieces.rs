//! A long text of users, read a few lines at a time, each as a text of its own. Read whole, a million users would take
//! ten times their memory, and half a second without a system call, during which a kernel without preemption runs
//! nothing else on the processor.

use std::mem;
use std::num::NonZero;
use std::sync::Mutex;
use std::thread;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Bytes of a text that are read at a time: a tenth of a millisecond's work.
pub(crate) const PIECE_LEN: usize = 4096;
/// Pieces that a thread reads before it gives them to the one taker.
const BATCH: usize = 16;
/// Bytes of a text for which another thread pays.
const PART_LEN: usize = 1 << 20;
/// Threads at most: more would only wait for the taker.
const THREADS_MAX: usize = 4;

pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// The threads of a program that has nothing else to do than to read.
pub(crate) fn all_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX)
}

/// The number of parts of a text, each for a thread.
pub(crate) fn parts(text: &str, threads: usize) -> usize {
    threads.min(text.len() / PART_LEN).max(1)
}

/// Reads a text that is one section of users, in so many threads, and gives the users of each piece to `take`, in any
/// order. `None` if something is wrong, or written in another way, or if a part ends in the middle of a value; some
/// pieces are taken by then.
pub(crate) fn read_in_pieces<'a>(
    text: &'a str,
    piece_len: usize,
    parts: usize,
    take: impl FnMut(&DeTable<'a>) + Send,
) -> Option<()> {
    let (head, mut rest) = text.split_at(end_of_header(text)?);
    let head = DeTable::parse(head).ok()?;
    let is_section = |users: &Value<'_>| users.get_ref().as_table().is_some_and(DeTable::is_empty);
    if head.get_ref().len() != 1 || !head.get_ref().get("users").is_some_and(is_section) {
        return None;
    }
    let (part_len, take) = (rest.len() / parts, &Mutex::new(take));
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for _ in 1..parts {
            let (part, after) = rest.split_at(end_of_line(rest, part_len));
            let reader = thread::Builder::new().name("users-reader".to_owned());
            readers.push(reader.spawn_scoped(scope, move || read_part(part, piece_len, take)).ok()?);
            rest = after;
        }
        read_part(rest, piece_len, take)?;
        readers.into_iter().try_for_each(|reader| reader.join().ok()?)
    })
}

fn read_part<'a>(mut rest: &'a str, piece_len: usize, take: &Mutex<impl FnMut(&DeTable<'a>)>) -> Option<()> {
    let (mut len, mut batch) = (piece_len, Vec::new());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(end_of_line(rest, len));
        // Lines below another header are not of this section, and a byte order mark is one only at the start of the
        // text.
        if end_of_header(piece).is_some() || piece.starts_with('\u{feff}') {
            return None;
        }
        match DeTable::parse(piece) {
            Ok(users) => batch.push(users),
            Err(_) if after.is_empty() => return None,
            // The piece may end in the middle of a value.
            Err(_) => {
                len = piece.len() * 2;
                continue;
            }
        }
        (rest, len) = (after, piece_len);
        if batch.len() == BATCH || rest.is_empty() {
            let mut take = take.lock().ok()?;
            mem::take(&mut batch).iter().for_each(|piece| take(piece.get_ref()));
        }
        thread::yield_now();
    }
    Some(())
}

/// The offset after the first line that begins like the header of a section.
fn end_of_header(text: &str) -> Option<usize> {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if line.trim_start_matches([' ', '\t', '\u{feff}']).starts_with('[') {
            return Some(end);
        }
    }
    None
}

/// The offset after the line in which a text of this length would end.
fn end_of_line(text: &str, len: usize) -> usize {
    let rest = text.as_bytes().get(len..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'\n').map_or(text.len(), |newline| len + newline + 1)
}
