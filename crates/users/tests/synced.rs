//! A folder in which letmein-sync keeps users, as servers see it.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::fs::{self, File, OpenOptions, Permissions};
use std::num::NonZeroU32;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

use letmein_auth_users::UserSource;
use letmein_auth_users::synced::{
    BASE_NAME, BaseWriter, Credential, LOG_NAME, LogWriter, NODES_NAME, Position, Row, SyncedUsers,
};
use rustix::process::geteuid;
use tempfile::TempDir;

/// A folder with a base and a log.
struct Kept {
    folder: TempDir,
}

fn at(revision: i64) -> Position {
    Position { revision, stamp: [7; 16] }
}

fn user<'a>(name: &'a str, password: &'a str) -> Row<'a> {
    Row { credential: Credential::Password(password), ..Row::removed(name) }
}

impl Kept {
    fn new(users: &[Row<'_>], changed: &[Row<'_>]) -> Self {
        let kept = Self { folder: TempDir::new().unwrap() };
        let mut base = BaseWriter::begin(kept.create(BASE_NAME)).unwrap();
        users.iter().for_each(|row| base.row(row).unwrap());
        base.end(at(1)).unwrap();
        let mut log = LogWriter::begin(kept.create(LOG_NAME), at(1)).unwrap();
        changed.iter().for_each(|row| log.row(row).unwrap());
        log.end(at(2)).unwrap();
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn create(&self, name: &str) -> File {
        let file = OpenOptions::new().write(true).create_new(true).open(self.path(name)).unwrap();
        file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        file
    }

    /// The names that servers serve, and what they warn of; or why they serve none.
    fn served(&self) -> Result<(Vec<String>, Vec<String>), String> {
        let source = SyncedUsers::new(self.folder.path()).map_err(|error| error.to_string())?;
        let loaded = source.load().map_err(|error| error.to_string())?;
        let mut names: Vec<_> = loaded.users.names().map(str::to_owned).collect();
        names.sort();
        Ok((names, loaded.warnings.iter().map(ToString::to_string).collect()))
    }
}

fn names(all: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
    Ok((all.iter().map(|name| (*name).to_owned()).collect(), Vec::new()))
}

/// A removal takes more room in memory than in the log.
#[test]
fn whoever_was_removed_is_gone_however_many_they_are() {
    for count in [1, 10, 1000, 100_000] {
        let all: Vec<_> = (0..count).map(|number| format!("{number}")).collect();
        let users: Vec<_> = all.iter().map(|name| user(name, "p")).chain([user("zoe", "hers")]).collect();
        let removed: Vec<_> = all.iter().map(|name| Row::removed(name)).collect();
        assert_eq!(Kept::new(&users, &removed).served(), names(&["zoe"]), "{count}");
    }
}

#[test]
fn whoever_was_added_is_there_however_short_the_names_are() {
    let all: Vec<_> = ('a'..='z').map(String::from).collect();
    let users: Vec<_> = all.iter().map(|name| user(name, "1")).collect();
    let expected: Vec<_> = all.iter().map(String::as_str).collect();
    assert_eq!(Kept::new(&users, &[]).served(), names(&expected));
    assert_eq!(Kept::new(&[], &users).served(), names(&expected));
}

#[test]
fn a_change_that_is_no_user_removes_the_one_who_was_before() {
    let long = "p".repeat(129);
    let kept = Kept::new(
        &[user("alice", "a"), user("bob", "b"), user("carol", "c")],
        &[user("alice", ""), user("bob", &long), user("a:b", "x")],
    );
    let (served, warnings) = kept.served().unwrap();
    assert_eq!(served, ["carol"]);
    assert!(warnings[0].contains("users that cannot log in: 3"), "{warnings:?}");
}

#[test]
fn a_change_by_which_somebody_could_log_in_as_another_user_is_not_taken() {
    let kept = Kept::new(&[user("alice", "a"), user("bob", "b")], &[user("alic", "ea"), user("carol", "c")]);
    let (served, warnings) = kept.served().unwrap();
    assert_eq!(served, ["alice", "bob", "carol"]);
    assert!(warnings[0].contains("could log in as each other"), "{warnings:?}");
}

#[test]
fn files_that_others_could_have_written_are_refused_or_told() {
    let users = [user("alice", "a")];
    for name in [BASE_NAME, LOG_NAME] {
        let kept = Kept::new(&users, &users);
        // A group may write it: that is up to whoever made the group.
        for mode in [0o600, 0o640, 0o400, 0o660] {
            fs::set_permissions(kept.path(name), Permissions::from_mode(mode)).unwrap();
            let (served, warnings) = kept.served().unwrap();
            assert_eq!(
                (served, warnings.len()),
                (vec!["alice".to_owned()], 0),
                "{name} {mode:o}: {warnings:?}"
            );
        }
        for mode in [0o602, 0o604] {
            fs::set_permissions(kept.path(name), Permissions::from_mode(mode)).unwrap();
            match kept.served() {
                Ok((_, warnings)) => assert!(!warnings.is_empty(), "{name} {mode:o}"),
                Err(reason) => assert!(reason.contains(name), "{name} {mode:o}: {reason}"),
            }
        }
    }
}

#[test]
fn a_folder_that_everybody_can_write_is_refused() {
    let kept = Kept::new(&[user("alice", "a")], &[]);
    fs::set_permissions(kept.folder.path(), Permissions::from_mode(0o777)).unwrap();
    let reason = kept.served().unwrap_err();
    assert!(reason.contains("writable by everybody"), "{reason}");
}

#[test]
fn a_file_that_is_a_link_of_another_user_or_no_file_is_refused() {
    let other = Kept::new(&[user("mallory", "m")], &[]);
    for name in [BASE_NAME, LOG_NAME] {
        let kept = Kept::new(&[user("alice", "a")], &[]);
        fs::remove_file(kept.path(name)).unwrap();
        fs::create_dir(kept.path(name)).unwrap();
        assert!(kept.served().unwrap_err().contains(name));
        if geteuid().is_root() {
            fs::remove_dir(kept.path(name)).unwrap();
            symlink(other.path(name), kept.path(name)).unwrap();
            std::os::unix::fs::lchown(kept.path(name), Some(1), Some(1)).unwrap();
            assert!(kept.served().unwrap_err().contains(name));
        }
    }
}

/// letmein-sync runs as a user of its own. Where others can make files, one of theirs is not its.
#[test]
fn files_of_another_user_are_served_unless_others_can_make_files_there() {
    if !geteuid().is_root() {
        return;
    }
    let kept = Kept::new(&[user("alice", "a")], &[user("bob", "b")]);
    let load =
        || SyncedUsers::new(kept.folder.path()).and_then(|it| it.read_by(geteuid())).and_then(|it| it.load());
    for name in [BASE_NAME, LOG_NAME] {
        chown(kept.path(name), Some(1), Some(1)).unwrap();
        assert_eq!(load().unwrap().users.len(), 2, "{name}");
    }
    fs::set_permissions(kept.folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let reason = load().unwrap_err().to_string();
    assert!(reason.contains("users.base"), "{reason}");
}

#[test]
fn the_number_of_nodes_is_what_the_file_says_if_it_says_one() {
    let kept = Kept::new(&[user("alice", "one")], &[]);
    let nodes = || SyncedUsers::new(kept.folder.path()).unwrap().nodes().map_err(|error| error.to_string());
    assert_eq!(nodes(), Ok(None));
    for (text, said) in [("3\n", 3), ("4294967295\n", u32::MAX)] {
        fs::write(kept.path(NODES_NAME), text).unwrap();
        assert_eq!(nodes(), Ok(NonZeroU32::new(said)));
    }
    let damaged = "users.nodes: not a number of nodes: start letmein-sync, which makes it anew";
    for text in
        ["", "3", "0\n", "-1\n", "4294967296\n", "3 4\n", "3          4\n", "00000000010000\n", "\u{661}\n"]
    {
        fs::write(kept.path(NODES_NAME), text).unwrap();
        assert!(nodes().is_err_and(|error| error.ends_with(damaged)), "{text:?}");
    }
    // Whoever may write it could leave no user more than one failure.
    fs::write(kept.path(NODES_NAME), "3\n").unwrap();
    fs::set_permissions(kept.path(NODES_NAME), Permissions::from_mode(0o602)).unwrap();
    assert!(nodes().is_err_and(|error| error.contains("users.nodes")));
}
