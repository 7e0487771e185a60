//! Records in place of passwords, and the key that they are made with.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use proto::transport::Transport;

use super::{Folder, SECRET, STRONG, STRONG2, TEXT, done, not_done, text_with};
use crate::ended::installed;
use crate::running::{Ended, program_file, run, server};

const NONE: [&str; 3] = ["--opaque", "--stretch", "none"];
const STDIN: &str = "--password-stdin";

fn key_file(folder: &Folder) -> PathBuf {
    folder.0.path().join("letmein.key")
}

/// The records of a text, in its order.
fn records(text: &str) -> Vec<&str> {
    text.split(['"', '\'']).filter(|word| word.starts_with("$opaque-3dh$")).collect()
}

/// The text with RECORD for each record.
fn without_records(text: &str) -> String {
    records(text).into_iter().fold(text.to_owned(), |text, record| text.replacen(record, "RECORD", 1))
}

/// A folder in which alice and bob have records, of the passwords `STRONG` and `STRONG2`.
fn folder_with_records() -> Folder {
    let folder = Folder::empty();
    for (name, password) in [("alice", STRONG), ("bob", STRONG2)] {
        let args = [&["add", name, STDIN], &NONE[..]].concat();
        assert_eq!(folder.run_with_input(&args, password).status, 0);
    }
    folder
}

fn verify(folder: &Folder, name: &str, password: &str) -> i32 {
    folder.run_with_input(&["verify", name, STDIN], password).status
}

/// What is said of a key file that is made.
const MADE: &str = "letmein-users: made the key file ";

