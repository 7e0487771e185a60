use super::records::PLACEHOLDER_LEN;
use super::*;
use crate::credentials::{Password, Username};

fn find<'a>(store: &'a Store, name: &str) -> Lookup<'a> {
    store.find(store.hash(name), name)
}

#[test]
fn all_names_that_were_added_are_found_and_no_others() {
    let names: Vec<Username> = (0..1000).map(|number| format!("user{number}").parse().unwrap()).collect();
    let mut records = Records::for_text(100_000).unwrap();
    for name in &names {
        records
            .add(name, Credential::Password(&Password::new(&format!("of {name}")).unwrap(), None))
            .unwrap();
    }
    let store = Store::new(records, RandomState::new()).unwrap();
    for name in &names {
        let found = find(&store, name.as_str());
        assert!(bool::from(found.is_user()), "{name}");
        assert_eq!(found.password, format!("of {name}").as_bytes());
    }
    assert!(["user1000", ""].iter().all(|name| !bool::from(find(&store, name).is_user())));
    assert!(store.iter().map(|record| record.name).eq(names.iter().map(Username::as_str)));
    assert_eq!(store.count(), names.len());
}

/// Nine users in ten are not in the bucket where the search for them begins, and some searches wrap around at the last.
#[test]
fn all_names_are_found_among_buckets_that_are_full() {
    for count in [8, 15, 16, 80] {
        let mut records = Records::for_text(100_000).unwrap();
        let names: Vec<Username> =
            (0..count).map(|number| format!("user{number}").parse().unwrap()).collect();
        for name in &names {
            records
                .add(name, Credential::Password(&Password::new(&format!("of {name}")).unwrap(), None))
                .unwrap();
        }
        let store = Store::with_buckets(records, count / BUCKET_SLOTS + 1, RandomState::new()).unwrap();
        for name in &names {
            let found = find(&store, name.as_str());
            assert!(bool::from(found.is_user()), "{name} of {count}");
            assert_eq!(found.password, format!("of {name}").as_bytes());
        }
        assert!((0..1000).all(|number| !bool::from(find(&store, &format!("nobody{number}")).is_user())));
    }
}

#[test]
fn a_record_has_the_password_before_it_if_there_is_one() {
    let password = |text| Password::new(text).unwrap();
    let longest = "p".repeat(128);
    let mut records = Records::for_text(1000).unwrap();
    let users = [("alice", "new", Some("old")), ("bob", &longest, Some(&*longest)), ("carol", "one", None)];
    for (name, present, old) in users {
        let old = old.map(password);
        records.add(&name.parse().unwrap(), Credential::Password(&password(present), old.as_ref())).unwrap();
    }
    let store = Store::new(records, RandomState::new()).unwrap();
    for (name, present, old) in users {
        let found = find(&store, name);
        let old = old.unwrap_or_default();
        assert_eq!((found.password, found.old_password), (present.as_bytes(), old.as_bytes()), "{name}");
    }
    let read: Vec<_> = store.iter().map(|record| (record.name, record.old_password.len())).collect();
    assert_eq!(read, [("alice", 3), ("bob", 128), ("carol", 0)]);
}

#[test]
fn a_search_for_an_unknown_name_ends_with_the_record_of_another_user() {
    let mut records = Records::for_text(100_000).unwrap();
    for number in 0..1000 {
        let name: Username = format!("user{number}").parse().unwrap();
        records.add(&name, Credential::Password(&Password::new("password").unwrap(), None)).unwrap();
    }
    let store = Store::new(records, RandomState::new()).unwrap();
    for number in 0..10_000 {
        let found = find(&store, &format!("nobody{number}"));
        assert_eq!((found.is_user().unwrap_u8(), found.password), (0, &b"password"[..]), "{number}");
    }
}

#[test]
fn no_name_is_found_in_an_empty_store() {
    let store = Store::new(Records::for_text(0).unwrap(), RandomState::new()).unwrap();
    assert!(
        ["userone", ""].iter().all(|name| !bool::from(find(&store, name).is_user()))
            && store.iter().next().is_none()
    );
}

#[test]
fn a_user_beyond_the_reserved_memory_is_not_added() {
    let mut records = Records::for_text(10).unwrap();
    let mut add = |name: &str| {
        records.add(&name.parse().unwrap(), Credential::Password(&Password::new("123").unwrap(), None))
    };
    assert_eq!([add("abc"), add("d"), add("de")], [Some(PLACEHOLDER_LEN as u32), None, None]);
    assert_eq!(records.iter().count(), 1);
}
