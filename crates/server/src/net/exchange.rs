//! The socket at which a program of this machine carries messages between this server and others: it gives the last
//! ones of the others, each after its length in four bytes, the highest first, and ends its side. The reply is the
//! message of this server, without a length.

use std::fs;
use std::io::{self, ErrorKind};
use std::iter;
use std::os::unix::fs::{FileTypeExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;
use socket2::{Domain, SockAddr, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::sandbox;
use proto::server::fleet::{MESSAGE_MAX, NODES_MAX};

/// The most bytes that are read from a caller.
pub(crate) const MESSAGES_BYTES: usize = NODES_MAX * (4 + MESSAGE_MAX);
/// How long a caller may take.
const CALL_MAX: Duration = Duration::from_secs(1);

/// A socket for callers of this machine.
pub(crate) struct Socket(UnixListener);

/// Those who call there.
pub(crate) struct Callers(tokio::net::UnixListener);

impl Socket {
    /// Listens at a path, which the user and the group that the server will have may write to. A socket of a server
    /// that is gone is replaced. No other thread may make files meanwhile, since they would have the socket's mode.
    pub(crate) fn listen(path: &Path, user: Option<&str>) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) && is_abandoned(path)? {
            fs::remove_file(path)?;
        }
        let before = umask(Mode::from_bits_truncate(0o117));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound?;
        if let Some(user) = user.map(sandbox::find_user).transpose()? {
            // Whoever may write in the folder could have put a link there.
            lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Must be called in a runtime.
    pub(crate) fn callers(self) -> io::Result<Callers> {
        Ok(Callers(tokio::net::UnixListener::from_std(self.0)?))
    }
}

impl Callers {
    /// Answers the next caller by what `answer` makes of the messages that it gives, if one comes in this time. One
    /// that gives too much or takes too long is cut off.
    ///
    /// # Errors
    /// It was not answered.
    pub(crate) async fn answer_next(
        &self,
        patience: Duration,
        answer: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> io::Result<()> {
        let Ok(accepted) = timeout(patience, self.0.accept()).await else { return Ok(()) };
        let (mut caller, _) = accepted?;
        let call = async {
            let mut messages = Vec::new();
            (&mut caller).take(MESSAGES_BYTES as u64 + 1).read_to_end(&mut messages).await?;
            if messages.len() > MESSAGES_BYTES {
                return Err(io::Error::other("too many messages"));
            }
            caller.write_all(&answer(&messages)).await
        };
        timeout(CALL_MAX, call).await?
    }
}

/// Whether nobody listens at a socket. One whose server is stopped has one, and is not waited for.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    Ok(connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// The messages in what a caller has given, up to the first that is incomplete or too long.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk()?;
        let len = u32::from_be_bytes(*len) as usize;
        let (message, rest) = rest.split_at_checked(len).filter(|_| len <= MESSAGE_MAX)?;
        bytes = rest;
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_before_one_that_is_incomplete() {
        let all = |bytes| messages(bytes).collect::<Vec<_>>();
        assert_eq!(all(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c"), [&b"ab"[..], b"", b"c"]);
        assert_eq!(all(b"\0\0\0\x02ab\0\0\0\x02c"), [b"ab"]);
        assert_eq!(all(b"\0\0\0"), [b""; 0]);
        assert_eq!(all(b"\xff\xff\xff\xffab"), [b""; 0]);
    }
}
