//! A long text of users, read a few lines at a time, each as a text of its own. Read whole, a million users would take
//! ten times their memory, and half a second without a system call, during which a kernel without preemption runs
//! nothing else on the processor.

use std::num::NonZero;
use std::sync::Mutex;
use std::thread;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Bytes of a text that are read at a time: a tenth of a millisecond's work.
pub(crate) const PIECE_LEN: usize = 4096;
/// Pieces that a thread keeps while another gives its own to the one taker. With these it waits, which bounds the
/// memory.
const KEPT_MAX: usize = 16;
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

/// Why a text was not read in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It may be read in one part: another part ends in the middle of a value or is wrong there, or has no thread.
    InParts,
    /// Something is wrong, or written in another way.
    Otherwise,
}

/// Reads a text that is one section of users, in so many threads, and gives the users of each piece to `take`. With
/// several threads the order of the pieces is any.
///
/// # Errors
/// [`Unread`]; some pieces are taken by then.
pub(crate) fn read_in_pieces<'a>(
    text: &'a str,
    piece_len: usize,
    parts: usize,
    take: impl FnMut(&DeTable<'a>) + Send,
) -> Result<(), Unread> {
    let (head, mut rest) = text.split_at(end_of_header(text).ok_or(Unread::Otherwise)?);
    let head = DeTable::parse(head).map_err(|_| Unread::Otherwise)?;
    let is_section = |users: &Value<'_>| users.get_ref().as_table().is_some_and(DeTable::is_empty);
    if head.get_ref().len() != 1 || !head.get_ref().get("users").is_some_and(is_section) {
        return Err(Unread::Otherwise);
    }
    let (part_len, take) = (rest.len() / parts, &Mutex::new(take));
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for _ in 1..parts {
            let (part, after) = rest.split_at(end_of_line(rest, part_len));
            let reader = thread::Builder::new().name("users-reader".to_owned());
            let read = move || read_part(part, piece_len, take);
            readers.push(reader.spawn_scoped(scope, read).map_err(|_| Unread::InParts)?);
            rest = after;
        }
        let last = read_part(rest, piece_len, take);
        let others = readers.into_iter().map(|reader| reader.join().unwrap_or(Err(Unread::Otherwise)));
        // Only the last part may be wrong at its end for another reason.
        others.collect::<Result<(), _>>()?;
        last.map_err(|_| Unread::Otherwise)
    })
}

fn read_part<'a>(
    mut rest: &'a str,
    piece_len: usize,
    take: &Mutex<impl FnMut(&DeTable<'a>)>,
) -> Result<(), Unread> {
    let (mut len, mut kept) = (piece_len, Vec::new());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(end_of_line(rest, len));
        // Lines below another header are not of this section, and a byte order mark is one only at the start of the
        // text.
        if end_of_header(piece).is_some() || piece.starts_with('\u{feff}') {
            return Err(Unread::Otherwise);
        }
        match DeTable::parse(piece) {
            Ok(users) => kept.push(users),
            Err(_) if after.is_empty() => return Err(Unread::InParts),
            // The piece may end in the middle of a value.
            Err(_) => {
                len = piece.len() * 2;
                continue;
            }
        }
        (rest, len) = (after, piece_len);
        let taker = if rest.is_empty() || kept.len() == KEPT_MAX {
            Some(take.lock().map_err(|_| Unread::Otherwise)?)
        } else {
            take.try_lock().ok()
        };
        if let Some(mut take) = taker {
            kept.iter().for_each(|piece| take(piece.get_ref()));
            drop(take);
            kept.clear();
        }
        thread::yield_now();
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_is_taken_once_however_long_threads_wait_for_each_other() {
        let names: Vec<_> = (100..300).map(|number| format!("user{number}")).collect();
        let text =
            format!("[users]\n{}", names.iter().map(|name| format!("{name} = 'x'\n")).collect::<String>());
        let mut taken = Vec::new();
        read_in_pieces(&text, 1, 4, |users| {
            // The others read on meanwhile, until they keep as much as they may.
            (0..50).for_each(|_| thread::yield_now());
            taken.extend(users.keys().map(|name| name.get_ref().to_string()));
        })
        .unwrap();
        taken.sort();
        assert_eq!(taken, names);
    }
}
