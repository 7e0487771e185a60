//! The rules of names and passwords, which the schema holds as the protocol does.

use letmein_auth_engine::{EqualLogins, Type, Writer, equal_logins};
use proto::credentials::{NAME_MAX, Username};

use crate::postgres::{Database, run};

const INSERT: &str = "INSERT INTO letmein.users (name, password) VALUES ($1, $2)";

#[test]
fn the_schema_takes_the_names_that_the_protocol_takes() {
    let Some(database) = Database::new() else { return };
    // NUL is in no text of PostgreSQL.
    let special =
        ('\u{1}'..=char::MAX).filter(|it| it.is_control() || it.is_whitespace() || "!:~\u{a1}".contains(*it));
    let with_special =
        special.flat_map(|it| [format!("{it}"), format!("{it}b"), format!("b{it}"), format!("b{it}b")]);
    let long = [NAME_MAX, NAME_MAX + 1].map(|len| "a".repeat(len));
    let wide = [NAME_MAX / 2, NAME_MAX / 2 + 1].map(|len| "ä".repeat(len));
    let names: Vec<_> =
        with_special.chain(long).chain(wide).chain([String::new(), "$opaque".into()]).collect();
    run(async {
        let session = database.session().await;
        for name in &names {
            let taken = session.rows(INSERT, &[(name, Type::TEXT), (&"p", Type::TEXT)]).await.is_ok();
            assert_eq!(taken, Username::check(name.as_bytes()).is_ok(), "{name:?}");
        }
    });
}

#[test]
fn a_user_has_a_password_or_a_record() {
    let Some(database) = Database::new() else { return };
    let longest = "p".repeat(128);
    let record = |len: usize| format!("$opaque-3dh${}", "r".repeat(len - 12));
    let networks = |count: usize| vec!["::1"; count].join(",");
    for values in [
        format!("('a', '{longest}', NULL, NULL, NULL)"),
        "('b', NULL, '$opaque-3dh$v=1$none', NULL, NULL)".into(),
        "('c', 'p', NULL, '2027-01-31', '{10.0.0.0/8,2001:db8::/32,127.0.0.1}')".into(),
        format!("('e', NULL, '{}', NULL, '{{{}}}')", record(512), networks(64)),
    ] {
        database.batch(&format!(
            "INSERT INTO letmein.users (name, password, opaque, expires, networks) VALUES {values}"
        ));
    }
    for (values, constraint) in [
        (format!("('d', '{longest}p', NULL, NULL, NULL)"), "password_length"),
        ("('d', '', NULL, NULL, NULL)".into(), "password_length"),
        ("('d', NULL, NULL, NULL, NULL)".into(), "password_or_opaque"),
        ("('d', 'p', '$opaque-3dh$v=1$none', NULL, NULL)".into(), "password_or_opaque"),
        ("('d', NULL, 'p', NULL, NULL)".into(), "opaque_start"),
        ("('d', 'p', NULL, '1969-12-31', NULL)".into(), "expires_since_1970"),
        (format!("('d', NULL, '{}', NULL, NULL)", record(513)), "opaque_length"),
        ("('d', 'p', NULL, NULL, '{}')".into(), "networks_length"),
        (format!("('d', 'p', NULL, NULL, '{{{}}}')", networks(65)), "networks_length"),
        ("('d', 'p', NULL, NULL, '{NULL}')".into(), "networks_null"),
        ("('d', 'p', NULL, NULL, '{::1,NULL}')".into(), "networks_null"),
        ("('d', 'p', NULL, NULL, '{{::1},{127.0.0.1}}')".into(), "networks_flat"),
    ] {
        let refusal = database.refusal(&format!(
            "INSERT INTO letmein.users (name, password, opaque, expires, networks) VALUES {values}"
        ));
        assert!(refusal.contains(constraint), "{values}: {refusal}");
    }
}

#[test]
fn an_error_shows_no_password() {
    let Some(database) = Database::new() else { return };
    let settings = database.settings();
    for name in ["a:b", "alice"] {
        let insert = async |password: &str| {
            let mut writer = Writer::new(&settings);
            let parameters = [(&name as _, Type::TEXT), (&password as _, Type::TEXT)];
            writer.change("test", async |session| session.rows(INSERT, &parameters).await).await
        };
        // The first alice is taken, and the second has her name.
        run(async {
            let _ = insert("hunter2").await;
            let error = insert("hunter2").await.unwrap_err();
            assert!(
                !error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"),
                "{error}"
            );
            let error = insert(&"hunter2".repeat(20)).await.unwrap_err();
            assert!(
                !error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"),
                "{error}"
            );
        });
    }
}

/// They would have the same digest for every challenge, and each could log in as the other.
#[test]
fn no_two_users_have_the_same_name_and_password_written_together() {
    let Some(database) = Database::new() else { return };
    let insert = |name: &str, column: &str, text: &str| {
        format!("INSERT INTO letmein.users (name, {column}) VALUES ('{name}', '{text}')")
    };
    database.batch(&insert("al", "password", "icexyz"));
    let refusal = database.refusal(&insert("alice", "password", "xyz"));
    assert!(
        refusal.starts_with("a user would have the same name and password, written together,"),
        "{refusal}"
    );
    let logins = [("alice", "xyz"), ("alice", "xy"), ("al", "icexyz")];
    let equal =
        |leaving: &[&str]| run(async { equal_logins(&database.session().await, &logins, leaving).await });
    assert_eq!(equal(&[]), Ok(vec![EqualLogins { name: "alice".into(), other: "al".into() }]));
    assert_eq!(equal(&["al"]), Ok(Vec::new()));
    // Of records nothing follows.
    database.batch(&insert("bob", "opaque", "$opaque-3dh$a"));
    database.batch(&insert("bo", "opaque", "$opaque-3dh$a"));
}
