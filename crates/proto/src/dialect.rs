//! Requests, verdicts, and the two dialects of the protocol: how a client spells its request tells how it reads the
//! verdict.

/// Bytes of a request, in either dialect.
pub const REQUEST_LEN: usize = 22;

/// A request, by what it says of the messages that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request(Dialect);

impl Request {
    /// A request for a verdict in this dialect.
    #[must_use]
    pub fn of(dialect: Dialect) -> Self {
        Self(dialect)
    }

    /// Decodes a request; `None` if `text` is none.
    #[must_use]
    pub fn decode(text: &[u8]) -> Option<Self> {
        Dialect::requested_by(text).map(Self)
    }

    /// The bytes that go over the wire.
    #[must_use]
    pub fn text(self) -> &'static [u8; REQUEST_LEN] {
        self.0.request()
    }

    /// The dialect of the verdict.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        self.0
    }
}

/// How the verdict is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// As a sentence.
    Words,
    /// As `Y` or `N`, for the first clients (2015).
    Letters,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Words, Self::Letters];

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

    /// The verdict as it is sent in this dialect.
    pub(crate) const fn spell(self, verdict: Verdict) -> &'static str {
        match (self, verdict) {
            (Self::Words, Verdict::Welcome) => "Welcome to our service.",
            (Self::Words, Verdict::Refused) => "User authorization failed.",
            (Self::Letters, Verdict::Welcome) => "Y",
            (Self::Letters, Verdict::Refused) => "N",
        }
    }

    /// The byte by which its challenges are told from those of the other dialects. 2 is that of renewals.
    pub(crate) fn mark(self) -> u8 {
        match self {
            Self::Words => 0,
            Self::Letters => 1,
        }
    }

    /// Whether so few clients ask for it that their challenges can be remembered.
    pub(crate) fn is_rare(self) -> bool {
        match self {
            Self::Words => false,
            Self::Letters => true,
        }
    }
}

/// The result of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right, and the user may log in.
    Welcome,
    /// The password is wrong, or the user is unknown or may not log in; the server does not say which.
    Refused,
}

impl Verdict {
    /// The sentence that is sent in the dialect of words, and printed by clients.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        Dialect::Words.spell(self)
    }
}
