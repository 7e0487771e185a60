//! A name in a place of fixed size.

use crate::credentials::NAME_MAX;

/// A name of up to [`NAME_MAX`] bytes, with its room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShortName {
    bytes: [u8; NAME_MAX],
    len: u8,
}

impl ShortName {
    /// A longer one becomes empty, which is no valid name.
    pub(crate) fn new(name: &str) -> Self {
        let mut bytes = [0; NAME_MAX];
        let room = bytes.get_mut(..name.len());
        let len = room.map_or(0, |room| {
            room.copy_from_slice(name.as_bytes());
            name.len() as u8
        });
        Self { bytes, len }
    }

    pub(crate) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len.into());
        bytes.and_then(|name| str::from_utf8(name).ok()).unwrap_or_default()
    }
}
