//! The services as the loops see them: each hands messages to the part that decides, and reports what it decided.

pub(crate) mod exchanges;
pub(crate) mod logins;
