//! Records in the database, whose key is in a file.

use std::fs;

use crate::{STRONG, STRONG2, Site, done, failed, letmein_users};

#[test]
fn records_need_the_key_file_to_be_named() {
    let Some(site) = Site::new() else { return };
    let no_key = "letmein-users: ENGINE: the key of the records is not in the database: name its file with --key-file, or add \
                  --md5 to keep the password itself\n";
    let add = ["add", "alice", "--opaque", "--stretch", "none", "--password-stdin"];
    let ended = site.run_with_input(&add, STRONG);
    assert_eq!((ended.0, &*ended.2), (2, no_key));
    let key = site.file("records.key");
    let with_key = |arguments: &[&str], input: &str| {
        site.run_with_input(&[&["--key-file", key.to_str().unwrap()], arguments].concat(), input)
    };
    let (status, _, stderr) = with_key(&add, STRONG);
    assert!(status == 0 && stderr.contains("apart from those of the database"), "{stderr}");
    assert_eq!(site.users(), "alice record false never anywhere");
    let verify = ["verify", "alice", "--password-stdin"];
    assert_eq!(with_key(&verify, STRONG), done("alice: the password is right\n"));
    assert_eq!(with_key(&verify, STRONG2).0, 1);
    let no_key = "letmein-users: ENGINE: the key of the records is not in the database: name its file with --key-file\n";
    assert_eq!(site.run_with_input(&verify, STRONG), failed(2, no_key));
    // Others have records now, so the next one gets one, too.
    assert_eq!(site.run(&["add", "bob", "--generate"]).0, 2);
    assert_eq!(with_key(&["add", "bob", "--generate"], "").0, 0);
    let bound = site.run(&["rename", "alice", "al"]);
    assert!(bound.0 == 2 && bound.2.contains("alice has a record, which is bound to that name"), "{bound:?}");
    assert_eq!(site.run(&["add", "carol", "--generate", "--md5"]).0, 0);
    assert_eq!(with_key(&["migrate", "--stretch", "none"], "").1, "1 user migrated\n");
    assert_eq!(with_key(&["check"], ""), done("3 users, no problems\n"));
}

#[test]
fn the_first_record_makes_the_key_file() {
    let Some(site) = Site::new() else { return };
    assert_eq!(site.run(&["add", "alice", "--generate"]).0, 0);
    let key = site.file("records.key");
    let with_key = ["--key-file", key.to_str().unwrap()];
    assert_eq!(site.run(&["migrate"]).0, 2);
    assert_eq!(site.run(&[&with_key[..], &["migrate", "--stretch", "none"]].concat()).1, "1 user migrated\n");
    assert_eq!(site.users(), "alice record false never anywhere");
    // Now that there is a record, there is no other key.
    fs::remove_file(&key).unwrap();
    let (status, _, stderr) = site.run(&[&with_key[..], &["add", "bob", "--generate"]].concat());
    assert!(status == 2 && stderr.contains("records.key") && !key.exists(), "{stderr}");
}

/// A database with a record of alice, the key file of that, and the options of a users file elsewhere, in which bob has
/// a record of another key: its key file comes last.
fn with_two_keys() -> Option<(Site, String, [String; 4])> {
    let site = Site::new()?;
    let [own, users, other] =
        ["own.key", "users.toml", "other.key"].map(|name| site.file(name).to_str().unwrap().to_owned());
    assert_eq!(site.run(&["--key-file", &own, "add", "alice", "--opaque", "--generate"]).0, 0);
    let elsewhere = ["--users".to_owned(), users, "--key-file".to_owned(), other];
    let options = elsewhere.each_ref().map(String::as_str);
    assert_eq!(letmein_users(&[&options[..], &["add", "bob", "--opaque", "--generate"]].concat()).0, 0);
    Some((site, own, elsewhere))
}

#[test]
fn records_of_another_key_are_refused() {
    let Some((site, own, elsewhere)) = with_two_keys() else { return };
    let [.., other] = &elsewhere;
    let options = elsewhere.each_ref().map(String::as_str);
    let (_, table, _) = letmein_users(&[&options[..], &["export"]].concat());
    let import = |key: &str| site.run_with_input(&["--key-file", key, "import", "--csv", "-"], &table);
    for (ended, remedy) in [
        (import(&own), "give bob a password instead, or name the file of that key\n"),
        (
            import(other),
            "name the key file that belongs to them, and delete the other if it was made just now\n",
        ),
        (
            site.run(&["--key-file", other, "add", "carol", "--generate"]),
            "name the key file that belongs to them, and delete the other if it was made just now\n",
        ),
    ] {
        let (status, _, stderr) = ended;
        assert!(
            status == 2 && stderr.contains(" was made with the key ") && stderr.ends_with(remedy),
            "{stderr}"
        );
    }
    let (status, _, stderr) = site.run(&["--key-file", other, "check"]);
    assert!(status == 2 && stderr.contains("the record of alice was made with the key "), "{stderr}");
    assert_eq!(site.users(), "alice record false never anywhere");
}

#[test]
fn a_damaged_record_does_not_let_records_of_another_key_in() {
    let Some((site, own, elsewhere)) = with_two_keys() else { return };
    let [.., other] = &elsewhere;
    // Wherever a record is looked for first, there is the damaged one.
    site.database.batch(
        "UPDATE letmein.users SET disabled = true;
         INSERT INTO letmein.users (name, opaque) VALUES ('aaron', '$opaque-3dh$v=1$');
         UPDATE letmein.users SET disabled = true WHERE name = 'alice'",
    );
    let (status, _, stderr) = site.run(&["--key-file", other, "add", "carol", "--generate"]);
    assert!(status == 2 && stderr.contains("the record of carol was made with the key "), "{stderr}");
    assert_eq!(site.run(&["--key-file", &own, "add", "carol", "--generate"]).0, 0);
}
