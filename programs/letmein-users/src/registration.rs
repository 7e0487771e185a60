//! Records in place of passwords: whether a user gets one, how it is made, and the key that it is made with.

use std::io;
use std::path::Path;

use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::change::{say_waiting, unchanged};
use crate::credential::Credential;
use crate::plain::Plain;
use crate::write::{self, ChangeError};
use crate::{PROGRAM, failed};
use letmein::cli::usage::Invalid;
use letmein::cli::{ExitStatus, normal, say};
use proto::credentials::{Password, Username};
use proto::opaque::key::ServerKey;
use proto::opaque::record::Record;
use proto::opaque::registration::register;
use proto::opaque::stretching::Stretching;
use users::{Content, UsersError, parse_stretching};

/// What is kept of a new password; without an option, what is kept of the others.
#[derive(clap::Args)]
pub(crate) struct Keeping {
    /// Keep a record (OPAQUE) in place of the password
    ///
    /// Nobody can guess the password by the record alone, or by what they hear.
    /// The default once any user has a record. The first record makes the key file.
    #[arg(long, conflicts_with = "md5")]
    opaque: bool,
    /// Keep the password itself, for logins by MD5
    #[arg(long, conflicts_with = "stretch")]
    md5: bool,
    /// How hard guessing is for who steals record and key
    ///
    /// default: 64 MiB of memory and 3 passes of Argon2id for each login, in the
    /// client. light: 19 MiB and 2 passes. none: for generated passwords, and the
    /// default for these. Or m=KIB,t=PASSES,p=LANES. Implies --opaque.
    #[arg(long, value_name = "HOW", value_parser = parse_stretch)]
    stretch: Option<Stretching>,
}

/// What is kept of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Password,
    Record(Stretching),
}

impl Keeping {
    /// Whether somebody has said what is kept.
    pub(crate) fn is_chosen(&self) -> bool {
        self.opaque || self.md5 || self.stretch.is_some()
    }

    /// Goes by the options, or else by whether others have records.
    pub(crate) fn decide(&self, has_records: bool, is_generated: bool) -> Kept {
        let Self { opaque, md5, stretch } = *self;
        if md5 || !(opaque || stretch.is_some() || has_records) {
            return Kept::Password;
        }
        let usual = if is_generated { Stretching::NONE } else { Stretching::DEFAULT };
        Kept::Record(stretch.unwrap_or(usual))
    }
}

/// Parses a stretching by its name or by its parameters.
pub(crate) fn parse_stretch(text: &str) -> Result<Stretching, Invalid> {
    let parsed = match text {
        "default" => return Ok(Stretching::DEFAULT),
        "light" => return Ok(Stretching::LIGHT),
        _ if text.starts_with("m=") => parse_stretching(&format!("argon2id,{text}")),
        _ => parse_stretching(text),
    };
    let remedy =
        "write default, light, none or m=65536,t=3,p=1, up to 256 MiB (m=262144), 16 passes and 8 lanes";
    parsed.map_err(|_| Invalid::new("stretching", text, remedy))
}

/// Makes a user's credential of a password. The name is the one in the file.
pub(crate) fn credential(
    backend: &Backend,
    name: &Username,
    password: Password,
    kept: Kept,
) -> Result<Credential, ExitStatus> {
    let stretching = match kept {
        Kept::Password => return Ok(Credential::Password(password)),
        Kept::Record(stretching) => stretching,
    };
    refuse_abnormal(backend.path(), name).map_err(|error| unchanged(&error))?;
    let key = server_key(backend)?;
    let record = new_record(&key, name, &password, stretching).map_err(|error| failed(&error))?;
    Ok(Credential::Record(Box::new(record)))
}

/// Refuses a name that clients send in another form: a record is bound to its name.
pub(crate) fn refuse_abnormal(users: &Path, name: &Username) -> Result<(), ChangeError> {
    if normal::name(name.as_str()) == name.as_str() {
        return Ok(());
    }
    Err(ChangeError::AbnormalName { path: users.into(), name: name.clone() })
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRecord {
    #[error("no random numbers for a record: {0}")]
    NotDrawn(#[from] SysError),
    #[error("no memory to stretch the password: give less with --stretch")]
    NotStretched,
}

/// Makes a record, which takes as long as a client takes for a login.
pub(crate) fn new_record(
    key: &ServerKey,
    name: &Username,
    password: &Password,
    stretching: Stretching,
) -> Result<Record, NoRecord> {
    register(key, name, password, stretching, &mut random()?).map_err(|_| NoRecord::NotStretched)
}

pub(crate) fn random() -> Result<ChaCha20Rng, SysError> {
    let mut seed = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(&mut *seed)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// The key of the records. Where there is none, and no record either, it is made.
pub(crate) fn server_key(backend: &Backend) -> Result<ServerKey, ExitStatus> {
    let file = backend.key_file().map_err(|error| unchanged(&error))?;
    let error = match file.load() {
        Ok(loaded) => return Ok(loaded.key),
        Err(error) => error,
    };
    if is_missing(&error) && !backend.may_have_records().map_err(|error| unchanged(&error))? {
        return make_key(backend, file.path());
    }
    Err(unchanged(&error.into()))
}

pub(crate) fn is_missing(error: &UsersError) -> bool {
    matches!(error, UsersError::Unreadable { content: Content::Key, error, .. } if error.kind() == io::ErrorKind::NotFound)
}

fn make_key(backend: &Backend, path: &Path) -> Result<ServerKey, ExitStatus> {
    let key = ServerKey::generate(&mut random().map_err(|error| failed(&error))?);
    write::create_key(path, backend.path(), &key, say_waiting).map_err(|error| unchanged(&error))?;
    let path = path.display().to_string();
    say(format_args!(
        "{PROGRAM}: made the key file {}. Back it up, and keep that copy apart from those of the {}: without the \
         key no record lets anybody in, and only somebody with both files can guess passwords.",
        Plain(&path),
        backend.kind()
    ));
    Ok(key)
}
