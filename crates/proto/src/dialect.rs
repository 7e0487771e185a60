//! The two dialects of the protocol: how a client spells its request tells how it reads the verdict.

/// Bytes of a request, in either dialect.
pub const REQUEST_LEN: usize = 22;

/// How the verdict is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// As a sentence.
    Words,
    /// As `Y` or `N`, for the first clients (2015).
    Letters,
}

impl Dialect {
    /// The dialect in which a request asks for its verdict; `None` if `text` is no request.
    #[must_use]
    pub fn requested_by(text: &[u8]) -> Option<Self> {
        match text {
            b"Authentication Request" | b"authentication request" => Some(Self::Words),
            b"Authentication request" => Some(Self::Letters),
            _ => None,
        }
    }

    /// A request for this dialect.
    #[must_use]
    pub fn request(self) -> &'static [u8; REQUEST_LEN] {
        match self {
            Self::Words => b"Authentication Request",
            Self::Letters => b"Authentication request",
        }
    }
}
