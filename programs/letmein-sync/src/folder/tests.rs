mod others;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use super::*;
use tempfile::TempDir;
use users::UserSource;
use users::synced::{Credential, SyncedUsers, read_base, read_changed, read_log};

/// The passwords of users by name.
type State = BTreeMap<String, String>;

/// A folder with a base and three batches, and where and what the users were after each.
struct History {
    folder: TempDir,
    states: Vec<(Position, State)>,
}

fn at(revision: i64) -> Position {
    Position { revision, stamp: [revision.to_le_bytes()[0]; 16] }
}

fn user<'a>(name: &'a str, password: &'a str) -> Row<'a> {
    Row { credential: Credential::Password(password), ..Row::removed(name) }
}

fn load(folder: &mut Folder, rows: &[Row<'_>], position: Position) {
    let mut base = folder.begin_base().unwrap();
    rows.iter().for_each(|row| base.row(row).unwrap());
    folder.publish(base, position).unwrap();
}

fn change(folder: &mut Folder, rows: &[Row<'_>], position: Position) {
    folder.cut_batch().unwrap();
    rows.iter().for_each(|row| folder.add(row).unwrap());
    folder.end_batch(position).unwrap();
}

/// What a program that reads the files as they are finds in them.
fn found(folder: &Path) -> (Position, State) {
    let (mut users, password) = (State::new(), |row: &Row<'_>| match row.credential {
        Credential::Password(password) => Some(password.to_owned()),
        Credential::Removed | Credential::Record(_) => None,
    });
    let base = File::open(folder.join(BASE_NAME)).unwrap();
    let base = read_base(base, |row| drop(users.insert(row.name.into(), password(&row).unwrap()))).unwrap();
    let (batches, changed) = read_changed(File::open(folder.join(LOG_NAME)).unwrap()).unwrap();
    assert_eq!(batches.base, base.position);
    for row in changed.rows() {
        match password(&row) {
            Some(password) => drop(users.insert(row.name.into(), password)),
            None => drop(users.remove(row.name)),
        }
    }
    (batches.position, users)
}

impl History {
    fn new() -> Self {
        // Files in memory, where there are such, take less time.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let (mut states, mut kept) = (Vec::new(), Folder::open(folder.path()).unwrap());
        load(&mut kept, &[user("alice", "a"), user("bob", "b"), user("carol", "c")], at(1));
        states.push(found(folder.path()));
        for (revision, rows) in [
            (2, vec![user("dave", "d"), Row::removed("bob")]),
            (3, vec![user("alice", "new"), user("bob", "again"), Row::removed("dave")]),
            (4, vec![Row::removed("carol")]),
        ] {
            change(&mut kept, &rows, at(revision));
            states.push(found(folder.path()));
        }
        let names: Vec<Vec<_>> =
            states.iter().map(|(_, users)| users.keys().map(String::as_str).collect()).collect();
        assert_eq!(
            names,
            [
                vec!["alice", "bob", "carol"],
                vec!["alice", "carol", "dave"],
                vec!["alice", "bob", "carol"],
                vec!["alice", "bob"]
            ]
        );
        Self { folder, states }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).unwrap()
    }

    /// With other bytes in a file, servers have the users of some time or refuse the folder, and letmein-sync has those
    /// of some time, or none. Either way it can go on. It gives where it is then.
    fn damage(&self, name: &str, bytes: &[u8], what: &str) -> Option<Position> {
        let path = self.folder.path();
        let whole = [BASE_NAME, LOG_NAME].map(|name| (name, self.read(name)));
        fs::write(path.join(name), bytes).unwrap();
        let served = SyncedUsers::new(path).unwrap().load().ok();
        if let Some(served) = served {
            let names: BTreeSet<_> = served.users.names().collect();
            let is_known = self
                .states
                .iter()
                .any(|(_, users)| users.keys().map(String::as_str).eq(names.iter().copied()));
            assert!(is_known, "{what}: servers have {names:?}");
        }
        let mut kept = Folder::open(path).unwrap();
        let position = kept.position();
        if position.is_some() {
            assert!(self.states.contains(&found(path)), "{what}: {:?}", found(path));
            let users = kept.users().unwrap();
            change(&mut kept, &[user("erin", "e")], at(9));
            let (now, state) = found(path);
            assert_eq!((now, state.len() as u64), (at(9), users + 1), "{what}");
        } else {
            load(&mut kept, &[user("erin", "e")], at(9));
            assert_eq!(found(path), (at(9), [("erin".into(), "e".into())].into()), "{what}");
        }
        whole.iter().for_each(|(name, bytes)| fs::write(path.join(name), bytes).unwrap());
        position
    }
}

