//! Why a users file cannot be used, or is to be warned of.

use std::io;
use std::path::{Path, PathBuf};

use crate::key_text::KeyTextError;
use crate::problem::Problem;

/// A users file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("{}: {error}: {}", path.display(), content.remedy(path, error))]
    Unreadable {
        /// What should be in it.
        content: Content,
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The key file is readable, but has no key.
    #[error("{}: {error}", path.display())]
    WrongKey {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        error: KeyTextError,
    },
    /// Somebody else can decide what is in it, in the key file or in that of the cluster's keys.
    #[error("{}: {reason}", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// Who can, and what to do about it.
        reason: Distrust,
    },
    /// The program that keeps it up to date has not ended it, or something has changed it since.
    #[error("{}: {reason}: start letmein-sync, which makes it anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// None of its users could log in, as where the key of their records is missing.
    #[error("{path}: none of its users can log in; the first: {first}", path = path.display())]
    NobodyLeft {
        /// The file.
        path: PathBuf,
        /// Why the first of them cannot.
        first: String,
    },
    /// It is readable, but not valid.
    #[error("{}", listing(path, problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

/// What is in a file that decides who may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Users: users.toml.
    Users,
    /// Users that letmein-sync keeps there.
    SyncedUsers,
    /// The key of their records.
    Key,
    /// The keys of a cluster.
    ClusterKeys,
}

/// Why a users file is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Everybody on the machine can write it.
    #[error("writable by everybody, who could {}: chmod o-w the file", .0.danger())]
    OpenToAll(Content),
    /// Everybody on the machine can put another file in its place.
    #[error(
        "{folder} is writable by everybody, who could replace the file: chmod o-w {folder}, or keep the file in a \
         folder that only root can write (in Kubernetes, mount it from a Secret, not from a ConfigMap)", folder = .0.display()
    )]
    FolderOpenToAll(PathBuf),
    /// Anybody may have made it: its folder lets everybody make files, as /tmp does.
    #[error(
        "owned by another user, in a folder where everybody can create files: move it, or chown it to root"
    )]
    ForeignFile,
    /// Anybody may have made a folder or a link on its path.
    #[error(
        "its folder {folder} is owned by another user, in a folder where everybody can create files: chown it to \
         root, or keep the file elsewhere", folder = .0.display()
    )]
    ForeignFolder(PathBuf),
    /// Its folder is another one than when the server started.
    #[error("its folder was replaced: restart the server")]
    OtherFolder,
    /// It is a symbolic link that anybody may have made.
    #[error("a symbolic link in a folder where everybody can create files: name the file itself")]
    LinkOpenToAll,
    /// It is a symbolic link of somebody who is neither root nor the user who starts the server.
    #[error("a symbolic link that another user owns: name the file itself, or make the link yours")]
    ForeignLink,
}

/// A flaw of a users file that does not keep it from being used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Everybody on the machine can read the passwords.
    #[error("{path}: others can read the passwords in it: chmod o-r {path}", path = .0.display())]
    OpenToOthers(PathBuf),
    /// Its owner is neither root nor the server's user.
    #[error("{path}: owned by another user, who could add users: chown root {path}", path = .0.display())]
    ForeignOwner(PathBuf),
    /// Everybody on the machine can read the key.
    #[error(
        "{path}: others can read the key in it, and guess passwords once they have the users file, too: \
         chmod o-r {path}", path = .0.display()
    )]
    KeyOpenToOthers(PathBuf),
    /// The owner of the key file is neither root nor the server's user.
    #[error(
        "{path}: owned by another user, who could guess passwords once they have the users file, too: \
         chown root {path}", path = .0.display()
    )]
    ForeignKeyOwner(PathBuf),
    /// Everybody on the machine can read the keys of the cluster.
    #[error(
        "{path}: others can read the keys in it, and forge addresses, and logins once they have the key of the records, \
         too: chmod o-r {path}", path = .0.display()
    )]
    ClusterOpenToOthers(PathBuf),
    /// The owner of the file of the cluster's keys is neither root nor the server's user.
    #[error(
        "{path}: owned by another user, who could forge addresses, and logins once they have the key of the records, \
         too: chown root {path}", path = .0.display()
    )]
    ForeignClusterOwner(PathBuf),
    /// Some users cannot be served. None of them can log in.
    #[error("{path}: users that cannot log in: {rows}; the first: {first}", path = path.display())]
    LeftOut {
        /// The file.
        path: PathBuf,
        /// How many there are.
        rows: usize,
        /// Why the first of them cannot.
        first: String,
    },
    /// Everybody will be refused.
    #[error("{}: no users in it: every login will be refused", .0.display())]
    NoUsers(PathBuf),
}

