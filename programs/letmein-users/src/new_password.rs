//! Where a new password comes from.

use std::io::{self, IsTerminal};

use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use zeroize::Zeroizing;

use crate::normal_form::new_password;
use crate::plain::Plain;
use letmein::cli::normal;
use letmein::cli::password::{NoPassword, ask, first_line};
use proto::credentials::{Password, Username};

/// The source of a new password; without an option, a terminal.
#[derive(clap::Args)]
pub(crate) struct NewPassword {
    /// Make a password of 130 random bits, and print it
    #[arg(long, conflicts_with = "password_stdin")]
    pub(crate) generate: bool,
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
}

/// Why there is no new password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoNewPassword {
    #[error(transparent)]
    NotRead(#[from] NoPassword),
    #[error("the password {0}")]
    Invalid(String),
    #[error("no password, and no terminal to ask at: add --generate or --password-stdin")]
    NoTerminal,
    #[error("the two passwords differ")]
    Differ,
    #[error("no password could be made: {0}")]
    NotMade(#[from] SysError),
}

/// Lower-case letters and digits that look like no other: a character has five bits.
const ALPHABET: [u8; 32] = *b"abcdefghijkmnpqrstuvwxyz23456789";
/// For 130 bits.
const GENERATED_LEN: usize = 26;

impl NewPassword {
    pub(crate) fn read(&self, name: &Username) -> Result<Password, NoNewPassword> {
        if self.generate {
            return generate();
        }
        let typed = if self.password_stdin {
            first_line(io::stdin().lock(), "standard input")?
        } else {
            prompt_twice(name)?
        };
        new_password(str::from_utf8(typed.expose()).unwrap_or_default()).map_err(NoNewPassword::Invalid)
    }
}

fn generate() -> Result<Password, NoNewPassword> {
    let mut random = Zeroizing::new([0; GENERATED_LEN]);
    SysRng.try_fill_bytes(&mut *random)?;
    let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).copied().map(char::from);
    let mut text = Zeroizing::new(String::with_capacity(GENERATED_LEN));
    text.extend(random.iter().filter_map(letter));
    Password::new(&text).map_err(|error| NoNewPassword::Invalid(error.to_string()))
}

fn prompt_twice(name: &Username) -> Result<Password, NoNewPassword> {
    if !io::stdin().is_terminal() {
        return Err(NoNewPassword::NoTerminal);
    }
    let name = Plain(name.as_str());
    let password = ask(format!("New password of {name}: "))?;
    let again = ask(format!("New password of {name}, again: "))?;
    if normal::password(&again) != normal::password(&password) {
        return Err(NoNewPassword::Differ);
    }
    new_password(&password).map_err(NoNewPassword::Invalid)
}
