//! `users.toml` on disk, and beside it the key of its records and the keys of the cluster.

use std::io;
use std::path::Path;

use crate::error::{Content, UsersError, Warning};
use crate::file::{FileBytes, Owner, TrustedFile, is_open_to_others, text};
use crate::folder::{Folder, once_each};
use crate::keys::Keys;
use crate::parse::parse_in_threads;
use crate::pieces::all_threads;
use crate::source::{FileStamp, Loaded, Stamp, UserSource};
use proto::mechanism::Mechanisms;
use proto::users::Samples;
use rustix::fs::Uid;

/// Reads and parses a users file.
///
/// # Errors
/// What keeps it from being used, with file, line, column and remedy.
pub fn load(path: &Path) -> Result<Loaded, UsersError> {
    UsersFile::new(path)?.load()
}

/// A valid users file, and its text.
pub struct LoadedText {
    /// The users, and what to know about them.
    pub loaded: Loaded,
    bytes: FileBytes,
}

impl LoadedText {
    /// The text as it is in the file, passwords and all.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap_or_default()
    }
}

/// Like [`load`], with the text, and with the key file of this name rather than that beside the users file.
///
/// # Errors
/// The same.
pub fn load_text(path: &Path, key: Option<&Path>) -> Result<LoadedText, UsersError> {
    UsersFile::new(path)?.with_key(key)?.load_text()
}

/// A users file that is read repeatedly, even by a server whose sandbox leaves it only the folders of the file and of
/// its key.
pub struct UsersFile {
    file: TrustedFile,
    keys: Keys,
    /// Threads that parse it: one in a server that serves, so that logins do not notice.
    threads: usize,
}

impl UsersFile {
    /// Opens the folder; the file need not be there yet. The key of its records is in `letmein.key` beside it, and is
    /// read if there are records.
    ///
    /// # Errors
    /// If there is no such folder, or others decide what is in it.
    pub fn new(path: &Path) -> Result<Self, UsersError> {
        let file = TrustedFile::new(path, Content::Users)?;
        file.refuse_foreign_link()?;
        Ok(Self { file, keys: Keys::of(path, None)?, threads: all_threads() })
    }

    /// With a key file of another name, which is always read; without a name it is the one beside the users file. Comes
    /// before the other keys, and before [`read_by`](Self::read_by).
    ///
    /// # Errors
    /// The same as those of [`new`](Self::new).
    pub fn with_key(self, path: Option<&Path>) -> Result<Self, UsersError> {
        Ok(Self { keys: Keys::of(&self.file.path, path)?, ..self })
    }

    /// With the keys that the servers of a cluster share. Comes before [`read_by`](Self::read_by).
    ///
    /// # Errors
    /// The same as those of [`new`](Self::new).
    pub fn with_cluster_keys(self, path: Option<&Path>) -> Result<Self, UsersError> {
        Ok(Self { keys: self.keys.with_cluster(path)?, ..self })
    }

    /// Prepares it for a server that runs as this user.
    ///
    /// # Errors
    /// If its path leads through a folder or a link that another user may have made.
    pub fn read_by(self, reader: Uid) -> Result<Self, UsersError> {
        Ok(Self { file: self.file.read_by(reader)?, keys: self.keys.read_by(reader)?, ..self })
    }

