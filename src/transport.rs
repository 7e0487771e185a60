//! UDP or TCP.

use std::fmt;

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A message a datagram, resent when lost.
    Udp,
    /// A login a connection.
    Tcp,
}

impl Transport {
    /// The name of the server's program.
    #[must_use]
    pub fn server(self) -> &'static str {
        match self {
            Self::Udp => "server-udp",
            Self::Tcp => "server-tcp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}
