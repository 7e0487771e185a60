//! The new file in the place of the old one: what it keeps, who waits for whom, and writers that are killed.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::flood;
use crate::running::Ended;

use super::{Folder, TEXT, done, text_with};

#[test]
fn a_file_that_is_no_file_is_not_replaced() {
    let folder = Folder::empty();
    symlink("/dev/zero", folder.file()).unwrap();
    let Ended { status, stderr, .. } = folder.run(&["add", "eve", "--generate"]);
    assert_eq!(status, 2);
    assert!(stderr.ends_with(": not a regular file: name a users file with --users FILE\n"), "{stderr}");
}

#[test]
fn the_owner_and_the_mode_of_the_file_stay() {
    let folder = Folder::with(TEXT);
    let is_root = chown(folder.file(), Some(12), Some(34)).is_ok();
    fs::set_permissions(folder.file(), Permissions::from_mode(0o640)).unwrap();
    assert_eq!(folder.run(&["disable", "alice"]), done(""));
    let metadata = fs::metadata(folder.file()).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert!(!is_root || (metadata.uid(), metadata.gid()) == (12, 34));
}

#[test]
fn a_file_with_an_access_control_list_is_not_replaced() {
    let folder = Folder::with(TEXT);
    if !set_access_list(&folder.file(), "system.posix_acl_access") {
        return;
    }
    let Ended { status, stderr, .. } = folder.run(&["disable", "alice"]);
    assert_eq!(status, 2);
    assert!(stderr.starts_with("letmein-users: FILE: it has an access control list"), "{stderr}");
    assert!(stderr.contains("nothing was changed; take it away with setfacl -b"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
    folder.assert_tidy();
    assert_eq!(folder.run(&["enable", "alice"]), done(""), "nothing is to be changed");
}

#[test]
fn a_new_file_has_no_access_control_list_of_its_folder() {
    let folder = Folder::with(TEXT);
    if !set_access_list(folder.0.path(), "system.posix_acl_default") {
        return;
    }
    fs::set_permissions(folder.file(), Permissions::from_mode(0o640)).unwrap();
    assert_eq!(folder.run(&["disable", "alice"]), done(""));
    let list = rustix::fs::getxattr(folder.file(), "system.posix_acl_access", &mut [0; 100]);
    assert_eq!(list, Err(Errno::NODATA));
    assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o7777, 0o640);
}

/// Lets user 1 read; false where the file system has no such lists.
fn set_access_list(path: &Path, name: &str) -> bool {
    const EVERYBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, EVERYBODY),
        (0x02, 4, 1),
        (0x04, 0, EVERYBODY),
        (0x10, 4, EVERYBODY),
        (0x20, 0, EVERYBODY),
    ];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    match rustix::fs::setxattr(path, name, &list, XattrFlags::empty()) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error, Errno::OPNOTSUPP);
            false
        }
    }
}