    fn load_text(&self) -> Result<LoadedText, UsersError> {
        let (bytes, stat) = self.file.read()?;
        let text = text(&bytes, &self.file.path)?;
        let keys = self.keys.load_with(self.keys.records.load_for(text)?)?;
        let wrong = |problems| UsersError::Wrong { path: self.file.path.clone(), problems };
        let key_of_records = keys.records.as_ref().map(|key| &key.key);
        let users = parse_in_threads(text, key_of_records, self.threads).map_err(wrong)?;
        let path = || self.file.path.clone();
        let mut warnings = Vec::new();
        if self.file.owner(&stat)? == Owner::Foreign {
            warnings.push(Warning::ForeignOwner(path()));
        }
        // Nobody can guess by records without their key, and the samples are public.
        let has_only_records = users.mechanisms() == Mechanisms { md5: false, opaque: true };
        let is_public = has_only_records || matches!(users.samples(), Samples::Alone(_));
        if is_open_to_others(&stat) && !is_public {
            warnings.push(Warning::OpenToOthers(path()));
        }
        if users.is_empty() {
            warnings.push(Warning::NoUsers(path()));
        }
        let loaded = keys.complete(users, warnings, self.keys.stamp(FileStamp::of(&stat), None));
        Ok(LoadedText { loaded, bytes })
    }
}

impl UserSource for UsersFile {
    fn path(&self) -> &Path {
        &self.file.path
    }

    fn load(&self) -> Result<Loaded, UsersError> {
        self.load_text().map(|text| text.loaded)
    }

    fn stamp(&self) -> Option<Stamp> {
        Some(self.keys.stamp(self.file.stamp()?, None))
    }

    fn needs(&self) -> io::Result<Vec<Folder>> {
        // The keys are beside the users file most of the time.
        once_each(self.file.both_folders().chain(self.keys.both_folders()))
    }

