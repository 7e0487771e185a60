//! The client of the framed service: texts with their length in front, over one connection.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::channel::{is_broken, is_timeout};
use crate::host_port::HostPort;
use crate::timed_stream::TimedStream;
use proto::small::framed::{self, Malformed};

/// A connection to a framed server.
///
/// ```no_run
/// use letmein_auth_client::small::FramedClient;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut client = FramedClient::connect("127.0.0.1", 4567, 4096)?;
/// client.send_message("Four score and seven years ago")?;
/// assert_eq!(client.receive_message()?, " and seven years ago");
/// client.shutdown()?;
/// # Ok(())
/// # }
/// ```
pub struct FramedClient {
    stream: TimedStream,
    buffer_size: usize,
    message_max: usize,
    /// What has arrived, and is no whole message yet.
    received: Vec<u8>,
}

/// Why a message could not be sent or received.
#[derive(Debug)]
pub enum FramedError {
    /// The server ended the connection between two messages.
    Ended,
    /// The server ended the connection in the middle of a message.
    CutOff {
        /// What came of the message, its length included.
        received: usize,
    },
    /// The server, or something on the way, broke the connection.
    Reset,
    /// The server, or the way to it, let a wait become too long.
    TimedOut,
    /// What came is no message, or what was to go is none.
    Malformed(Malformed),
    /// The system's word for anything else.
    Io(io::Error),
}

impl fmt::Display for FramedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the server has closed the connection"),
            Self::CutOff { received } => write!(
                f,
                "the connection was cut off in the middle of a message, after {received} bytes of it"
            ),
            Self::Reset => f.write_str("the connection was reset"),
            Self::TimedOut => f.write_str("the server does not answer, or does not read, for too long"),
            Self::Malformed(it) => write!(f, "{it}"),
            Self::Io(it) => write!(f, "{it}"),
        }
    }
}

impl std::error::Error for FramedError {}

impl From<Malformed> for FramedError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<io::Error> for FramedError {
    fn from(error: io::Error) -> Self {
        if is_broken(&error) {
            Self::Reset
        } else if is_timeout(&error) {
            Self::TimedOut
        } else {
            Self::Io(error)
        }
    }
}

/// How long a client waits for a server, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(15);

impl FramedClient {
    /// Connects. Each read will bring up to `buffer_size` bytes; 0 is taken for 1.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(host: &str, port: u16, buffer_size: usize) -> Result<Self, FramedError> {
        Self::connect_within(TIMEOUT, &HostPort { host: host.into(), port }, buffer_size)
    }

    /// Connects within a time, which is then that of each message that is sent, received or both, however slowly its
    /// bytes come and go. The first of these has what connecting left of it.
    ///
    /// # Errors
    /// The system's.
    pub fn connect_within(
        timeout: Duration,
        server: &HostPort,
        buffer_size: usize,
    ) -> Result<Self, FramedError> {
        let stream = TimedStream::connect(server, timeout).map_err(FramedError::Io)?;
        let (buffer_size, message_max) = (buffer_size.max(1), framed::MESSAGE_MAX);
        Ok(Self { stream, buffer_size, message_max, received: Vec::new() })
    }

    /// Takes messages of up to so many bytes from the server, instead of [`framed::MESSAGE_MAX`].
    #[must_use]
    pub fn message_max(self, message_max: usize) -> Self {
        Self { message_max, ..self }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// After any but [`FramedError::Malformed`] the connection is of no more use, since part of the message may have
    /// been sent.
    pub fn send_message(&mut self, text: &str) -> Result<(), FramedError> {
        self.stream.begin();
        send(&mut self.stream, text)
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// [`FramedError`] tells an orderly end, a reset and a message that was cut off apart. After
    /// [`FramedError::TimedOut`] the message may still come.
    pub fn receive_message(&mut self) -> Result<String, FramedError> {
        self.stream.begin();
        self.receive()
    }

    /// Sends a message and waits for its answer, both within the time of one.
    ///
    /// # Errors
    /// As [`send_message`](Self::send_message) and [`receive_message`](Self::receive_message).
    pub fn ask(&mut self, text: &str) -> Result<String, FramedError> {
        self.stream.begin();
        send(&mut self.stream, text)?;
        self.receive()
    }

    fn receive(&mut self) -> Result<String, FramedError> {
        loop {
            let mut rest = &self.received[..];
            let decoded = framed::decode(&mut rest, self.message_max).map(|text| text.map(str::to_owned));
            let taken = self.received.len() - rest.len();
            self.received.drain(..taken);
            if let Some(text) = decoded? {
                return Ok(text);
            }
            self.read()?;
        }
    }

    /// Sends all messages while it receives their answers, and hands each answer to `take`.
    ///
    /// # Errors
    /// As [`send_message`](Self::send_message) and [`receive_message`](Self::receive_message).
    pub fn pipeline(&mut self, texts: &[String], mut take: impl FnMut(String)) -> Result<(), FramedError> {
        let mut stream = self.stream.try_clone()?;
        thread::scope(|scope| {
            // Sending from another thread, since a server that cannot get rid of answers reads no further.
            let sending = scope.spawn(move || {
                let sent = texts.iter().try_for_each(|text| {
                    stream.begin();
                    send(&mut stream, text)
                });
                // What was not sent is not answered.
                sent.inspect_err(|_| drop(stream.shutdown(Shutdown::Write)))
            });
            let received = texts.iter().try_for_each(|_| {
                take(self.receive_message()?);
                Ok(())
            });
            if received.is_err() {
                // What cannot be answered need not be sent.
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let sent = sending.join().unwrap_or_else(|_| Err(io::Error::other("sending panicked").into()));
            match sent {
                // The server has only seen the end of what was sent.
                Err(error @ (FramedError::Malformed(_) | FramedError::TimedOut)) => Err(error),
                // The end of receiving tells why.
                Ok(()) | Err(_) => received.and(sent),
            }
        })
    }

    /// Ends the connection in both directions, if the server has not done so.
    ///
    /// # Errors
    /// The system's.
    pub fn shutdown(self) -> Result<(), FramedError> {
        match self.stream.shutdown(Shutdown::Both) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn read(&mut self) -> Result<(), FramedError> {
        let start = self.received.len();
        self.received.resize(start + self.buffer_size, 0);
        let read = self.stream.read(self.received.get_mut(start..).unwrap_or_default());
        self.received.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) if start == 0 => Err(FramedError::Ended),
            Ok(0) => Err(FramedError::CutOff { received: start }),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn send(stream: &mut TimedStream, text: &str) -> Result<(), FramedError> {
    let mut message = Vec::with_capacity(framed::LENGTH_LEN + text.len());
    framed::encode(text, &mut message)?;
    Ok(stream.write_all(&message)?)
}