/// How many problems are shown of one file.
const PROBLEMS_SHOWN: usize = 20;

impl Content {
    /// What somebody who can write it can do.
    fn danger(self) -> &'static str {
        match self {
            Self::Users | Self::SyncedUsers => "add users",
            Self::Key => "lock all users out",
            Self::ClusterKeys => "forge addresses",
        }
    }

    /// What to do if it cannot be read.
    fn remedy(self, path: &Path, error: &io::Error) -> String {
        let shown = path.display();
        match self {
            Self::Users => users_remedy(path, error),
            Self::SyncedUsers if error.kind() == io::ErrorKind::NotFound => {
                "start letmein-sync, which makes it".to_owned()
            }
            Self::SyncedUsers if error.kind() == io::ErrorKind::PermissionDenied => {
                let folder = path.parent().unwrap_or(path).display();
                format!(
                    "let the server's user read its folder: chgrp to a group of that user, chmod 2750 {folder}, and \
                     restart letmein-sync"
                )
            }
            Self::SyncedUsers => "see docs/SYNC.md".to_owned(),
            Self::Key | Self::ClusterKeys if error.kind() == io::ErrorKind::PermissionDenied => {
                format!("let the server's user read it (chgrp to a group of that user, chmod 640 {shown})")
            }
            Self::Key => "name the key file of these users with --key-file FILE".to_owned(),
            Self::ClusterKeys if error.kind() != io::ErrorKind::NotFound => {
                "name a file of cluster keys with --cluster-key FILE".to_owned()
            }
            Self::ClusterKeys => match missing_folder(path) {
                Some(folder) => format!("create the folder {} first", folder.display()),
                None => format!(
                    "copy it from another server of the cluster, or make it with letmein-users keys add --cluster-key \
                     {shown}"
                ),
            },
        }
    }
}

fn users_remedy(path: &Path, error: &io::Error) -> String {
    let is_unexpanded = path.starts_with("~");
    let missing_folder = missing_folder(path);
    let path = path.display();
    let or_another = "or name another with --users FILE";
    if is_unexpanded {
        format!("the shell expands ~ only at the start of a word: write --users {path}, without =")
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        format!(
            "let the server's user read it (chgrp to a group of that user, chmod 640 {path}), {or_another}"
        )
    } else if error.kind() == io::ErrorKind::NotFound {
        match missing_folder {
            Some(folder) => format!("create the folder {} first, {or_another}", folder.display()),
            None => format!("create it with letmein-users --users {path} add NAME, {or_another}"),
        }
    } else {
        "name a users file with --users FILE".to_owned()
    }
}

/// The folder of a file, if there is none.
fn missing_folder(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
}

/// Problems of a file, a line each.
pub fn listing(path: &Path, problems: &[Problem]) -> String {
    let shown = problems.iter().take(PROBLEMS_SHOWN).map(|problem| format!("{}:{problem}", path.display()));
    let left_out = problems.len().saturating_sub(PROBLEMS_SHOWN);
    let more = (left_out > 0).then(|| format!("{}: {left_out} more problems", path.display()));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}