    fn settle(&mut self) -> Result<(), UsersError> {
        self.threads = 1;
        self.file.settle()?;
        self.keys.settle()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use tempfile::TempDir;

    use super::*;
    use crate::{key_beside, key_text, record_text};
    use proto::credentials::Password;
    use proto::opaque::key::ServerKey;
    use proto::opaque::registration::register;
    use proto::opaque::stretching::Stretching;

    /// A folder with a users file, in which alice has a record.
    struct Site(TempDir);

    impl Site {
        fn new() -> Self {
            let site = Self(tempfile::tempdir().unwrap());
            let (name, password) = ("alice".parse().unwrap(), Password::new("hunter2").unwrap());
            let random = &mut ChaCha20Rng::from_seed([9; 32]);
            let record = register(&key(1), &name, &password, Stretching::NONE, random).unwrap();
            write(&site.users(), &format!("[users]\nalice = {{ opaque = '{}' }}\n", record_text(&record)));
            site
        }

        fn with_key(seed: u8) -> Self {
            let site = Self::new();
            write(&site.key(), &key_text(&key(seed)));
            site
        }

        fn users(&self) -> PathBuf {
            self.0.path().join("users.toml")
        }

        fn key(&self) -> PathBuf {
            key_beside(&self.users())
        }

        /// The error, with the folder as DIR.
        fn error(&self, key: Option<&Path>) -> String {
            let loaded = UsersFile::new(&self.users()).unwrap().with_key(key).and_then(|file| file.load());
            loaded.unwrap_err().to_string().replace(self.0.path().to_str().unwrap(), "DIR")
        }
    }

    fn key(seed: u8) -> ServerKey {
        ServerKey::generate(&mut ChaCha20Rng::from_seed([seed; 32]))
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        set_mode(path, 0o600);
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn records_are_loaded_with_the_key_beside_them_or_with_one_that_is_named() {
        let site = Site::with_key(1);
        let loaded = load(&site.users()).unwrap();
        assert_eq!((loaded.users.len(), loaded.users.has_key(), loaded.warnings), (1, true, Vec::new()));
        let elsewhere = tempfile::tempdir().unwrap();
        let named = elsewhere.path().join("credential");
        fs::rename(site.key(), &named).unwrap();
        let file = UsersFile::new(&site.users()).unwrap().with_key(Some(&named)).unwrap();
        assert!(file.load().unwrap().users.has_key());
        let folders: Vec<_> = file.needs().unwrap().into_iter().map(|folder| folder.path).collect();
        assert_eq!(folders, [site.0.path(), elsewhere.path()]);
    }

    #[test]
    fn a_key_beside_users_without_records_is_left_alone_and_one_that_is_named_is_read() {
        let site = Site::with_key(1);
        write(&site.users(), "[users]\nalice = 'hers'\n");
        assert!(!load(&site.users()).unwrap().users.has_key());
        let file = UsersFile::new(&site.users()).unwrap();
        assert_eq!(file.needs().unwrap().len(), 1);
        assert!(file.with_key(Some(&site.key())).unwrap().load().unwrap().users.has_key());
        write(&site.key(), "nonsense");
        load(&site.users()).unwrap();
    }

    #[test]
    fn each_flaw_of_a_key_file_has_its_own_reason() {
        let site = Site::new();
        let id = key(1).id();
        let reason = format!(
            "DIR/users.toml:2:20: the record of alice was made with the key {id}, and there is no key file: put its \
             letmein.key beside the users file, or name it with --key-file"
        );
        assert_eq!(site.error(None), reason);
        let missing = "DIR/letmein.key: No such file or directory (os error 2): name the key file of these users with \
                       --key-file FILE";
        assert_eq!(site.error(Some(&site.key())), missing);
        write(&site.key(), &key_text(&key(2)));
        assert!(site.error(None).contains(&format!("but the key file has the key {}: ", key(2).id())));
        write(&site.key(), "[users]\n");
        let reason = "DIR/letmein.key: this is no key file, whose only line begins with letmein-opaque-key-1: name the \
                      right one with --key-file";
        assert_eq!(site.error(None), reason);
        fs::write(site.key(), b"\xff").unwrap();
        assert_eq!(site.error(None), reason);
        write(&site.key(), &key_text(&key(1)));
        set_mode(&site.key(), 0o602);
        let reason =
            "DIR/letmein.key: writable by everybody, who could lock all users out: chmod o-w the file";
        assert_eq!(site.error(None), reason);
    }

    #[test]
    fn a_key_that_others_can_read_is_warned_of_and_records_that_they_can_read_are_not() {
        let site = Site::with_key(1);
        set_mode(&site.users(), 0o644);
        assert_eq!(load(&site.users()).unwrap().warnings, []);
        set_mode(&site.key(), 0o604);
        assert_eq!(load(&site.users()).unwrap().warnings, [Warning::KeyOpenToOthers(site.key())]);
    }

    #[test]
    fn a_key_that_is_changed_or_put_there_changes_the_stamp() {
        let site = Site::new();
        let file = UsersFile::new(&site.users()).unwrap();
        let without = file.stamp();
        write(&site.key(), &key_text(&key(1)));
        let loaded = file.load().unwrap().stamp;
        assert_eq!(file.stamp(), Some(loaded));
        assert_ne!(file.stamp(), without);
        let other = site.0.path().join("other");
        write(&other, &key_text(&key(1)));
        fs::rename(other, site.key()).unwrap();
        assert_ne!(file.stamp(), Some(loaded));
    }

    #[test]
    fn a_key_that_cannot_be_read_again_is_told_only_if_there_are_records() {
        let site = Site::with_key(1);
        let settled_without_key = || {
            let mut file = UsersFile::new(&site.users()).unwrap();
            file.load().unwrap();
            fs::remove_file(site.key()).unwrap();
            file.settle()
        };
        assert!(matches!(settled_without_key(), Err(UsersError::Unreadable { content: Content::Key, .. })));
        write(&site.key(), &key_text(&key(1)));
        write(&site.users(), "[users]\nalice = 'hers'\n");
        assert!(settled_without_key().is_ok());
    }

    #[test]
    fn a_link_is_followed_to_a_key_as_to_users() {
        let (site, elsewhere) = (Site::with_key(1), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("key");
        fs::rename(site.key(), &target).unwrap();
        symlink(&target, site.key()).unwrap();
        let file = UsersFile::new(&site.users()).unwrap();
        assert!(file.load().unwrap().users.has_key());
        assert_eq!(file.needs().unwrap().len(), 2);
    }
}
