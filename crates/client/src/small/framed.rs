//! The client of the framed service: texts with their length in front, over one connection.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::channel::{is_broken, is_timeout};
use crate::host_port::HostPort;
use crate::timed_stream::TimedStream;
use proto::small::framed::{self, FrameError};

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
    /// Received bytes that are not a whole message yet.
    received: Vec<u8>,
}

/// Why a message could not be sent or received.
#[derive(Debug)]
pub enum FramedError {
    /// The server ended the connection between two messages.
    Ended,
    /// The server ended the connection in the middle of a message.
    CutOff {
        /// Bytes of the message that were received, including its length.
        received: usize,
    },
    /// The server, or something on the way, broke the connection.
    Reset,
    /// The server or the network was too slow.
    TimedOut,
    /// The received bytes are not a message, or the text cannot be sent as one.
    Malformed(FrameError),
    /// Any other error of the system.
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

impl From<FrameError> for FramedError {
    fn from(error: FrameError) -> Self {
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

/// The default timeout.
const TIMEOUT: Duration = Duration::from_secs(15);

impl FramedClient {
    /// Connects, with a timeout of 15 s. Each read takes up to `buffer_size` bytes; 0 means 1.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(host: &str, port: u16, buffer_size: usize) -> Result<Self, FramedError> {
        Self::connect_within(TIMEOUT, &HostPort { host: host.into(), port }, buffer_size)
    }

    /// Connects within `timeout`, which is then the timeout of each message that is sent, received or both, however
    /// slowly its bytes come and go. For the first message, it includes connecting.
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

    /// Sets the limit of a received text in bytes, instead of [`framed::MESSAGE_MAX`].
    #[must_use]
    pub fn message_max(self, message_max: usize) -> Self {
        Self { message_max, ..self }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// After any error but [`FramedError::Malformed`] the connection cannot be used any more, since part of the message
    /// may have been sent.
    pub fn send_message(&mut self, text: &str) -> Result<(), FramedError> {
        self.stream.begin();
        send(&mut self.stream, text)
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// [`FramedError`] distinguishes an orderly end, a reset and a message that was cut off. After
    /// [`FramedError::TimedOut`] the message may still come.
    pub fn receive_message(&mut self) -> Result<String, FramedError> {
        self.stream.begin();
        self.receive()
    }

    /// Sends a message and waits for its answer, both within one timeout.
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

    /// Sends all messages while receiving their answers, and passes each answer to `take`.
    ///
    /// # Errors
    /// As [`send_message`](Self::send_message) and [`receive_message`](Self::receive_message).
    pub fn pipeline(&mut self, texts: &[String], mut take: impl FnMut(String)) -> Result<(), FramedError> {
        let mut stream = self.stream.try_clone()?;
        thread::scope(|scope| {
            // A server whose answers are not read stops reading, so messages are sent from another thread.
            let sending = scope.spawn(move || {
                let sent = texts.iter().try_for_each(|text| {
                    stream.begin();
                    send(&mut stream, text)
                });
                // The server should not wait for the messages that were not sent.
                sent.inspect_err(|_| drop(stream.shutdown(Shutdown::Write)))
            });
            let received = texts.iter().try_for_each(|_| {
                take(self.receive_message()?);
                Ok(())
            });
            if received.is_err() {
                // The remaining messages cannot be answered, so they need not be sent.
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let sent = sending.join().unwrap_or_else(|_| Err(io::Error::other("sending panicked").into()));
            match sent {
                // The server only saw the stream end, so the sender's error is the cause.
                Err(error @ (FramedError::Malformed(_) | FramedError::TimedOut)) => Err(error),
                // The receiver's error says more.
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
