//! Memory for secrets.

use std::io;
use std::ops::Range;
use std::thread;

use memmap2::MmapMut;
use zeroize::optimization_barrier;

/// Zeroed memory in the largest pages that the system has: look-ups among millions of users go anywhere in it, and with
/// small pages most of their time would go into misses of the TLB. It is left out of core files, and wiped on drop as
/// far as it was written: a page that is touched only to be wiped would take memory just then.
pub(super) struct Pages {
    map: MmapMut,
    written: usize,
}

/// Bytes of a large page on most machines. Linux puts a piece of memory at the boundary of one if it has the length of
/// several; of two megabytes elsewhere, there would be none.
pub(super) const LARGE_PAGE: usize = 2 << 20;

impl Pages {
    /// # Errors
    /// The system's, for lack of memory.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let len = if len < LARGE_PAGE { len.max(1) } else { len.next_multiple_of(LARGE_PAGE) };
        let pages = MmapMut::map_anon(len)?;
        advise(&pages);
        Ok(Self { map: pages, written: 0 })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// All bytes, any of which may be written.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.written = self.map.len();
        &mut self.map
    }

    /// Some bytes, to be written; `None` beyond the end.
    pub(super) fn slot(&mut self, place: Range<usize>) -> Option<&mut [u8]> {
        let end = place.end;
        let slot = self.map.get_mut(place)?;
        self.written = self.written.max(end);
        Some(slot)
    }
}

#[cfg(target_os = "linux")]
fn advise(pages: &MmapMut) {
    for advice in [memmap2::Advice::HugePage, memmap2::Advice::DontDump] {
        // On a kernel that knows no such advice the store works all the same.
        let _ = pages.advise(advice);
    }
}

/// Other systems have neither piece of advice.
#[cfg(not(target_os = "linux"))]
fn advise(_: &MmapMut) {}

impl Drop for Pages {
    fn drop(&mut self) {
        wipe(self.map.get_mut(..self.written).unwrap_or_default());
    }
}

/// Bytes that are wiped between two yields.
const WIPED_LEN: usize = 64 << 10;

/// Overwrites passwords with zeros, 64 KiB at a time, and yields the processor after each piece.
pub fn wipe(bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(WIPED_LEN) {
        // `zeroize` writes each byte by itself, which takes three times as long. Without the barrier the compiler could
        // leave out zeros that nobody reads.
        piece.fill(0);
        optimization_barrier(piece);
        thread::yield_now();
    }
}