#[test]
fn a_log_that_is_torn_at_any_byte_ends_with_its_last_whole_batch() {
    let history = History::new();
    let log = history.read(LOG_NAME);
    let mut revisions = BTreeMap::<_, usize>::new();
    for len in 0..=log.len() {
        let position = history.damage(LOG_NAME, &log[..len], &format!("{len} bytes"));
        *revisions.entry(position.unwrap().revision).or_default() += 1;
    }
    assert_eq!(revisions.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(revisions[&4], 1, "the last batch is whole with its last byte");
}

#[test]
fn a_log_with_any_byte_changed_has_whole_batches_only() {
    let history = History::new();
    let log = history.read(LOG_NAME);
    for place in 0..log.len() {
        let mut changed = log.clone();
        changed[place] ^= 1 << (place % 8);
        let position = history.damage(LOG_NAME, &changed, &format!("byte {place} changed"));
        assert!(position.unwrap().revision < 4);
    }
}

#[test]
fn a_base_that_is_torn_or_changed_at_any_byte_is_none() {
    let history = History::new();
    let base = history.read(BASE_NAME);
    for place in 0..base.len() {
        assert_eq!(history.damage(BASE_NAME, &base[..place], &format!("{place} bytes")), None);
        let mut changed = base.clone();
        changed[place] ^= 1 << (place % 8);
        assert_eq!(history.damage(BASE_NAME, &changed, &format!("byte {place} changed")), None);
    }
    // With more after its end it is none, either.
    assert_eq!(history.damage(BASE_NAME, &[&base[..], b"R"].concat(), "one byte more"), None);
}

#[test]
fn users_are_confirmed_after_a_start_if_they_are_those_who_were() {
    let history = History::new();
    let path = |name| history.folder.path().join(name);
    let mut kept = Folder::open(history.folder.path()).unwrap();
    kept.confirm().unwrap();
    let confirmed = kept.confirmed_unix_s();
    assert!(confirmed.is_some());
    drop(kept);
    let after_start = || Folder::open(history.folder.path()).unwrap().confirmed_unix_s();
    assert_eq!(after_start(), confirmed);
    // A batch was under way, so the database had others.
    OpenOptions::new().append(true).open(path(LOG_NAME)).unwrap().write_all(b"R").unwrap();
    assert_eq!([after_start(), after_start()], [None, None]);
    fs::remove_file(path(LOG_NAME)).unwrap();
    assert_eq!(after_start(), None);
    // Those of the database are confirmed as soon as they are there, for servers as well.
    let mut kept = Folder::open(history.folder.path()).unwrap();
    load(&mut kept, &[user("erin", "e")], at(7));
    assert!(kept.confirmed_unix_s() >= confirmed);
    let served = SyncedUsers::new(history.folder.path()).unwrap();
    assert_eq!(served.confirmed_unix_s(), kept.confirmed_unix_s());
}

/// Killed between the renames of base and log, it leaves a base with the log of the base before.
#[test]
fn the_log_of_another_base_counts_for_nothing() {
    let history = History::new();
    let log = history.read(LOG_NAME);
    let mut kept = Folder::open(history.folder.path()).unwrap();
    load(&mut kept, &[user("erin", "e")], at(7));
    drop(kept);
    fs::write(history.folder.path().join(LOG_NAME), &log).unwrap();
    let served = SyncedUsers::new(history.folder.path()).unwrap().load().unwrap();
    assert_eq!(served.users.names().collect::<Vec<_>>(), ["erin"]);
    let kept = Folder::open(history.folder.path()).unwrap();
    assert_eq!((kept.position(), kept.users().unwrap()), (Some(at(7)), 1));
    assert_eq!(found(history.folder.path()).1.len(), 1);
}

#[test]
fn what_was_begun_and_not_ended_is_removed() {
    let history = History::new();
    for name in [NEW_BASE_NAME, NEW_LOG_NAME] {
        fs::write(history.folder.path().join(name), "half of it").unwrap();
    }
    let kept = Folder::open(history.folder.path()).unwrap();
    assert_eq!(kept.position(), Some(at(4)));
    assert_eq!(fs::read_dir(history.folder.path()).unwrap().count(), 2);
}

#[test]
fn base_and_log_become_one_base_with_the_same_users() {
    let history = History::new();
    let mut kept = Folder::open(history.folder.path()).unwrap();
    kept.compact().unwrap();
    assert_eq!(&found(history.folder.path()), history.states.last().unwrap());
    assert_eq!((kept.base_users(), kept.users_at_most(), kept.users().unwrap()), (2, 2, 2));
    assert_eq!(read_base(&history.read(BASE_NAME)[..], |_| {}).unwrap().position, at(4));
}

/// Otherwise users would be lost whose frames are damaged, and the others be as good as new.
#[test]
fn files_that_are_damaged_become_no_base_and_what_is_left_of_them_is_what_a_start_finds() {
    let history = History::new();
    for (name, earlier) in [(BASE_NAME, None), (LOG_NAME, Some(at(2)))] {
        let mut kept = Folder::open(history.folder.path()).unwrap();
        let whole = history.read(name);
        let mut changed = whole.clone();
        // In the log it is the batch after the first.
        let place = if name == BASE_NAME { whole.len() - 1 } else { end_of_first_batch(&whole) + 20 };
        changed[place] ^= 1;
        fs::write(history.folder.path().join(name), &changed).unwrap();
        assert!(matches!(kept.compact(), Err(ReadError::Damaged(it)) if it == name), "{name}");
        assert!(matches!(kept.users(), Err(ReadError::Damaged(it)) if it == name), "{name}");
        assert_eq!(fs::read_dir(history.folder.path()).unwrap().count(), 2);
        kept.read_anew().unwrap();
        assert_eq!(kept.position(), earlier, "{name}");
        fs::write(history.folder.path().join(name), &whole).unwrap();
    }
}

/// Has the users confirmed at a time that no file gets now.
fn confirm_an_hour_ago(kept: &mut Folder) -> SystemTime {
    kept.confirm().unwrap();
    let users = kept.users.as_mut().unwrap();
    let time = users.confirmed - Duration::from_secs(3600);
    tell_confirmed(users.log.file(), time).unwrap();
    (users.confirmed, users.log_file) = users.look_at_log(users.len).unwrap();
    time
}

fn end_of_first_batch(log: &[u8]) -> usize {
    let ends =
        (0..log.len()).filter(|len| read_log(&log[..*len], |_| {}).is_ok_and(|it| it.position == at(2)));
    ends.min().unwrap()
}

#[test]
fn a_batch_that_is_given_up_leaves_nothing_behind() {
    let history = History::new();
    let mut kept = Folder::open(history.folder.path()).unwrap();
    // Otherwise all may happen within one tick of the clock of files.
    let confirmed = confirm_an_hour_ago(&mut kept);
    let time_of_log = || fs::metadata(history.folder.path().join(LOG_NAME)).unwrap().modified().unwrap();
    let long = "p".repeat(128);
    // More than one frame, so that some of it is in the file.
    for number in 0..1000 {
        kept.add(&user(&format!("user{number}"), &long)).unwrap();
    }
    assert_eq!(&found(history.folder.path()), history.states.last().unwrap());
    kept.cut_batch().unwrap();
    assert_eq!(time_of_log(), confirmed, "the users are as they were confirmed");
    assert!(kept.is_untouched().unwrap());
    change(&mut kept, &[user("erin", "e")], at(5));
    let (position, users) = found(history.folder.path());
    assert_eq!((position, users.len()), (at(5), 3));
}

#[test]
fn a_folder_has_one_letmein_sync() {
    let history = History::new();
    let kept = Folder::open(history.folder.path()).unwrap();
    assert!(matches!(Folder::open(history.folder.path()), Err(FolderError::Locked(_))));
    drop(kept);
    assert!(Folder::open(history.folder.path()).is_ok());
}
