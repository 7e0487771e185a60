//! The fields of a message, taken off its front one by one.

use super::{Kind, MAGIC};
use crate::challenge::Challenge;
use crate::credentials::{NAME_MAX, NameError, Username};
use crate::wire::Malformed;

/// What is left of a message of the right length.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Checks the head and the length, and gives the kind and what follows.
    pub(super) fn of(bytes: &'a [u8]) -> Result<(Kind, Self), Malformed> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(Malformed::NotAMessage)?;
        let (kind, rest) = rest.split_first().ok_or(Malformed::NotAMessage)?;
        let kind = Kind::ALL.into_iter().find(|it| *it as u8 == *kind).ok_or(Malformed::NotAMessage)?;
        if bytes.len() == kind.len() { Ok((kind, Self(rest))) } else { Err(Malformed::Length) }
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(field)
    }

    pub(super) fn challenge(&mut self) -> Result<Challenge, Malformed> {
        self.take().map(|bytes| Challenge::from_random(u64::from_be_bytes(*bytes)))
    }

    pub(super) fn name(&mut self) -> Result<&'a str, Malformed> {
        let [len] = self.take::<1>()?;
        let field = self.take::<NAME_MAX>()?;
        let (name, rest) = field.split_at_checked((*len).into()).ok_or(NameError::TooLong)?;
        are_zeros(rest)?;
        Ok(Username::check(name)?)
    }

    pub(super) fn zeros(&mut self, len: usize) -> Result<(), Malformed> {
        let (zeros, rest) = self.0.split_at_checked(len).ok_or(Malformed::Length)?;
        self.0 = rest;
        are_zeros(zeros)
    }
}

fn are_zeros(bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.iter().fold(0, |all, byte| all | byte) == 0 { Ok(()) } else { Err(Malformed::Padding) }
}
