//! Where users are: in a users file, or in PostgreSQL. Commands are written once, and work on either.

use std::path::Path;

use crate::change::say_waiting;
use crate::conditions::Condition;
use crate::credential::Credential;
use crate::edit::NewUser;
#[cfg(feature = "engine")]
use crate::engine::{Database, Refusal};
use crate::entries::{UserEntry, entries, entry};
use crate::files::Files;
use crate::write::{self, ChangeError, Missing};
use proto::credentials::Username;
use users::{KeyFile, Problem};

/// Where users are.
pub(crate) enum Backend {
    File(Files),
    #[cfg(feature = "engine")]
    Engine(Box<Database>),
}

/// Users while they are changed: the text of a file, or rows.
pub(crate) trait Draft {
    /// The user of this name, in whatever form the name is typed and written.
    fn find(&self, typed: &Username) -> Option<Username>;
    /// Whether a user logs in by this now.
    fn has(&self, name: &Username, credential: &Credential) -> bool;
    fn has_record(&self, name: &Username) -> bool;
    /// Whether any user has one.
    fn has_records(&self) -> bool;
    /// Adds a user. There must be none of that name.
    fn add(&mut self, user: &NewUser);
    /// Changes what a user logs in by; there is no old password then.
    fn set_credential(&mut self, name: &Username, new: &Credential) -> Result<(), Problem>;
    fn set(&mut self, name: &Username, condition: &Condition) -> Result<(), Problem>;
    /// Gives a user a new name, which no other user has.
    fn rename(&mut self, name: &Username, new: &Username);
    fn remove(&mut self, name: &Username);
}

/// What a change is, and whom it is about.
#[cfg_attr(
    not(feature = "engine"),
    expect(dead_code, reason = "a users file has no history, and is read whole")
)]
pub(crate) struct Change<'n> {
    /// What others are told of it.
    pub(crate) what: String,
    /// The names of all users that it may look at.
    pub(crate) names: Vec<&'n Username>,
    /// What to do if there is no users file.
    pub(crate) missing: Missing,
}

impl<'n> Change<'n> {
    /// A change of users who must exist, by the name of its command.
    pub(crate) fn of(command: &str, name: &'n Username) -> Self {
        Self { what: format!("{command} {name}"), names: vec![name], missing: Missing::Refuse }
    }
}

/// All users, and what to know about where they are.
pub(crate) struct AllUsers {
    pub(crate) entries: Vec<UserEntry>,
    pub(crate) warnings: Vec<String>,
}

/// What there is now, to look before somebody is asked. The change looks again under the lock.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) user: Option<SeenUser>,
    /// Whether any user has a record.
    pub(crate) has_records: bool,
}

pub(crate) struct SeenUser {
    pub(crate) name: Username,
    pub(crate) has_record: bool,
}

impl Backend {
    /// What messages call it: the users file, or that of the settings.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(files) => &files.users,
            #[cfg(feature = "engine")]
            Self::Engine(database) => database.path(),
        }
    }

    /// What it is.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "users file",
            #[cfg(feature = "engine")]
            Self::Engine(_) => "database",
        }
    }

    /// The users file, for passwords before the present ones.
    pub(crate) fn with_old_passwords(&self) -> Result<&Files, ChangeError> {
        match self {
            Self::File(files) => Ok(files),
            #[cfg(feature = "engine")]
            Self::Engine(database) => Err(Refusal::NoOldPasswords { path: database.path().into() }.into()),
        }
    }

    /// The file of the key of the records.
    pub(crate) fn key_file(&self) -> Result<KeyFile, ChangeError> {
        match self {
            Self::File(files) => Ok(files.key_file()?),
            #[cfg(feature = "engine")]
            Self::Engine(database) => database.key_file(""),
        }
    }

    /// The same, for the record of a password that may be kept itself.
    pub(crate) fn key_file_of_password(&self) -> Result<KeyFile, ChangeError> {
        match self {
            Self::File(files) => Ok(files.key_file()?),
            #[cfg(feature = "engine")]
            Self::Engine(database) => database.key_file(", or add --md5 to keep the password itself"),
        }
    }

    /// Whether there may be records, valid or not.
    pub(crate) fn may_have_records(&self) -> Result<bool, ChangeError> {
        match self {
            Self::File(files) => Ok(files.may_have_records()),
            #[cfg(feature = "engine")]
            Self::Engine(database) => database.has_records(),
        }
    }

    /// All users, if all are right.
    pub(crate) fn load(&self) -> Result<AllUsers, ChangeError> {
        match self {
            Self::File(files) => {
                let source = files.load_text()?;
                let warnings = source.loaded.warnings.iter().map(ToString::to_string).collect();
                Ok(AllUsers { entries: entries(source.text()), warnings })
            }
            #[cfg(feature = "engine")]
            Self::Engine(database) => database.load(),
        }
    }

    /// The user of this name, in whatever form it is typed.
    pub(crate) fn find(&self, typed: &Username) -> Result<UserEntry, ChangeError> {
        let found = match self {
            Self::File(files) => entry(files.load_text()?.text(), typed),
            #[cfg(feature = "engine")]
            Self::Engine(database) => database.find(typed)?,
        };
        found.ok_or_else(|| ChangeError::NoSuchUser { path: self.path().into(), name: typed.clone() })
    }

    /// Looks before somebody is asked. Nothing if there is no file that can be read: the change says what is wrong.
    pub(crate) fn see(&self, typed: &Username) -> Result<Option<Seen>, ChangeError> {
        match self {
            Self::File(files) => Ok(files.load_text().ok().map(|source| Seen {
                user: entry(source.text(), typed).map(|user| SeenUser {
                    has_record: user.credential.password().is_none(),
                    name: user.name,
                }),
                has_records: source.loaded.users.mechanisms().opaque,
            })),
            #[cfg(feature = "engine")]
            Self::Engine(database) => database.see(typed).map(Some),
        }
    }

    /// Changes users: all that `edit` does to the draft, or nothing if it refuses. It may run more than once.
    pub(crate) fn change<T>(
        &self,
        change: &Change<'_>,
        edit: impl Fn(&mut dyn Draft) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        match self {
            Self::File(files) => write::change(files, change.missing, say_waiting, |text| edit(text)),
            #[cfg(feature = "engine")]
            Self::Engine(database) => database.change(change, edit),
        }
    }
}
