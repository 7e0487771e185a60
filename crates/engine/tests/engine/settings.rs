//! Files of settings: what they may say, and who may read them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

use letmein_auth_engine::Settings;
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::postgres::load;

#[test]
fn settings_of_a_unix_socket_are_those_of_libpq_or_a_url() {
    for text in [
        "host=/run/postgresql dbname=letmein user=alice password='correct horse'",
        "# Where the users are.\nhost = /run/postgresql\n\ndbname = letmein\n",
        "postgresql://alice:secret@%2Frun%2Fpostgresql/letmein",
        "host=/run/postgresql\nsslmode=verify-full\n",
    ] {
        assert!(load(text).is_ok(), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_without_the_password() {
    for (text, remedy) in [
        ("host=/run\nsslmode=require", "engine:2: sslmode is verify-full"),
        ("host=/run\npassword=hunter2 horse", "engine:2: not understood"),
        ("host=/run\nhunter2", "engine:2: not understood"),
        ("host=/run\n=hunter2", "engine:2: not understood"),
        ("host=/run ;password=hunter2", "engine:1: not understood"),
        ("host=/run password='hunter2", "engine:1: not understood"),
        ("host=/run sslrootcert=hunter2", "engine:1: give sslrootcert and sslmode a line of their own"),
        ("host=/run sslmode=verify-full password=hunter2", "engine:1: give sslrootcert and sslmode a line"),
        ("host=/run\nsslrootcert='/hunter2'", "engine:2: give sslrootcert and sslmode a line of their own"),
        ("sslrootcert=/ca.pem password=hunter2", "engine:1: give sslrootcert and sslmode a line"),
        (
            "host=db.example.org sslnegotiation=direct password=hunter2",
            "sslnegotiation=direct is not possible",
        ),
        ("postgresql://a:hunter2@%2Frun/b\ndbname=c", "engine:2: a URL"),
        ("dbname=c\npostgresql://a:hunter2@%2Frun/b", "engine:2: a URL"),
        ("password=hunter2", "no host"),
        ("host=/run,db.example.org password=hunter2", "hosts and Unix sockets"),
        ("host=/run hostaddr=192.0.2.1 password=hunter2", "hosts and Unix sockets"),
        ("host=/run,/tmp port=1,2,3 password=hunter2", "one for each host"),
        ("host=a,b hostaddr=192.0.2.1 password=hunter2", "for each host or for none"),
        ("host=db.example.org password=hunter2", "no sslrootcert"),
        ("host=db.example.org sslmode=disable password=hunter2", "sslmode=disable is not possible"),
        ("host=db.example.org password=hunter2\nsslrootcert=/nonexistent", "/nonexistent: "),
        ("host=db.example.org password=hunter2\nsslrootcert=/etc/passwd", "no certificate in it"),
    ] {
        let error = load(text).unwrap_err();
        let (shown, debugged) = (error.to_string(), format!("{error:?}"));
        assert!(shown.contains(remedy), "{text}: {shown}");
        assert!(!shown.contains("hunter2") && !debugged.contains("hunter2"), "{text}: {shown} {debugged}");
    }
}

#[test]
fn a_ca_that_others_can_write_is_refused() {
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, "").unwrap();
    let text = format!("host=db.example.org\nsslrootcert={}", ca.display());
    for (mode, remedy) in [(0o644, "no certificate in it"), (0o664, "chmod go-w"), (0o646, "chmod go-w")] {
        fs::set_permissions(&ca, Permissions::from_mode(mode)).unwrap();
        let error = load(&text).unwrap_err().to_string();
        assert!(error.contains(remedy), "{mode:o}: {error}");
    }
    if geteuid().is_root() {
        fs::set_permissions(&ca, Permissions::from_mode(0o644)).unwrap();
        chown(&ca, Some(1), None).unwrap();
        let error = load(&text).unwrap_err().to_string();
        assert!(error.contains("owned by another user"), "{error}");
    }
}

#[test]
fn what_is_no_file_or_has_no_end_is_not_read() {
    let folder = TempDir::new().unwrap();
    let (pipe, large) = (folder.path().join("pipe"), folder.path().join("large"));
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let file = File::create(&large).unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    file.set_len((1 << 20) + 1).unwrap();
    for (path, reason) in [(&pipe, "not a regular file"), (&large, "larger than 1 MiB")] {
        let error = Settings::load(path, "test").unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        let error = load(&format!("host=db.example.org\nsslrootcert={}", path.display())).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn settings_that_others_can_read_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("engine");
    fs::write(&path, "host=/run/postgresql").unwrap();
    for (mode, is_private) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let loaded = Settings::load(&path, "test");
        assert_eq!(loaded.is_ok(), is_private, "{mode:o}");
        if let Err(error) = loaded {
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(Settings::load(&link, "test").is_ok());
    let error = Settings::load(&folder.path().join("missing"), "test").unwrap_err();
    assert!(error.to_string().contains("write the settings of the database there"), "{error}");
}
