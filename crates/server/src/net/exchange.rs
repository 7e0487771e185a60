//! The socket at which a program of this machine carries messages between this server and others: it gives the last
//! ones of the others, each after its length in four bytes, the highest first, and ends its side. The reply is the
//! message of this server, without a length.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::sandbox;
use proto::server::fleet::MESSAGE_MAX;

/// The most bytes that are read: the messages of 256 servers.
const MESSAGES_MAX: usize = 256 * (4 + MESSAGE_MAX);
/// How long a caller may take.
const CALL_MAX: Duration = Duration::from_secs(1);

/// Listens at a path, which the user and the group that the server will have may write to. A socket of a server that is
/// gone is replaced.
pub(crate) fn listen(path: &Path, user: Option<&str>) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    if let Some(user) = user.map(sandbox::find_user).transpose()? {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the next caller, whose messages `answer` is given. One that sends too much or takes too long has no reply.
///
/// # Errors
/// The caller was not served.
pub(crate) async fn serve_next(
    listener: &tokio::net::UnixListener,
    answer: impl FnOnce(&[u8]) -> Vec<u8>,
) -> io::Result<()> {
    let (mut caller, _) = listener.accept().await?;
    let call = async {
        let mut messages = Vec::new();
        (&mut caller).take(MESSAGES_MAX as u64 + 1).read_to_end(&mut messages).await?;
        if messages.len() > MESSAGES_MAX {
            return Err(io::Error::other("too many messages"));
        }
        caller.write_all(&answer(&messages)).await
    };
    timeout(CALL_MAX, call).await?
}

/// The messages in what a caller has sent, up to the first that is incomplete.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk()?;
        let (message, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
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
