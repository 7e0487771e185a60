//! Reading and writing a TCP socket that does not block.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// What is sent right after the bytes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    Nothing,
    /// The end of the sending side, in the same segment.
    End,
}

/// Reads once. Returns `None` if nothing has arrived, and no bytes if the peer has ended.
pub(crate) fn read<'b>(stream: &OwnedFd, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
    loop {
        match recv(stream, &mut *buffer, RecvFlags::empty()) {
            Ok((len, _)) => return Ok(buffer.get(..len)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes as much as there is room for, and returns how many bytes that was.
pub(crate) fn write(stream: &OwnedFd, bytes: &[u8], behind: Behind) -> io::Result<usize> {
    let flags = match behind {
        Behind::Nothing => SendFlags::NOSIGNAL,
        Behind::End => SendFlags::NOSIGNAL | SendFlags::MORE,
    };
    let mut sent = 0;
    while let Some(left) = bytes.get(sent..).filter(|left| !left.is_empty()) {
        match send(stream, left, flags) {
            Ok(len) => sent += len,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}
