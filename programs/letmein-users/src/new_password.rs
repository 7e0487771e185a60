//! Where a password comes from, a new one or one to compare.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use zeroize::Zeroizing;

use crate::PROGRAM;
use crate::normal_form::new_password;
use crate::plain::Plain;
use letmein::cli::normal;
use letmein::cli::password::{NoPassword, ask, first_line, from_file};
use proto::credentials::{Password, Username};

/// The source of a password that exists; without an option, a terminal.
#[derive(clap::Args)]
pub(crate) struct GivenPassword {
    /// Read the password from the first line of FILE
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
    /// Read the password from standard input
    ///
    /// Only the first line counts.
    #[arg(long)]
    password_stdin: bool,
}

/// The source of a new password; without an option, a terminal.
#[derive(clap::Args)]
pub(crate) struct NewPassword {
    /// Make a random password, and print it
    ///
    /// It has 130 random bits, which nobody can guess.
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub(crate) generate: bool,
    #[command(flatten)]
    given: GivenPassword,
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordMissing {
    #[error(transparent)]
    NotRead(#[from] NoPassword),
    #[error("the password {0}")]
    Invalid(String),
    #[error("no password given, and no terminal to ask for one: add {options}")]
    NoTerminal { options: &'static str },
    #[error("the two passwords differ")]
    Differ,
    #[error("no password could be made: {0}")]
    NotMade(#[from] SysError),
}

/// Lower-case letters and digits that look like no other: a character has five bits.
const ALPHABET: [u8; 32] = *b"abcdefghijkmnpqrstuvwxyz23456789";
/// For 130 bits.
const GENERATED_LEN: usize = 26;

impl GivenPassword {
    /// Reads the password, in its normal form.
    pub(crate) fn read(&self, name: &Username) -> Result<Password, PasswordMissing> {
        if let Some(password) = self.without_terminal()? {
            return Ok(password);
        }
        let typed =
            prompt(format!("Password of {}: ", Plain(name.as_str())), "--password-file or --password-stdin")?;
        Password::new(&normal::password(&typed)).map_err(|error| PasswordMissing::Invalid(error.to_string()))
    }

    fn without_terminal(&self) -> Result<Option<Password>, PasswordMissing> {
        Ok(match (&self.password_file, self.password_stdin) {
            (Some(file), _) => Some(from_file(PROGRAM, file)?),
            (None, true) => Some(first_line(io::stdin().lock(), "standard input")?),
            (None, false) => None,
        })
    }
}

impl NewPassword {
    /// Makes or reads a password that a user may have from now on.
    pub(crate) fn read(&self, name: &Username) -> Result<Password, PasswordMissing> {
        if self.generate {
            return generate();
        }
        match self.given.without_terminal()? {
            Some(given) => new(str::from_utf8(given.expose()).unwrap_or_default()),
            None => prompt_twice(name),
        }
    }
}

fn new(text: &str) -> Result<Password, PasswordMissing> {
    new_password(text).map_err(PasswordMissing::Invalid)
}

fn generate() -> Result<Password, PasswordMissing> {
    let mut random = Zeroizing::new([0; GENERATED_LEN]);
    SysRng.try_fill_bytes(&mut *random)?;
    let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).copied().map(char::from);
    let mut text = Zeroizing::new(String::with_capacity(GENERATED_LEN));
    text.extend(random.iter().filter_map(letter));
    new(&text)
}

fn prompt_twice(name: &Username) -> Result<Password, PasswordMissing> {
    const OPTIONS: &str = "--generate, --password-file or --password-stdin";
    let name = Plain(name.as_str());
    let password = prompt(format!("New password of {name}: "), OPTIONS)?;
    let again = prompt(format!("New password of {name}, again: "), OPTIONS)?;
    if normal::password(&again) != normal::password(&password) {
        return Err(PasswordMissing::Differ);
    }
    new(&password)
}

fn prompt(question: String, options: &'static str) -> Result<Zeroizing<String>, PasswordMissing> {
    if !io::stdin().is_terminal() {
        return Err(PasswordMissing::NoTerminal { options });
    }
    Ok(ask(question)?)
}
