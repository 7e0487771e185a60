//! Where a new password comes from.

use std::io::{self, IsTerminal};

use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use zeroize::Zeroizing;

use crate::cli::password::{NoPassword, ask, first_line};
use proto::credentials::{Password, Username};
use proto::shown::Shown;

/// Where a new password comes from; without an option, from a terminal.
#[derive(clap::Args)]
pub(super) struct NewPassword {
    /// Make a password of 130 random bits, and print it
    #[arg(long, conflicts_with = "password_stdin")]
    pub(super) generate: bool,
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
}

/// Why there is no new password.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoNewPassword {
    #[error("{0}")]
    Unread(#[from] NoPassword),
    #[error("no password, and no terminal to ask at: add --generate or --password-stdin")]
    NoTerminal,
    #[error("the two passwords differ")]
    Differ,
    #[error("the password is empty")]
    Empty,
    #[error("no password could be made: {0}")]
    NotMade(SysError),
}

/// Small letters and digits that nobody takes for another: a character has five bits.
const ALPHABET: [u8; 32] = *b"abcdefghijkmnpqrstuvwxyz23456789";
/// For 130 bits.
const GENERATED_LEN: usize = 26;

impl NewPassword {
    pub(super) fn read(&self, name: &Username) -> Result<Password, NoNewPassword> {
        let password = match (self.generate, self.password_stdin) {
            (true, _) => checked(&generate()?),
            (_, true) => first_line(io::stdin().lock(), "standard input"),
            (false, false) => checked(&prompt_twice(name)?),
        }?;
        if password.expose().is_empty() { Err(NoNewPassword::Empty) } else { Ok(password) }
    }
}

fn checked(text: &str) -> Result<Password, NoPassword> {
    Ok(Password::new(text)?)
}

fn generate() -> Result<Zeroizing<String>, NoNewPassword> {
    let mut random = Zeroizing::new([0; GENERATED_LEN]);
    SysRng.try_fill_bytes(&mut *random).map_err(NoNewPassword::NotMade)?;
    let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).copied().map(char::from);
    let mut text = Zeroizing::new(String::with_capacity(GENERATED_LEN));
    text.extend(random.iter().filter_map(letter));
    Ok(text)
}

fn prompt_twice(name: &Username) -> Result<Zeroizing<String>, NoNewPassword> {
    if !io::stdin().is_terminal() {
        return Err(NoNewPassword::NoTerminal);
    }
    let name = Shown(name.as_str().as_bytes());
    let password = ask(format!("New password of {name}: "))?;
    if *ask(format!("New password of {name}, again: "))? != *password {
        return Err(NoNewPassword::Differ);
    }
    Ok(password)
}
