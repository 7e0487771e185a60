//! Users in PostgreSQL, as commands find and change them.

use std::path::{Path, PathBuf};

use super::refusal::{Doing, Refusal};
use super::rows::{Rows, entries};
use super::{load_settings, wait};
use crate::backend::{AllUsers, Change, Draft, Seen, SeenUser};
use crate::entries::{UserEntry, chosen};
use crate::write::ChangeError;
use engine::{EngineError, Settings, UserRow, Writer, all_users, find_users, open, record_of_anybody};
use letmein::cli::{ExitStatus, normal};
use proto::credentials::Username;
use proto::opaque::key::KeyId;
use users::KeyFile;

/// Where users are in PostgreSQL, and the key of their records, which is not.
pub(crate) struct Database {
    file: PathBuf,
    settings: Settings,
    key_file: Option<PathBuf>,
}

impl Database {
    /// By the file with its settings. It connects with each question or change.
    pub(crate) fn new(file: PathBuf, key_file: Option<PathBuf>) -> Result<Self, ExitStatus> {
        let settings = load_settings(&file)?;
        Ok(Self { file, settings, key_file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    /// The file of the key. `or` is what else there is to do if it is not named.
    pub(crate) fn key_file(&self, or: &'static str) -> Result<KeyFile, ChangeError> {
        let key_file = self.key_file.as_deref().ok_or_else(|| self.without_key(or))?;
        Ok(KeyFile::of(&self.file, Some(key_file))?)
    }

    fn without_key(&self, or: &'static str) -> Refusal {
        Refusal::NoKeyFile { path: self.file.clone(), or }
    }

    /// The id of the key, if its file is named and there are records of it. The first record makes the file.
    fn key_of(&self, rows: &[UserRow]) -> Result<Option<KeyId>, ChangeError> {
        let is_needed = self.key_file.is_some() && rows.iter().any(|row| row.opaque.is_some());
        is_needed.then(|| self.own_key()).transpose()
    }

    fn own_key(&self) -> Result<KeyId, ChangeError> {
        Ok(self.key_file("")?.load()?.key.id())
    }

    pub(crate) fn has_records(&self) -> Result<bool, ChangeError> {
        let record = self.read(async || record_of_anybody(&open(&self.settings).await?, |_| true).await)?;
        Ok(record.is_some())
    }

    pub(crate) fn load(&self) -> Result<AllUsers, ChangeError> {
        let rows = self.read(async || all_users(&open(&self.settings).await?).await)?;
        let key = self.key_of(&rows)?;
        Ok(AllUsers { entries: entries(&self.file, rows, key)?, warnings: Vec::new() })
    }

    pub(crate) fn find(&self, typed: &Username) -> Result<Option<UserEntry>, ChangeError> {
        let normal = normal::name(typed.as_str());
        let names = [typed.as_str(), &normal];
        let rows = self.read(async || find_users(&open(&self.settings).await?, &names).await)?;
        let key = self.key_of(&rows)?;
        Ok(chosen(entries(&self.file, rows, key)?, typed))
    }

    pub(crate) fn see(&self, typed: &Username) -> Result<Seen, ChangeError> {
        let rows = self.read(async || Rows::load(&open(&self.settings).await?, &[typed]).await)?;
        let user = rows.find(typed);
        let user = user.map(|name| SeenUser { has_record: rows.has_record(&name), name });
        Ok(Seen { user, has_records: rows.has_records() })
    }

    pub(crate) fn change<T>(
        &self,
        change: &Change<'_>,
        edit: impl Fn(&mut dyn Draft) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        // Nobody else can change users while this does, so it waits for nothing but the database then.
        let own_key = self.own_key();
        let mut writer = Writer::new(&self.settings);
        let changed = writer.decide(&change.what, async |session| {
            let mut rows = Rows::load(session, &change.names).await?;
            let done = match edit(&mut rows) {
                Ok(done) => done,
                Err(refused) => return Ok(Err(Ended::Refused(refused))),
            };
            if let Err(ended) = self.check(&rows, own_key.as_ref().ok().copied()) {
                return Ok(Err(ended));
            }
            if rows.is_unchanged() {
                return Ok(Err(Ended::Unchanged(done)));
            }
            if let Some(equal) = rows.equal_logins(session).await? {
                let path = self.file.clone();
                let equal = Refusal::EqualLogins { path, name: equal.name, other: equal.other };
                return Ok(Err(equal.into()));
            }
            rows.write(session).await.map(|()| Ok(done))
        });
        match wait(Doing::Change, changed)? {
            Ok(changed) => Ok(changed.value),
            Err(Ended::Unchanged(done)) => Ok(done),
            Err(Ended::Refused(refused)) => Err(refused),
            Err(Ended::WithoutKey) => Err(own_key.err().unwrap_or_else(|| self.without_key("").into())),
        }
    }

    /// Checks what a users file checks when it is parsed. The types hold the rules of names and passwords.
    fn check<T>(&self, rows: &Rows, own: Option<KeyId>) -> Result<(), Ended<T>> {
        let path = || self.file.clone();
        for (name, networks) in rows.written().map(|user| (&user.name, user.networks.len())) {
            if networks > engine::NETWORKS_MAX {
                return Err(Refusal::TooManyNetworks { path: path(), name: name.clone() }.into());
            }
        }
        let Some((name, _)) = rows.new_records().first() else { return Ok(()) };
        let own = own.ok_or(Ended::WithoutKey)?;
        if let Some((name, key)) = rows.new_records().iter().find(|(_, key)| *key != own) {
            let (name, key) = (name.clone(), *key);
            return Err(Refusal::ForeignRecord { path: path(), name, key, own }.into());
        }
        match rows.key_of_records().filter(|present| *present != own) {
            Some(present) => {
                Err(Refusal::OtherKey { path: path(), name: name.clone(), key: own, present }.into())
            }
            None => Ok(()),
        }
    }

    fn read<T>(&self, question: impl AsyncFnOnce() -> Result<T, EngineError>) -> Result<T, ChangeError> {
        Ok(wait(Doing::Read, question())?)
    }
}

/// How a change ends if everything stays as it was.
enum Ended<T> {
    /// There was nothing to change.
    Unchanged(T),
    Refused(ChangeError),
    /// New records need the key.
    WithoutKey,
}

impl<T> From<Refusal> for Ended<T> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}
