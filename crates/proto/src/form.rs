//! The spellings of a request, and of the verdict that each asks for.

/// Bytes of a request, in each of its spellings.
pub const REQUEST_LEN: usize = 22;

/// How a client asked to be told the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In a sentence.
    Words,
    /// As `Y` or `N`, the dialect of the first clients (2015).
    Letters,
}

impl Form {
    /// The form that a request asks for, if `text` is a request.
    #[must_use]
    pub fn requested_by(text: &[u8]) -> Option<Self> {
        match text {
            b"Authentication Request" | b"authentication request" => Some(Self::Words),
            b"Authentication request" => Some(Self::Letters),
            _ => None,
        }
    }

    /// The request of our own client.
    #[must_use]
    pub fn request(self) -> &'static [u8; REQUEST_LEN] {
        match self {
            Self::Words => b"Authentication Request",
            Self::Letters => b"Authentication request",
        }
    }
}
