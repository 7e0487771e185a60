//! Somebody else changes, removes or replaces what is in the folder.

use std::os::unix::fs::symlink;

use super::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

#[test]
fn a_file_that_something_else_has_changed_or_removed_is_noticed() {
    let history = History::new();
    let path = |name| history.folder.path().join(name);
    // The clock of files may stand still for as long as the test takes.
    tell_confirmed(&File::open(path(BASE_NAME)).unwrap(), UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let mut kept = Folder::open(history.folder.path()).unwrap();
    confirm_an_hour_ago(&mut kept);
    let mut is_untouched = || {
        // That is for what this program has begun alone.
        kept.cut_batch().unwrap();
        kept.is_untouched().unwrap()
    };
    assert!(is_untouched());
    for name in [BASE_NAME, LOG_NAME] {
        let whole = history.read(name);
        let file = OpenOptions::new().write(true).open(path(name)).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        for (bytes, what) in [
            (&whole[..whole.len() - 1], "is shorter"),
            (&changed, "has another byte"),
            (&[&whole[..], b"R"].concat(), "has one byte more"),
        ] {
            fs::write(path(name), bytes).unwrap();
            assert!(!is_untouched(), "{name} {what}");
            fs::write(path(name), &whole).unwrap();
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
            assert!(is_untouched(), "{name} is as it was");
        }
        fs::rename(path(name), path("elsewhere")).unwrap();
        assert!(!is_untouched(), "{name} is gone");
        fs::write(path(name), &whole).unwrap();
        assert!(!is_untouched(), "{name} is another file");
        fs::rename(path("elsewhere"), path(name)).unwrap();
        assert!(is_untouched(), "{name} is back");
    }
    kept.confirm().unwrap();
    assert!(kept.is_untouched().unwrap());
    kept.add(&user("erin", "e")).unwrap();
    kept.end_batch(at(5)).unwrap();
    assert!(kept.is_untouched().unwrap());
    kept.compact().unwrap();
    assert!(kept.is_untouched().unwrap());
}

#[test]
fn a_link_or_a_fifo_in_the_place_of_a_file_is_as_none() {
    let link = |path: &Path| symlink("elsewhere", path).unwrap();
    let fifo = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for (name, left) in [(BASE_NAME, None), (LOG_NAME, Some(at(1)))] {
        for make in [&link as &dyn Fn(&Path), &fifo] {
            for is_seen_at_start in [false, true] {
                let history = History::new();
                let path = history.folder.path().join(name);
                let mut kept = Folder::open(history.folder.path()).unwrap();
                fs::rename(&path, history.folder.path().join("elsewhere")).unwrap();
                make(&path);
                assert!(!kept.is_untouched().unwrap(), "{name}");
                assert!(matches!(kept.users(), Err(ReadError::Damaged(it)) if it == name), "{name}");
                if is_seen_at_start {
                    drop(kept);
                    kept = Folder::open(history.folder.path()).unwrap();
                } else {
                    kept.read_anew().unwrap();
                }
                assert_eq!(kept.position(), left, "{name}");
                load(&mut kept, &[user("erin", "e")], at(9));
                assert_eq!(found(history.folder.path()).1.len(), 1);
                assert!(path.symlink_metadata().unwrap().is_file());
            }
        }
    }
}