#[test]
fn the_first_record_makes_a_key_that_nobody_reads_who_does_not_read_the_users() {
    for (mode, key_mode) in [(None, 0o600), (Some(0o600), 0o600), (Some(0o640), 0o640), (Some(0o644), 0o640)]
    {
        let folder = Folder::empty();
        if let Some(mode) = mode {
            fs::write(folder.file(), "[users]\n").unwrap();
            fs::set_permissions(folder.file(), Permissions::from_mode(mode)).unwrap();
        }
        let args = ["add", "alice", STDIN, "--opaque", "--stretch", "none"];
        let Ended { status, stdout, stderr } = folder.run_with_input(&args, STRONG);
        assert!(status == 0 && stdout.is_empty() && stderr.starts_with(MADE), "{stderr}");
        assert!(stderr.lines().count() == 1 && stderr.contains("Back it up"), "{stderr}");
        let key = fs::read_to_string(key_file(&folder)).unwrap();
        assert!(key.starts_with("letmein-opaque-key-1:") && key.len() == 193, "{}", key.len());
        assert_eq!(fs::metadata(key_file(&folder)).unwrap().mode() & 0o7777, key_mode);
        assert!(folder.text().ends_with(" }\n") && !folder.text().contains(STRONG), "{}", folder.text());
        assert_eq!(verify(&folder, "alice", STRONG), 0);
        assert_eq!(
            folder.run_with_input(&["add", "bob", STDIN, "--opaque", "--stretch", "none"], STRONG),
            done("")
        );
        assert_eq!(fs::read_to_string(key_file(&folder)).unwrap(), key);
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_record_takes_the_place_of_a_password_and_nothing_else_changes() {
    for (name, old, new) in [
        ("alice", "\"hunter2secret\"", "{ opaque = 'RECORD' }"),
        ("bob", "password = \"hunter2secret2\"", "opaque = 'RECORD'"),
        ("carol", ".password = 'hunter2secret3'", ".opaque = 'RECORD'"),
        ("dave", "password = \"hunter2secret4\"", "opaque = 'RECORD'"),
    ] {
        let folder = Folder::with(TEXT);
        let ended = folder.run_with_input(&[&["passwd", name, STDIN], &NONE[..]].concat(), STRONG);
        assert!(ended.status == 0 && ended.stderr.starts_with(MADE), "{ended:?}");
        assert_eq!(without_records(&folder.text()), text_with(old, new));
        assert_eq!([STRONG, STRONG2].map(|password| verify(&folder, name, password)), [0, 1]);
        // And the password in its place again.
        assert_eq!(folder.run_with_input(&["passwd", name, STDIN, "--md5"], STRONG), done(""));
        let password = new.replace("opaque", "password").replace("'RECORD'", &format!("{STRONG:?}"));
        assert_eq!(folder.text(), text_with(old, &password));
    }
}

#[test]
fn records_are_made_by_default_once_there_is_one_and_generated_passwords_are_not_stretched() {
    let folder = folder_with_records();
    for (args, start) in [
        (&["add", "c", "--generate"][..], "$opaque-3dh$v=1$none$"),
        (&["add", "d", "--generate", "--stretch", "light"], "$opaque-3dh$v=1$argon2id,m=19456,t=2,p=1$"),
        (&["add", "e", STDIN, "--stretch", "m=8,t=1,p=1"], "$opaque-3dh$v=1$argon2id,m=8,t=1,p=1$"),
        (&["add", "f", STDIN], "$opaque-3dh$v=1$argon2id,m=65536,t=3,p=1$"),
        (&["passwd", "alice", "--generate"], "$opaque-3dh$v=1$none$"),
    ] {
        let before = folder.text();
        let ended = folder.run_with_input(args, "her own");
        assert_eq!((ended.status, &*ended.stderr), (0, ""), "{args:?}");
        let text = folder.text();
        let new = records(&text).into_iter().find(|record| !before.contains(record)).unwrap();
        assert!(new.starts_with(start), "{args:?}: {new}");
        let password = if ended.stdout.is_empty() { "her own" } else { ended.stdout.trim_end() };
        assert_eq!(verify(&folder, args[1], password), 0);
    }
    assert_eq!(folder.run_with_input(&["add", "g", STDIN, "--md5"], STRONG), done(""));
    assert!(folder.text().contains(&format!("g = \"{STRONG}\"\n")));
    assert_eq!(folder.run_with_input(&["passwd", "g", STDIN, "--md5"], STRONG2), done(""));
    let warning =
        "letmein-users: warning: g is to get a record, and to log in by OPAQUE: --md5 keeps a password\n";
    let ended = folder.run(&["passwd", "g", "--generate"]);
    assert_eq!((ended.status, &*ended.stderr), (0, warning));
    let weak = folder.run_with_input(&["passwd", "g", STDIN, "--stretch", "none"], "weak");
    let warning = "letmein-users: warning: the password of g is weak, and nothing stretches it: leave --stretch none to \
                   generated passwords\n";
    assert_eq!((weak.status, &*weak.stderr), (0, warning));
}

#[test]
fn a_key_file_of_another_name_is_made_and_used() {
    let (folder, elsewhere) = (Folder::empty(), tempfile::tempdir().unwrap());
    let key = elsewhere.path().join("secret");
    let named = ["--key-file", key.to_str().unwrap()];
    let args = [&["add", "alice", STDIN], &NONE[..], &named].concat();
    assert!(folder.run_with_input(&args, STRONG).stderr.starts_with(MADE));
    folder.assert_tidy();
    assert_eq!(folder.run_with_input(&[&["verify", "alice", STDIN], &named[..]].concat(), STRONG).status, 0);
    let ended = folder.run(&["list"]);
    assert!(
        ended.status == 2 && ended.stderr.contains("there is no key file: put its letmein.key"),
        "{ended:?}"
    );
    let folder = Folder::with(TEXT);
    let named = ["--key-file", &format!("{}2", key.display())];
    let ended = folder.run(&[&["migrate", "--stretch", "none"], &named[..]].concat());
    assert!(ended.status == 0 && ended.stderr.starts_with(MADE), "{ended:?}");
    assert_eq!(folder.run_with_input(&[&["verify", "alice", STDIN], &named[..]].concat(), SECRET).status, 0);
}

/// The commands that docs/USERS.md has for it, one after the other.
#[test]
fn after_the_key_is_lost_everybody_has_a_new_password_and_a_record_of_a_new_key() {
    let (Some(_), Some(_), Some(mut bash)) = (installed("openssl"), installed("jq"), installed("bash"))
    else {
        return;
    };
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/USERS.md")).unwrap();
    let (_, page) = page.split_once("**A new key**").unwrap();
    let (page, _) = page.split_once("Then move the new files").unwrap();
    let commands: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let folder = Folder::with(TEXT);
    assert_eq!(folder.run(&["migrate", "--except", "bob", "--stretch", "none"]).status, 0);
    let old = fs::read(key_file(&folder)).unwrap();
    fs::remove_file(key_file(&folder)).unwrap();
    let programs = program_file("letmein-users").parent().unwrap().to_owned();
    let paths = env::split_paths(&env::var_os("PATH").unwrap()).collect::<Vec<_>>();
    bash.env("PATH", env::join_paths([programs].into_iter().chain(paths)).unwrap());
    let ended = run(bash.current_dir(folder.0.path()).args(["-euc", &commands.join("\n")]));
    assert!(ended.status == 0 && ended.stdout.ends_with("4 users migrated\n"), "{ended:?}");
    assert_ne!(fs::read(key_file(&folder)).unwrap(), old);
    let passwords = ended.stdout.lines().filter_map(|line| line.split_once(": "));
    let names: Vec<_> = passwords.map(|(name, password)| (name, verify(&folder, name, password))).collect();
    assert_eq!(names, ["alice", "bob", "carol", "dave"].map(|name| (name, 0)));
}

#[test]
fn records_are_listed_and_shown_with_the_key() {
    let folder = folder_with_records();
    folder.run_with_input(&["add", "carol", STDIN, "--md5"], format!("{STRONG}x"));
    let list = "NAME   STATE     EXPIRES     LOGIN   FROM\n\
                alice  enabled   never       opaque  anywhere\n\
                bob    enabled   never       opaque  anywhere\n\
                carol  enabled   never       md5     anywhere\n";
    assert_eq!(folder.run(&["list"]), done(list));
    let Ended { stdout: json, .. } = folder.run(&["show", "alice", "--json"]);
    assert!(json.contains("\"mechanism\":\"opaque\""), "{json}");
    let Ended { stdout: key, .. } = folder.run(&["key", "show"]);
    let id = key.lines().next().unwrap().strip_prefix("key      ").unwrap();
    assert_eq!(key, format!("key      {id}\nfile     {}\nrecords  2\n", key_file(&folder).display()));
    let shown = format!(
        "name          alice\nstate         enabled\nexpires       never\nfrom          anywhere\n\
         password      in a record, so nobody can guess it without the key file\nstretching    none\n\
         key           {id}\nline          9 of FILE\n"
    );
    assert_eq!(folder.run(&["show", "alice"]), done(&shown));
    assert_eq!(folder.run(&["key", "check"]), done(&format!("key {id}: 2 records, no problems\n")));
    assert_eq!(folder.run(&["check"]), done("3 users, no problems\n"));
    fs::set_permissions(key_file(&folder), Permissions::from_mode(0o644)).unwrap();
    let Ended { status, stdout, .. } = folder.run(&["check"]);
    assert!(status == 0 && stdout.contains("letmein.key: others can read the key in it"), "{stdout}");
    assert!(folder.run(&["key", "check"]).stdout.ends_with(": 2 records, 1 warning\n"));
}

#[test]
fn a_key_file_is_needed_only_for_records() {
    let folder = Folder::with(TEXT);
    let none = "no records, and no key file: the first record makes one\n";
    assert_eq!(folder.run(&["key", "check"]), done(none));
    let ended = folder.run(&["key", "show"]);
    assert!(ended.status == 2 && ended.stderr.contains("letmein.key: No such file"), "{ended:?}");
}

#[test]
fn without_the_right_key_nothing_is_changed_and_none_is_made() {
    let folder = folder_with_records();
    let text = folder.text();
    let key = fs::read(key_file(&folder)).unwrap();
    let other = folder_with_records();
    let reasons: [(&dyn Fn(), &str); 3] = [
        (&|| fs::remove_file(key_file(&folder)).unwrap(), "there is no key file: put its letmein.key beside"),
        (
            &|| fs::write(key_file(&folder), fs::read(key_file(&other)).unwrap()).unwrap(),
            "but the key file has the key",
        ),
        (&|| fs::write(key_file(&folder), &key[..190]).unwrap(), "letmein.key: the key is damaged: "),
    ];
    for (spoil, reason) in reasons {
        spoil();
        let left = fs::read(key_file(&folder)).ok();
        for args in [
            &["add", "carol", STDIN][..],
            &["add", "carol", STDIN, "--opaque"],
            &["passwd", "alice", STDIN, "--stretch", "none"],
            &["disable", "alice"],
            &["migrate"],
            &["check"],
            &["key", "check"],
        ] {
            let ended = folder.run_with_input(args, STRONG);
            let is_missing = ended.stderr.contains("letmein.key: No such file");
            assert!(
                ended.status == 2 && (ended.stderr.contains(reason) || is_missing),
                "{args:?}: {ended:?}"
            );
            assert_eq!(
                (folder.text(), fs::read(key_file(&folder)).ok()),
                (text.clone(), left.clone()),
                "{args:?}"
            );
        }
        // A server would not start.
        let ended = run(server(Transport::Udp).args(["--check", "--users", folder.file().to_str().unwrap()]));
        assert!(ended.status != 0 && ended.stderr.contains(reason), "{ended:?}");
    }
    let Ended { stdout, .. } = {
        fs::write(key_file(&folder), fs::read(key_file(&other)).unwrap()).unwrap();
        folder.run(&["key", "show"])
    };
    assert!(stdout.ends_with("records  0, and 2 of other keys\n"), "{stdout}");
}

#[test]
fn old_passwords_and_new_names_do_not_go_with_records() {
    let folder = folder_with_records();
    folder.run_with_input(&["add", "carol", STDIN, "--md5"], format!("{STRONG}x"));
    let text = folder.text();
    let reason = "FILE: an old password does not go with a record, so nothing was changed: give";
    for (args, remedy) in [
        (
            &["passwd", "carol", "--generate", "--keep-old"][..],
            "carol a new password without --keep-old, or add --md5 to keep passwords",
        ),
        (
            &["passwd", "alice", "--generate", "--keep-old", "--md5"],
            "alice a new password without --keep-old",
        ),
    ] {
        assert_eq!(folder.run(args), not_done(2, &format!("{reason} {remedy}")), "{args:?}");
    }
    let reason = "FILE: alice has a record, which is bound to that name, so nothing was changed: add zoe with a new \
                  password, and remove alice";
    assert_eq!(folder.run(&["rename", "alice", "zoe"]), not_done(2, reason));
    assert_eq!(folder.run(&["rename", "alice", "alice"]), done(""));
    assert_eq!(folder.text(), text);
    for args in
        [&["--keep-old", "--opaque"][..], &["--drop-old", "--opaque"], &["--md5", "--stretch", "none"]]
    {
        assert_eq!(folder.run(&[&["passwd", "alice"], args].concat()).status, 2, "{args:?}");
    }
}

#[test]
fn a_stretching_that_no_client_accepts_is_refused_with_what_is_allowed() {
    for wrong in
        ["strong", "m=65536", "m=262145,t=1,p=1", "m=65536,t=17,p=1", "m=65536,t=3,p=9", "m=7,t=1,p=1"]
    {
        let ended = Folder::empty().run(&["add", "alice", "--stretch", wrong]);
        let reason = "invalid stretching: write default, light, none or m=65536,t=3,p=1";
        assert!(ended.status == 2 && ended.stderr.contains(reason), "{wrong}: {ended:?}");
    }
}

#[test]
fn passwords_of_all_or_of_some_become_records_of_the_same_passwords() {
    for (args, migrated, left) in [
        (&["migrate"][..], "4 users migrated\n", &[][..]),
        (&["migrate", "carol"], "1 user migrated\n", &["alice", "bob", "dave"]),
        (&["migrate", "--except", "bob", "--except", "dave"], "2 users migrated\n", &["bob", "dave"]),
        (&["migrate", "bob", "dave", "--except", "dave"], "1 user migrated\n", &["alice", "carol", "dave"]),
    ] {
        let folder = Folder::with(TEXT);
        let ended = folder.run(&[args, &["--stretch", "none"]].concat());
        assert_eq!((ended.status, &*ended.stdout), (0, migrated), "{args:?}");
        let [made, warning, note] = *ended.stderr.lines().collect::<Vec<_>>() else { panic!("{ended:?}") };
        assert!(made.starts_with(MADE), "{made}");
        let users = migrated.strip_suffix(" migrated\n").unwrap();
        assert!(warning.starts_with(&format!("letmein-users: warning: {users} (")), "{warning}");
        assert!(warning.contains("): weak passwords, which nothing stretches: "), "{warning}");
        let copies = "letmein-users: copies of the old users file still hold the passwords: delete them. ";
        assert!(note.starts_with(copies) && note.contains("has recorded logins by MD5"), "{note}");
        let names = ["alice", "bob", "carol", "dave"];
        let is_record = |name: &str| folder.run(&["show", name]).stdout.contains("in a record");
        assert_eq!(names.into_iter().filter(|name| !is_record(name)).collect::<Vec<_>>(), left);
        for (name, number) in names.into_iter().zip(["", "2", "3", "4"]) {
            assert_eq!(verify(&folder, name, &format!("{SECRET}{number}")), 0, "{name}");
        }
        let again = folder.run(&[args, &["--stretch", "none"]].concat());
        assert_eq!(again, done("nobody to migrate\n"));
    }
}

#[test]
fn a_migration_changes_passwords_and_nothing_else() {
    let folder = Folder::with(TEXT);
    assert_eq!(folder.run(&["migrate", "--stretch", "none"]).status, 0);
    let expected = TEXT
        .replace("\"hunter2secret\"", "{ opaque = 'RECORD' }")
        .replace("password = \"hunter2secret2\"", "opaque = 'RECORD'")
        .replace("password = 'hunter2secret3'", "opaque = 'RECORD'")
        .replace("carol.password", "carol.opaque")
        .replace("password = \"hunter2secret4\"", "opaque = 'RECORD'");
    let text = without_records(&folder.text())
        .replace("carol.opaque = 'RECORD'", "carol.password = 'hunter2secret3'");
    let expected = expected.replace("carol.opaque = 'RECORD'", "carol.password = 'hunter2secret3'");
    assert_eq!(text, expected);
}

#[test]
fn nobody_is_migrated_whose_record_would_not_do_what_the_password_does() {
    let old = |day| {
        format!(
            "[users]\nalice = {{ password = \"{STRONG}\", old_password = \"{STRONG2}\", old_until = {day} }}\nbob = \"b\"\n"
        )
    };
    let folder = Folder::with(&old("2099-12-31"));
    let reason = "FILE: alice has an old password up to 2099-12-31, which does not go with a record, so nothing was \
                  changed: refuse it with passwd alice --drop-old, or add --except alice";
    assert_eq!(folder.run(&["migrate"]), not_done(2, reason));
    assert_eq!(folder.text(), old("2099-12-31"));
    folder.assert_tidy();
    assert_eq!(
        folder.run(&["migrate", "--except", "alice", "--stretch", "none"]).stdout,
        "1 user migrated\n"
    );
    let folder = Folder::with(&old("2001-01-31"));
    assert_eq!(folder.run(&["migrate", "alice", "--stretch", "none"]).stdout, "1 user migrated\n");
    assert_eq!(without_records(&folder.text()), "[users]\nalice = { opaque = 'RECORD' }\nbob = \"b\"\n");
    let folder = Folder::with("[users]\n\"zoe\u{308}\" = \"z\"\n");
    let Ended { status, stderr, .. } = folder.run(&["migrate"]);
    assert!(status == 2 && stderr.contains("is not in its normal form (RFC 8265)"), "{stderr}");
    assert!(stderr.ends_with(": rename it to itself first\n"), "{stderr}");
    assert_eq!(folder.run(&["migrate", "nobody"]), not_done(1, "FILE: there is no user nobody"));
}

/// The record with bytes in place of the client's public key that are no element of the group.
fn without_public_key(record: &str) -> String {
    let (start, bytes) = record.rsplit_once('$').unwrap();
    format!("{start}${}{}", "_".repeat(42), &bytes[42..])
}

#[test]
fn check_tells_of_a_record_whose_damage_no_server_looks_for() {
    let folder = folder_with_records();
    let text = folder.text();
    let alice = records(&text)[0];
    fs::write(folder.file(), text.replace(alice, &without_public_key(alice))).unwrap();
    let Ended { status, stdout, .. } = folder.run(&["check"]);
    let warning = ": the record of alice is damaged: take it from a backup, or set a new password\n";
    assert!(status == 0 && stdout.contains(warning), "{stdout}");
    assert!(
        run(server(Transport::Udp).args(["--check", "--users", folder.file().to_str().unwrap()])).status == 0
    );
    let Ended { status, stdout, stderr } = folder.run_with_input(&["verify", "alice", STDIN], "any\n");
    assert!(status == 1 && (stdout + &stderr).contains("the record is damaged: "));
}

#[test]
fn records_of_a_list_are_taken_as_they_are() {
    let folder = folder_with_records();
    let text = folder.text();
    let [alice, bob] = *records(&text) else { panic!("{text}") };
    fs::write(folder.file(), "[users]\n").unwrap();
    let list = format!("name,password,disabled\nalice,{alice},true\nbob,{bob},\ncarol,{STRONG}x,\n");
    let ended = folder.run_with_input(&["import", "--csv", "-"], list);
    let warning =
        "letmein-users: warning: there are new passwords among records: migrate makes records of them\n";
    assert_eq!((ended.status, &*ended.stdout, &*ended.stderr), (0, "+3 users, 0 changed\n", warning));
    let expected = format!(
        "[users]\nalice = {{ opaque = '{alice}', disabled = true }}\nbob = {{ opaque = '{bob}' }}\ncarol = \"{STRONG}x\"\n"
    );
    assert_eq!(folder.text(), expected);
    let again = folder.run_with_input(&["import", "--replace", "-"], format!("bob:{bob}\n"));
    assert_eq!(again, done("+0 users, 0 changed\n"));
    let reason = "standard input:1: the record is damaged: take it from a backup, or set a new password";
    for damaged in [&bob[..bob.len() - 1], &without_public_key(bob)] {
        let ended = folder.run_with_input(&["import", "-"], format!("dave:{damaged}\n"));
        assert_eq!(ended, not_done(2, reason));
    }
    let other = folder_with_records();
    let text = other.text();
    let ended = folder.run_with_input(&["import", "-"], format!("dave:{}\n", records(&text)[0]));
    assert!(ended.status == 2 && ended.stderr.contains("but the key file has the key"), "{ended:?}");
}