#[test]
fn a_file_with_another_name_is_not_replaced() {
    let folder = Folder::with(TEXT);
    let other = folder.0.path().join("other.toml");
    fs::hard_link(folder.file(), &other).unwrap();
    let Ended { status, stderr, .. } = folder.run(&["disable", "alice"]);
    assert!(status == 2 && stderr.contains("FILE: it has another name, a hard link"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
    fs::remove_file(other).unwrap();
    assert_eq!(folder.run(&["disable", "alice"]), done(""));
}

#[test]
fn a_link_stays_and_the_file_that_it_leads_to_is_replaced() {
    let (folder, other) = (Folder::with(TEXT), Folder::empty());
    symlink(folder.file(), other.file()).unwrap();
    assert_eq!(other.run(&["enable", "bob"]), done(""));
    assert!(fs::symlink_metadata(other.file()).unwrap().is_symlink());
    assert_eq!(folder.text(), text_with(",  disabled = true", ""));
    other.assert_tidy();
    folder.assert_tidy();
}

#[test]
fn a_file_that_everybody_can_write_is_not_changed() {
    let folder = Folder::with(TEXT);
    fs::set_permissions(folder.file(), Permissions::from_mode(0o602)).unwrap();
    let Ended { status, stderr, .. } = folder.run(&["disable", "alice"]);
    assert!(status == 2 && stderr.contains("writable by everybody"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn what_a_stopped_change_has_left_is_removed() {
    let folder = Folder::with(TEXT);
    fs::write(folder.0.path().join(".users.toml.new"), "half").unwrap();
    assert_eq!(folder.run(&["enable", "bob"]), done(""));
    folder.assert_tidy();
}

#[test]
fn a_change_says_that_it_waits_for_another() {
    let folder = Folder::with(TEXT);
    let held = fs::File::open(folder.0.path()).unwrap();
    held.lock().unwrap();
    let mut child = folder.command(&["enable", "bob"]).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    let path = folder.0.path().canonicalize().unwrap();
    assert_eq!(said, format!("letmein-users: waiting for another change of {}\n", path.display()));
    assert_eq!(folder.text(), TEXT);
    held.unlock().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(folder.text(), text_with(",  disabled = true", ""));
}

#[test]
#[ignore = "takes ten seconds"]
fn a_lock_that_is_never_given_up_is_an_error() {
    let folder = Folder::with(TEXT);
    let held = fs::File::open(folder.0.path()).unwrap();
    held.lock().unwrap();
    let Ended { status, stderr, .. } = folder.run(&["enable", "bob"]);
    assert_eq!((status, stderr.lines().count()), (3, 2), "{stderr}");
    assert!(stderr.contains("the folder is locked, so nothing was changed"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn two_hundred_users_added_at_once_are_all_there() {
    let folder = Folder::empty();
    thread::scope(|scope| {
        for thread in 0..8 {
            let folder = &folder;
            scope.spawn(move || {
                for number in 0..25 {
                    let ended = folder.run(&["add", &format!("user{thread}-{number}"), "--generate"]);
                    assert_eq!(ended.status, 0, "{ended:?}");
                    assert!(ended.stderr.lines().all(|line| line.contains(" waiting for ")), "{ended:?}");
                }
            });
        }
    });
    assert_eq!(users::load(&folder.file()).unwrap().users.len(), 200);
    folder.assert_tidy();
}

#[test]
fn a_writer_that_is_killed_leaves_the_old_file_or_the_new_one() {
    kill_writers(20);
}

#[test]
#[ignore = "takes half a minute"]
fn hundreds_of_writers_that_are_killed_leave_the_old_file_or_the_new_one() {
    kill_writers(flood::scaled(500).into());
}

/// Kills as many writers, each at a random moment of its life.
fn kill_writers(count: u64) {
    let users: String = (0..1000).map(|number| format!("user{number} = \"password{number}\"\n")).collect();
    let folder = Folder::with(&format!("[users]\n{users}"));
    let lifetime = looks_until(&folder, u64::MAX);
    let mut changes = 0;
    for _ in 0..count {
        let old = folder.text();
        let added = if old.contains("{ password") { "enable" } else { "disable" };
        let random = SysRng.try_next_u64().unwrap();
        kill_after(folder.command(&[added, "user500"]), random % (lifetime + lifetime / 4));
        let new = folder.text();
        let (disabled, enabled) =
            ("{ password = \"password500\", disabled = true }", "{ password = \"password500\" }");
        let change = match added {
            "disable" => old.replace("= \"password500\"", &format!("= {disabled}")),
            _ => old.replace(disabled, enabled),
        };
        assert!(new == old || new == change);
        users::load(&folder.file()).unwrap();
        changes += u64::from(new != old);
        if new.contains(enabled) {
            fs::write(folder.file(), new.replace(enabled, "\"password500\"")).unwrap();
        }
    }
    println!("{changes} of {count} writers were done");
}

/// How often it is looked whether a writer has ended, until it has.
fn looks_until(folder: &Folder, looks: u64) -> u64 {
    kill_after(folder.command(&["enable", "user1"]), looks)
}

/// Kills a program after it has been looked so often whether it has ended; gives the number of looks.
fn kill_after(mut command: Command, looks: u64) -> u64 {
    let mut child = command.spawn().unwrap();
    let looks = (0..looks).find(|_| child.try_wait().unwrap().is_some()).unwrap_or(looks);
    child.kill().unwrap();
    child.wait().unwrap();
    looks
}
