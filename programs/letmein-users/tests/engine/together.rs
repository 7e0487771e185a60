//! Changes at the same time, and changes whose connection is lost.

use std::thread;

use tempfile::TempDir;

use crate::proxy::{Cut, Proxy};
use crate::{Site, done, letmein_users, settings_at};

#[test]
fn of_several_who_add_the_same_name_one_succeeds() {
    let Some(site) = Site::new() else { return };
    let statuses = |arguments: &[&str]| {
        let run = || site.run(arguments).0;
        let mut statuses: Vec<_> = thread::scope(|scope| {
            let runs: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(statuses(&["add", "alice", "--generate"]), [0, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(statuses(&["rename", "alice", "bob"]), [0, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(statuses(&["remove", "bob", "--yes"]), [0, 1, 1, 1, 1, 1, 1, 1]);
    let changes = "SELECT ARRAY[what] FROM letmein.changes WHERE revision > 0 ORDER BY revision";
    assert_eq!(site.database.query(changes), "add alice, rename alice to bob, remove bob");
}

#[test]
fn a_user_is_added_once_though_the_connection_is_lost_at_commit() {
    for cut in [Cut::BeforeCommit, Cut::AfterCommit, Cut::BeforeAnswer, Cut::InsteadOfAnswer] {
        let Some(site) = Site::new() else { return };
        // The first connection is that of the look beforehand, which has no COMMIT.
        let proxy = Proxy::before_each(site.database.postgres.folder(), [None, Some(cut)]);
        let folder = TempDir::new().unwrap();
        let file = settings_at(&folder, &proxy.folder(), &site.database.name, "postgres");
        let (status, password, stderr) =
            letmein_users(&["--engine", file.to_str().unwrap(), "add", "alice", "--generate"]);
        assert_eq!((status, &*stderr), (0, ""), "{cut:?}");
        assert!(proxy.connections() >= 3, "{cut:?}");
        let changes = "SELECT ARRAY[revision::text, what] FROM letmein.changes WHERE revision > 0";
        assert_eq!(site.database.query(changes), "1 add alice", "{cut:?}");
        assert_eq!(site.users(), format!("alice {} false never anywhere", password.trim()));
        assert_eq!(site.run(&["remove", "alice", "--yes"]), done(""));
    }
}

#[test]
fn a_password_that_was_made_is_told_to_be_unknown_if_nobody_knows_whether_it_was_set() {
    let Some(site) = Site::new() else { return };
    let cut = Some(Cut::BeforeCommit);
    let proxy = Proxy::before_each(site.database.postgres.folder(), [None, cut, cut, cut, cut, cut, cut]);
    let folder = TempDir::new().unwrap();
    let file = settings_at(&folder, &proxy.folder(), &site.database.name, "postgres");
    let (status, stdout, stderr) =
        letmein_users(&["--engine", file.to_str().unwrap(), "add", "alice", "--generate"]);
    assert_eq!((status, &*stdout), (3, ""));
    assert!(stderr.contains("whether the change was made is not known"), "{stderr}");
    let unknown = "letmein-users: nobody knows the password that was made: if there is alice, set another with passwd\n";
    assert!(stderr.ends_with(unknown), "{stderr}");
}
