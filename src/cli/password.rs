//! Where a password comes from.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::cli::{argv, normal, say};
use proto::credentials::{PASSWORD_MAX, Password, PasswordError, Username};

const VARIABLE: &str = "LETMEIN_PASSWORD";
/// A longer line holds no password, even if it ends in CR and LF. Accents that are characters of their own take up to
/// four times the bytes of a password in its normal form.
const LINE_MAX: u64 = 4 * PASSWORD_MAX as u64 + 3;

const HEADING: &str = "Password";

/// Where the client may take its password from, in the order tried.
#[derive(Default, clap::Args)]
pub struct PasswordSource {
    /// Password; safer with --password-file
    ///
    /// Other users of this machine can see arguments for a moment, until the program wipes them (on Linux).
    #[arg(value_name = "PASSWORD", conflicts_with_all = ["file", "stdin"])]
    argument: Option<String>,
    /// Read the password from the first line of FILE
    #[arg(long = "password-file", help_heading = HEADING, value_name = "FILE", conflicts_with = "stdin")]
    file: Option<PathBuf>,
    /// Read the password from standard input
    #[arg(long = "password-stdin", help_heading = HEADING)]
    stdin: bool,
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum NoPassword {
    #[error("no password: give it with --password-file, --password-stdin or the variable {VARIABLE}")]
    NoneGiven,
    #[error("the password is empty")]
    Empty,
    #[error("the first line of {0} is empty")]
    EmptyLine(String),
    #[error("the password has a control character, such as a line end: give it with --password-file")]
    ControlCharacter,
    #[error("the password {0}")]
    Invalid(#[from] PasswordError),
    #[error("cannot read the password from {from}: {error}")]
    Unreadable { from: String, error: io::Error },
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
    #[error("for standard input use --password-stdin")]
    Dash,
    #[error("the variable {VARIABLE} is not UTF-8")]
    VariableNotUtf8,
}

impl PasswordSource {
    /// Takes the password out of the process list, if it is there.
    pub fn wipe(&self) {
        if let Some(argument) = &self.argument {
            // Where this cannot be done, as SECURITY.md says, the login goes on.
            let _ = argv::wipe(argument);
        }
    }

    /// Takes the password from the first source that there is; the last is a terminal.
    pub fn read(self, program: &str, user: &Username) -> Result<Password, NoPassword> {
        if self.argument.as_deref() == Some("-") {
            return Err(NoPassword::Dash);
        }
        if let Some(argument) = self.argument.map(Zeroizing::new) {
            return match normal::unfit_for_passwords(&argument) {
                // Most likely a mistake of a script, which the server would refuse without a reason.
                Some(_) => Err(NoPassword::ControlCharacter),
                None => checked(&argument),
            };
        }
        if let Some(path) = self.file {
            return from_file(program, &path);
        }
        if self.stdin && !io::stdin().is_terminal() {
            return first_line(io::stdin().lock(), "standard input");
        }
        if self.stdin {
            return prompt(user);
        }
        match env::var(VARIABLE).map(Zeroizing::new) {
            Ok(password) => return checked(&password),
            Err(env::VarError::NotUnicode(_)) => return Err(NoPassword::VariableNotUtf8),
            Err(env::VarError::NotPresent) => {}
        }
        prompt(user)
    }
}

/// The password in the first line of a file, of which the program warns if others can read it.
pub fn from_file(program: &str, path: &Path) -> Result<Password, NoPassword> {
    if path == Path::new("-") {
        return Err(NoPassword::Dash);
    }
    let from = path.display().to_string();
    match File::open(path) {
        Ok(file) => {
            if is_open_to_others(&file) {
                say(format_args!(
                    "{program}: warning: others can read {from}: keep passwords in files of mode 600"
                ));
            }
            first_line(BufReader::new(file), &from).map_err(|error| {
                if let NoPassword::Empty = error { NoPassword::EmptyLine(from) } else { error }
            })
        }
        Err(error) => Err(NoPassword::Unreadable { from, error }),
    }
}

/// Whether other users can read a file that is kept on a disk.
#[cfg(unix)]
fn is_open_to_others(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> bool {
    false
}

/// Whether there is a space at an end, which people do not see.
#[must_use]
pub fn has_outer_space(password: &Password) -> bool {
    password.expose().starts_with(b" ") || password.expose().ends_with(b" ")
}

/// The password in its normal form.
fn checked(typed: &str) -> Result<Password, NoPassword> {
    if typed.is_empty() {
        return Err(NoPassword::Empty);
    }
    Ok(Password::new(&normal::password(typed))?)
}

/// The password in the first line.
pub fn first_line(input: impl BufRead, from: &str) -> Result<Password, NoPassword> {
    let mut line = Zeroizing::new(String::with_capacity(LINE_MAX as usize));
    input.take(LINE_MAX).read_line(&mut line).map_err(|error| {
        let from = from.to_owned();
        if error.kind() == io::ErrorKind::InvalidData {
            NoPassword::NotUtf8(from)
        } else {
            NoPassword::Unreadable { from, error }
        }
    })?;
    if line.len() as u64 == LINE_MAX {
        return Err(PasswordError::TooLong.into());
    }
    let password = match line.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        // The pam_exec of old systems ends a password with a NUL, as C ends a string.
        None => line.strip_suffix(['\r', '\0']).unwrap_or(&line),
    };
    // Editors on Windows begin a file with a mark.
    checked(password.trim_start_matches('\u{feff}'))
}

fn prompt(user: &Username) -> Result<Password, NoPassword> {
    if !io::stdin().is_terminal() {
        return Err(NoPassword::NoneGiven);
    }
    checked(&ask(format!("Password of {user}: "))?)
}

/// Asks for a password at the terminal, which does not show it.
pub fn ask(prompt: String) -> Result<Zeroizing<String>, NoPassword> {
    let unreadable = |error| NoPassword::Unreadable { from: "the terminal".to_owned(), error };
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(unreadable)
}
