//! The services that workers serve. Each hands messages to the protocol's code, and its decisions to the log.

pub(crate) mod logins;
pub(crate) mod small;
