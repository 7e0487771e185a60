//! Who else can change the file, or what leads to it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use proto::transport::Transport;
use tempfile::TempDir;

use crate::reloads::{Folder, logged};
use crate::running::{Ended, Server, installed, path, run, server, users_file};

use super::{REAL_USERS, SECRET};
use crate::synced_users::{Synced, user};

#[test]
fn a_file_that_everybody_can_write_is_refused() {
    for mode in [0o602, 0o666] {
        let file = users_file(REAL_USERS);
        fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        let ended = Server::refusal(Transport::Udp, &["127.0.0.1:0", "--users", path(&file)]);
        assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains("writable by everybody, who could add users: chmod o-w"), "{ended:?}");
    }
}

#[test]
fn a_link_is_followed_if_root_or_the_servers_user_made_it() {
    let (folder, file) = (tempfile::tempdir().unwrap(), users_file(REAL_USERS));
    let link = folder.path().join("users.toml");
    symlink(file.path(), &link).unwrap();
    let link = link.to_str().unwrap();
    drop(Server::start(Transport::Udp, &["127.0.0.1:0", "--users", link]));
    if lchown(link, Some(1), None).is_err() {
        println!("skipped: only root can make a link that another user owns");
        return;
    }
    let ended = Server::refusal(Transport::Udp, &["127.0.0.1:0", "--users", link]);
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    assert!(ended.stderr.contains("a symbolic link that another user owns"), "{ended:?}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives a file to another user, which only root can.
fn give_away(path: &Path) -> bool {
    let given = chown(path, Some(1), None).is_ok();
    if !given {
        println!("skipped: only root can give a file to another user");
    }
    given
}

/// What a server says that does not start with this file, and what a check says of it, which is the same.
fn refused_with(users: &Path) -> String {
    let args = ["127.0.0.1:0", "--users", users.to_str().unwrap()];
    let ended = Server::refusal(Transport::Udp, &args);
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    assert_eq!(run(server(Transport::Udp).args(args).arg("--check")), ended);
    ended.stderr
}

#[test]
fn a_file_that_everybody_can_replace_is_refused_at_the_start_and_at_a_reload() {
    let outer = TempDir::new().unwrap();
    let (inner, users) = (outer.path().join("inner"), outer.path().join("inner/users.toml"));
    fs::create_dir(&inner).unwrap();
    fs::write(&users, REAL_USERS).unwrap();
    for open in [&*inner, outer.path()] {
        let open_folder = open.canonicalize().unwrap();
        set_mode(open, 0o777);
        let remedy = format!("who could replace the file: chmod o-w {}, or keep", open_folder.display());
        assert!(refused_with(&users).contains(&remedy));
        set_mode(open, 0o755);
    }
    let links = TempDir::new().unwrap();
    symlink(&inner, links.path().join("link")).unwrap();
    set_mode(links.path(), 0o777);
    assert!(
        refused_with(&links.path().join("link/users.toml")).contains("who could replace the file: chmod o-w")
    );
    let mut server = Server::start(Transport::Udp, &["127.0.0.1:0", "--users", users.to_str().unwrap()]);
    set_mode(&inner, 0o777);
    fs::write(&users, "[users]\nmallory = 'one'\n").unwrap();
    logged(&mut server, "who could replace the file: chmod o-w");
    logged(&mut server, "keeping the old users");
    assert_eq!(server.login(&["alice", SECRET]).status, 0);
}

#[test]
fn where_everybody_can_make_files_only_those_of_root_and_the_servers_user_are_taken_and_no_links() {
    let folder = TempDir::new().unwrap();
    set_mode(folder.path(), 0o1777);
    let (users, link) = (folder.path().join("users.toml"), folder.path().join("link.toml"));
    fs::write(&users, REAL_USERS).unwrap();
    let mut server = Server::start(Transport::Udp, &["127.0.0.1:0", "--users", users.to_str().unwrap()]);
    symlink(&users, &link).unwrap();
    assert!(refused_with(&link).contains("a symbolic link in a folder where everybody can create files"));
    if give_away(&users) {
        assert!(refused_with(&users).contains("owned by another user, in a folder where everybody"));
        server.signal(libc::SIGHUP);
        logged(&mut server, "owned by another user, in a folder where everybody can create files");
    }
}

#[test]
fn a_folder_that_another_user_made_where_everybody_can_is_refused() {
    let outer = TempDir::new().unwrap();
    let inner = outer.path().join("inner");
    let (users, linked) = (inner.join("users.toml"), outer.path().join("link/users.toml"));
    fs::create_dir(&inner).unwrap();
    fs::write(&users, REAL_USERS).unwrap();
    symlink(&inner, outer.path().join("link")).unwrap();
    set_mode(outer.path(), 0o1777);
    if !give_away(&inner) {
        return;
    }
    let reason = "owned by another user, in a folder where everybody can create files";
    assert!(refused_with(&users).contains(reason));
    let args = ["--users", users.to_str().unwrap()];
    let ended = run(server(Transport::Udp).arg("--self-test").args(args));
    assert!(ended.status == 2 && ended.stderr.contains(reason), "{ended:?}");
    set_mode(outer.path(), 0o755);
    assert_eq!(run(server(Transport::Udp).arg("--check").args(args)).status, 0);
    set_mode(outer.path(), 0o1777);
    chown(&inner, Some(0), None).unwrap();
    lchown(outer.path().join("link"), Some(1), None).unwrap();
    // Where the kernel does not follow such a link, it refuses before us.
    let is_protected = fs::read_to_string("/proc/sys/fs/protected_symlinks").unwrap() == "1\n";
    let reason = if is_protected { "Permission denied" } else { reason };
    assert!(refused_with(&linked).contains(reason));
}

/// What a check says of a file in a folder of this mode on a mount that is read-only.
fn checked_on_a_read_only_mount(mount: &str, mode: &str) -> Option<Ended> {
    let folder = TempDir::new().unwrap();
    let script = "cd $0 && mkdir volume && eval $1 && mkdir volume/data && cp $4 volume/data/users.toml && \
        chmod 600 volume/data/users.toml && ln -s data/users.toml volume/users.toml && chmod $2 volume && \
        mount -o remount,bind,ro volume && exec $3 --check --users $0/volume/users.toml";
    let users = users_file(REAL_USERS);
    let mut command = installed("unshare")?;
    if !installed("unshare")?.args(["--mount", "true"]).status().unwrap().success() {
        println!("skipped: only root can mount");
        return None;
    }
    command.args(["--mount", "sh", "-c", script, folder.path().to_str().unwrap(), mount, mode]);
    Some(run(command.args([env!("CARGO_BIN_EXE_server-udp"), path(&users)])))
}

#[test]
fn a_folder_that_everybody_can_write_is_refused_on_a_read_only_mount_too_but_a_secret_of_kubernetes_is_not() {
    let (disk, memory) = ("mount --bind volume volume", "mount -t tmpfs tmpfs volume");
    for (mount, mode, status) in
        [(disk, "777", 2), (disk, "1777", 2), (memory, "777", 2), (memory, "1777", 0)]
    {
        let Some(ended) = checked_on_a_read_only_mount(mount, mode) else { return };
        assert_eq!(ended.status, status, "{mount} {mode}: {ended:?}");
    }
}

#[test]
fn a_file_that_another_user_owns_is_warned_of_unless_the_server_becomes_that_user() {
    let folder = Folder::with("alice = 'hunter2secret'");
    if !give_away(&folder.path()) {
        return;
    }
    let users = folder.path();
    let args = ["127.0.0.1:0", "--users", users.to_str().unwrap()];
    let mut warned = Server::start(Transport::Udp, &args);
    let warning = format!("WARN {}: owned by another user, who could add users", users.display());
    logged(&mut warned, &warning);
    set_mode(users.parent().unwrap(), 0o755);
    let own = run(server(Transport::Udp).args(args).args(["--check", "--user", "daemon"]));
    assert!(own.status == 0 && !own.stderr.contains("another user"), "{own:?}");
}

#[test]
fn a_check_reads_the_file_and_opens_the_audit_as_the_servers_user() {
    let folder = Folder::with("alice = 'hunter2secret'");
    let (users, audit) = (folder.path(), folder.path().with_file_name("audit.jsonl"));
    let check = |more: &[&str]| {
        let users = ["--users", users.to_str().unwrap(), "--check", "--user", "nobody"];
        run(server(Transport::Udp).args(users).args(more))
    };
    if !give_away(&users) {
        return;
    }
    set_mode(users.parent().unwrap(), 0o755);
    set_mode(&users, 0o640);
    let ended = check(&[]);
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    let remedy = format!("(chgrp to a group of that user, chmod 640 {})", users.display());
    assert!(ended.stderr.contains("Permission denied") && ended.stderr.contains(&remedy), "{ended:?}");

    let args = ["127.0.0.1:0", "--users", users.to_str().unwrap(), "--user", "nobody"];
    let mut running = Server::start(Transport::Udp, &args);
    assert!(logged(&mut running, "Permission denied").contains(&remedy));
    logged(&mut running, "cannot be reloaded: changes to it will have no effect");

    set_mode(&users, 0o644);
    assert_eq!(check(&[]).status, 0);
    let with_audit = ["--audit", audit.to_str().unwrap()];
    let ended = check(&with_audit);
    assert!(ended.status == 3 && ended.stderr.contains("let the server's user write it"), "{ended:?}");
    fs::write(&audit, "").unwrap();
    assert_eq!(check(&with_audit).status, 3);
    set_mode(&audit, 0o666);
    assert_eq!(check(&with_audit).status, 0);
    fs::remove_file(&audit).unwrap();
    set_mode(users.parent().unwrap(), 0o1777);
    chown(&users, Some(0), None).unwrap();
    assert_eq!(check(&with_audit).status, 0);
    assert!(!audit.exists());
}

#[test]
fn a_folder_of_letmein_sync_that_the_servers_user_cannot_read_is_told_with_the_remedy() {
    let synced = Synced::with(&[user("alice", "one")]);
    if !give_away(synced.folder()) {
        return;
    }
    chown(synced.folder(), Some(0), None).unwrap();
    set_mode(synced.folder(), 0o700);
    let folder = synced.folder().display().to_string();
    let check = ["--users", &folder, "--check", "--user", "nobody"];
    let ended = run(server(Transport::Udp).args(check));
    assert_eq!((ended.status, &*ended.stdout), (2, ""), "{ended:?}");
    let remedy = format!(
        "users.base: Permission denied (os error 13): let the server's user read its folder: chgrp to a group of that \
         user, chmod 2750 {folder}"
    );
    assert!(ended.stderr.contains(&remedy), "{ended:?}");
}

#[test]
fn a_server_that_does_not_see_its_way_to_the_file_reads_it_again_all_the_same() {
    let outer = TempDir::new().unwrap();
    let users = outer.path().join("inner/users.toml");
    fs::create_dir(users.parent().unwrap()).unwrap();
    fs::write(&users, REAL_USERS).unwrap();
    let args = ["127.0.0.1:0", "--users", users.to_str().unwrap(), "--user", "nobody"];
    if !give_away(&users) {
        return;
    }
    set_mode(outer.path(), 0o700);
    let mut server = Server::start(Transport::Udp, &args);
    fs::write(&users, "[users]\nalice = 'another'\n").unwrap();
    logged(&mut server, "1 changed (alice)");
    assert_eq!(server.login(&["alice", "another"]).status, 0);
}
