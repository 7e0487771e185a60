//! What a layer has alone, and what two of them must not have together.

use super::*;

fn with_passwords(users: impl IntoIterator<Item = (String, &'static str)>) -> Builder {
    let mut builder = Builder::for_text(4_000_000).unwrap();
    for (name, present) in users {
        builder.push(&username(&name), &password(present), Conditions::none()).unwrap();
    }
    builder
}

/// What comes of a proven answer by MD5, with its reply.
fn answered(users: &Users, name: &str, password: &str) -> (Result<(), Reason>, Vec<u8>) {
    let (mut server, mut reply) = (server(1), Vec::new());
    server.datagram(users, at(0.0), peer(CLIENT), b"Authentication Request", &mut reply);
    let answer = echoing_answer(name, password, Challenge::from_digits(&reply).unwrap());
    reply.clear();
    let event = server.datagram(users, at(0.0), peer(CLIENT), answer.as_bytes(), &mut reply).event;
    let result = if let Event::Welcomed { .. } = event {
        Ok(())
    } else if let Event::Refused(Refusal { reason, .. }) = event {
        Err(reason)
    } else {
        panic!("{event:?}")
    };
    (result, reply)
}

#[test]
fn a_removed_user_is_refused_as_an_unknown_name_is_and_gets_in_again_once_added_again() {
    let base = with_passwords([("alice".into(), "hers"), ("bob".into(), "his")]).finish().unwrap();
    let mut removed = Builder::for_text(100).unwrap();
    removed.push_removed(&username("alice")).unwrap();
    removed.push_removed(&username("carol")).unwrap();
    let removed = removed.finish_over(&base).unwrap();
    let unknown = answered(&removed, "nobody", "hers");
    assert_eq!(unknown.0, Err(Reason::UnknownUser));
    for (name, password) in
        [("alice", "hers"), ("alice", ""), ("carol", "hers"), ("carol", ""), ("alice", "his")]
    {
        assert_eq!(answered(&removed, name, password), unknown, "{name} {password}");
    }
    assert_eq!((removed.len(), answered(&removed, "bob", "his").0), (1, Ok(())));
    let again = with_passwords([("alice".into(), "hers")]).finish_over(&removed).unwrap();
    assert_eq!((again.len(), answered(&again, "alice", "hers").0), (2, Ok(())));
}

#[test]
fn no_password_of_either_layer_lets_an_unknown_name_in() {
    let of_base = (0..1000).map(|number| (format!("user{number}"), "password"));
    let base = with_passwords(of_base).finish().unwrap();
    let mut changed = with_passwords((500..1500).map(|number| (format!("user{number}"), "another")));
    (0..250).for_each(|number| changed.push_removed(&username(&format!("user{number}"))).unwrap());
    let users = changed.finish_over(&base).unwrap();
    assert_eq!(users.len(), 1250);
    for name in (0..10_000).map(|number| format!("nobody{number}")) {
        for password in ["password", "another", ""] {
            assert_eq!(answered(&users, &name, password).0, Err(Reason::UnknownUser), "{name} {password}");
        }
    }
}

#[test]
fn an_overlay_of_65536_is_searched_whole_and_so_is_the_base() {
    let base =
        with_passwords((0..1000).map(|number| (format!("base{number}"), "password"))).finish().unwrap();
    let changed = (0..65_536).map(|number| (format!("user{number}"), "another"));
    let users = with_passwords(changed).finish_over(&base).unwrap();
    assert_eq!(users.len(), 66_536);
    for number in (0..65_536).step_by(97) {
        assert_eq!(answered(&users, &format!("user{number}"), "another").0, Ok(()), "{number}");
    }
    for number in 0..1000 {
        assert_eq!(answered(&users, &format!("base{number}"), "password").0, Ok(()), "{number}");
    }
}

/// Names and passwords of one and the same letter, so that many of them are equal once they are written together.
#[test]
fn users_who_could_log_in_as_each_other_are_refused_in_either_layer() {
    let texts: Vec<String> = (1..=4).map(|len| "é".repeat(len)).collect();
    let mut random = SmallRng::seed_from_u64(1);
    let mut counts = [0; 2];
    for round in 0..2000 {
        let mut draw = || {
            let mut text = || texts.choose(&mut random).unwrap().clone();
            let (name, present, old) = (text(), text(), text());
            let old = Some(old).filter(|old| *old != present && random.random_bool(0.3));
            (name, (present, old))
        };
        let before: BTreeMap<_, _> = (0..2).map(|_| draw()).collect();
        let changes: BTreeMap<_, _> = (0..2).map(|_| draw()).collect();
        let gone = draw().0;
        let build = |users: &BTreeMap<String, (String, Option<String>)>| {
            let mut builder = Builder::for_text(1000).unwrap();
            for (name, (present, old)) in users {
                let old = old.as_ref().map(|old| OldPassword { password: password(old), ends_unix_s: 1 });
                builder
                    .push_with_old(&username(name), &password(present), old.as_ref(), Conditions::none())
                    .unwrap();
            }
            builder
        };
        let Ok(base) = build(&before).finish() else { continue };
        let (mut after, mut overlay) = (before, build(&changes));
        after.extend(changes.clone());
        if !changes.contains_key(&gone) {
            after.remove(&gone);
            overlay.push_removed(&username(&gone)).unwrap();
        }
        let is_fine = build(&after).finish().is_ok();
        match overlay.finish_over(&base) {
            Ok(users) => assert!(is_fine && users.len() == after.len(), "round {round}"),
            Err(BuildError::Equal(equal)) => {
                let is_equal = |name: &String, other: &String| {
                    let secrets = |name: &String| {
                        let (present, old) = &after[name];
                        iter::once(present)
                            .chain(old)
                            .map(|it| format!("{name}{it}"))
                            .collect::<BTreeSet<_>>()
                    };
                    !secrets(name).is_disjoint(&secrets(other))
                };
                assert!(!is_fine, "round {round}");
                assert!(
                    equal.iter().all(|it| it.name != it.other && is_equal(&it.name, &it.other)),
                    "{equal:?}"
                );
            }
            Err(other) => panic!("{other:?}"),
        }
        counts[usize::from(is_fine)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

#[test]
fn an_overlay_has_no_other_key_than_its_base() {
    let base = with_passwords([("alice".into(), "hers")]).finish().unwrap();
    assert!(matches!(builder().finish_over(&base), Err(BuildError::OtherKey)));
    let with_key = builder().finish().unwrap();
    let without = with_passwords([("alice".into(), "hers")]).finish_over(&with_key).unwrap();
    assert_eq!(without.key_id(), Some(key().id()));
}

#[test]
fn a_name_that_is_twice_in_an_overlay_is_refused() {
    let base = with_passwords([("alice".into(), "hers")]).finish().unwrap();
    let mut twice = with_passwords([("bob".into(), "his")]);
    twice.push_removed(&username("bob")).unwrap();
    assert!(matches!(twice.finish_over(&base), Err(BuildError::Index(_))));
}
