use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use proto::opaque::key::ServerKey;
use proto::opaque::registration::register;
use proto::opaque::stretching::Stretching;

/// A text after a change, which must leave it valid.
fn changed(text: &str, change: impl FnOnce(&mut Edit<'_>)) -> String {
    users::parse(text).unwrap();
    let mut edit = Edit::new(text).unwrap();
    change(&mut edit);
    let new = edit.finish().unwrap();
    assert!(users::parse(&new).is_ok(), "{}", *new);
    new.to_string()
}

fn name(name: &str) -> Username {
    name.parse().unwrap()
}

fn new_password() -> Credential {
    Credential::Password(Password::new("new").unwrap())
}

fn user(user: &str, conditions: &[Condition]) -> NewUser {
    NewUser { name: name(user), credential: new_password(), conditions: conditions.to_vec(), old: None }
}

const FORMS: &str = "\
# Who may log in.
[users] # all of them
# Staff
alice = \"a\"     # since 2020
  \"bob b\"   = { password = 'b', # his
             disabled = true, from = [\"::1\"] } # gone
carol . password = \"c\" # hers
carol . expires  =  2027-01-31 # contract

# A section.
[users.dave] # of his own
  # secret
  password = \"\"\"
d\"\"\"  # two lines
  disabled = false
# end
";

/// `FORMS` with one part replaced.
fn forms_with(old: &str, new: &str) -> String {
    assert_eq!(FORMS.matches(old).count(), 1, "{old}");
    FORMS.replacen(old, new, 1)
}

#[test]
fn a_password_changes_where_it_is_in_every_form() {
    for (user, old, new) in [
        ("alice", "= \"a\" ", "= \"new\" "),
        ("bob b", "'b'", "\"new\""),
        ("carol", "= \"c\"", "= \"new\""),
        ("dave", "\"\"\"\nd\"\"\"", "\"new\""),
    ] {
        let text = changed(FORMS, |edit| edit.set_credential(&name(user), &new_password()).unwrap());
        assert_eq!(text, forms_with(old, new), "{user}");
    }
}

#[test]
fn an_old_password_is_kept_as_it_is_written_and_goes_with_the_next_change() {
    let password = Password::new("new").unwrap();
    for (user, old, new) in [
        ("alice", "\"a\" ", "{ password = \"new\", old_password = \"a\", old_until = 2027-01-31 } "),
        (
            "bob b",
            "'b', # his\n             disabled = true, from = [\"::1\"] }",
            "\"new\", # his\n             disabled = true, from = [\"::1\"], old_password = 'b', old_until = \
             2027-01-31 }",
        ),
        (
            "carol",
            "\"c\" # hers\n",
            "\"new\" # hers\ncarol . old_password = \"c\"\ncarol . old_until = 2027-01-31\n",
        ),
        (
            "dave",
            "\"\"\"\nd\"\"\"  # two lines\n",
            "\"new\"  # two lines\n  old_password = \"\"\"\nd\"\"\"\n  old_until = 2027-01-31\n",
        ),
    ] {
        let last_day = || "2027-01-31".to_owned();
        let kept = changed(FORMS, |edit| edit.keep_old_password(&name(user), &password, last_day()));
        assert_eq!(kept, forms_with(old, new), "{user}");
        let dropped = changed(&kept, |edit| edit.drop_old_password(&name(user)).unwrap());
        assert!(!dropped.contains("old_"), "{dropped}");
        let again = Password::new("newer").unwrap();
        let kept_again = changed(&kept, |edit| edit.keep_old_password(&name(user), &again, last_day()));
        let one = changed(&kept_again, |edit| edit.set_credential(&name(user), &new_password()).unwrap());
        assert_eq!((kept_again.matches("old_password").count(), &one), (1, &dropped), "{kept_again}");
    }
}

#[test]
fn an_old_password_goes_wherever_it_is_between_braces() {
    for (keys, left) in [
        ("password = \"a\", old_password = \"b\", old_until = 2027-01-31", "password = \"a\""),
        ("old_password = \"b\", old_until = 2027-01-31, password = \"a\"", "password = \"a\""),
        ("old_password = \"b\", password = \"a\", old_until = 2027-01-31", "password = \"a\""),
        (
            "old_until = 2027-01-31, disabled = true, old_password = \"b\", password = \"a\"",
            "disabled = true, password = \"a\"",
        ),
    ] {
        let text = changed(&format!("[users]\na = {{ {keys} }}\n"), |edit| {
            edit.drop_old_password(&name("a")).unwrap();
        });
        assert_eq!(text, format!("[users]\na = {{ {left} }}\n"), "{keys}");
    }
}

#[test]
fn a_user_is_renamed_in_every_form() {
    for (user, old, new) in [
        ("alice", "alice =", "zoe ="),
        ("bob b", "\"bob b\"   =", "zoe   ="),
        ("dave", "[users.dave]", "[users.zoe]"),
    ] {
        let text = changed(FORMS, |edit| edit.rename(&name(user), &name("zoe")));
        assert_eq!(text, forms_with(old, new), "{user}");
    }
    let text = changed(FORMS, |edit| edit.rename(&name("carol"), &name("zo\u{eb}.x")));
    assert_eq!(text, FORMS.replace("carol .", "\"zo\u{eb}.x\" ."));
    for (old, new) in [
        (
            "users.a.password = \"1\"\nusers . 'a' . disabled = true\n",
            "users.zoe.password = \"1\"\nusers . zoe . disabled = true\n",
        ),
        ("\u{feff}users.a.password = \"a\"\n", "\u{feff}users.zoe.password = \"a\"\n"),
        (
            "[users]\n\"a\\u0020b\".password = \"1\"\n  'a b'.disabled = true\n",
            "[users]\nzoe.password = \"1\"\n  zoe.disabled = true\n",
        ),
        ("[users]\n\"\\\"a.\\\\\".password = \"1\"\n", "[users]\nzoe.password = \"1\"\n"),
    ] {
        let first = users::parse(old).unwrap().names().next().unwrap().to_owned();
        assert_eq!(changed(old, |edit| edit.rename(&name(&first), &name("zoe"))), new);
    }
}

#[test]
fn a_condition_is_added_or_changed_in_every_form() {
    for (user, key, value, old, new) in [
        ("alice", "disabled", "true", "\"a\" ", "{ password = \"a\", disabled = true } "),
        ("bob b", "disabled", "false", "= true", "= false"),
        ("bob b", "expires", "2027-01-31", "[\"::1\"]", "[\"::1\"], expires = 2027-01-31"),
        ("carol", "disabled", "true", "# hers\n", "# hers\ncarol . disabled = true\n"),
        ("carol", "expires", "2028-01-31", "2027-01-31", "2028-01-31"),
        ("dave", "expires", "2027-01-31", "# two lines\n", "# two lines\n  expires = 2027-01-31\n"),
    ] {
        let text = changed(FORMS, |edit| edit.set(&name(user), key, value.to_owned()));
        assert_eq!(text, forms_with(old, new), "{user}");
    }
}

#[test]
fn a_condition_is_taken_out_of_every_form() {
    for (user, key, old, new) in [
        ("alice", "disabled", "# since 2020", "# since 2020"),
        ("bob b", "from", ", from = [\"::1\"]", ""),
        ("carol", "expires", "carol . expires  =  2027-01-31 # contract\n", ""),
        ("dave", "disabled", "  disabled = false\n", ""),
    ] {
        let text = changed(FORMS, |edit| edit.unset(&name(user), key).unwrap());
        assert_eq!(text, forms_with(old, new), "{user}");
    }
    let text = "[users]\na = { disabled = true, password = \"a\" }\n";
    let enabled = changed(text, |edit| edit.unset(&name("a"), "disabled").unwrap());
    assert_eq!(enabled, "[users]\na = { password = \"a\" }\n");
}

#[test]
fn comments_between_braces_stay() {
    for (text, enabled) in [
        (
            "[users]\na = { password = \"a\", # mine\n disabled = true }\n",
            "[users]\na = { password = \"a\", # mine\n disabled = false }\n",
        ),
        (
            "[users]\na = { disabled = true, # why\n password = \"a\" }\n",
            "[users]\na = { disabled = false, # why\n password = \"a\" }\n",
        ),
        (
            "[users]\na = { password = \"a#\", disabled = true # why\n }\n",
            "[users]\na = { password = \"a#\" # why\n }\n",
        ),
    ] {
        assert_eq!(changed(text, |edit| edit.unset(&name("a"), "disabled").unwrap()), enabled);
    }
    let text = "[users]\na = { password = \"a\", # mine\n expires = 2027-01-31 }\n";
    let problem = Edit::new(text).unwrap().unset(&name("a"), "expires").unwrap_err();
    assert_eq!(problem.to_string(), "3:2: a comment would go with expires: take expires out by hand");
}

#[test]
fn a_user_goes_with_their_lines_and_the_comments_above_stay() {
    for (user, old) in [
        ("alice", "alice = \"a\"     # since 2020\n"),
        (
            "bob b",
            "  \"bob b\"   = { password = 'b', # his\n             disabled = true, from = [\"::1\"] } # gone\n",
        ),
        ("carol", "carol . password = \"c\" # hers\ncarol . expires  =  2027-01-31 # contract\n"),
    ] {
        let text = changed(FORMS, |edit| edit.remove(&name(user)));
        assert_eq!(text, forms_with(old, ""), "{user}");
    }
    let text = changed(FORMS, |edit| edit.remove(&name("dave")));
    let rest = FORMS.split_once("[users.dave]").unwrap().0;
    assert_eq!(text, format!("{rest}  # secret\n# end\n"));
}

#[test]
fn a_new_user_comes_after_the_last_in_the_form_of_the_file() {
    for (text, added) in [
        ("[users]\n", "[users]\nzoe = \"new\"\n"),
        ("[users]", "[users]\nzoe = \"new\""),
        ("[users]\n\n# nobody\n", "[users]\nzoe = \"new\"\n\n# nobody\n"),
        ("[users]\na = \"a\" # a\n\n# end", "[users]\na = \"a\" # a\nzoe = \"new\"\n\n# end"),
        ("[users]\na = \"a\" # a", "[users]\na = \"a\" # a\nzoe = \"new\""),
        ("[users]\r\n  a = \"a\"\r\n", "[users]\r\n  a = \"a\"\r\n  zoe = \"new\"\r\n"),
        ("users.a.password = \"a\"\n", "users.a.password = \"a\"\nusers.zoe = \"new\"\n"),
        ("[users.a]\npassword = \"a\"\n", "[users.a]\npassword = \"a\"\n\n[users.zoe]\npassword = \"new\"\n"),
        (
            "[users.a]\npassword = \"a\"\n[users]\n# more\n",
            "[users.a]\npassword = \"a\"\n[users]\nzoe = \"new\"\n# more\n",
        ),
        ("\u{feff}[users]\na = \"a\"\n", "\u{feff}[users]\na = \"a\"\nzoe = \"new\"\n"),
        ("\u{feff}users.a = \"a\"\n", "\u{feff}users.a = \"a\"\nusers.zoe = \"new\"\n"),
    ] {
        assert_eq!(changed(text, |edit| edit.add(&user("zoe", &[]))), added, "{text:?}");
    }
}

#[test]
fn new_users_may_have_conditions_and_names_in_need_of_quotes() {
    let conditions = [Condition::Disabled(true), Condition::Expires(Some("2027-01-31".into()))];
    let text = changed("[users]\n", |edit| {
        edit.add(&user("zo\u{eb}.x", &conditions));
        edit.add(&user("y", &[]));
    });
    assert_eq!(
        text,
        "[users]\n\"zo\u{eb}.x\" = { password = \"new\", disabled = true, expires = 2027-01-31 }\ny = \"new\"\n"
    );
}

#[test]
fn the_section_stays_when_the_last_user_goes() {
    for (text, empty) in [
        ("[users]\na = \"a\"\n", "[users]\n"),
        ("# all\n[users.a] # of a\npassword = \"a\"\n", "# all\n[users]\n"),
        ("users.a = \"a\"", "[users]\n"),
        ("users.a = \"a\"\n# end", "# end\n[users]"),
        ("# all\nusers.a = \"a\"", "# all\n[users]\n"),
    ] {
        assert_eq!(changed(text, |edit| edit.remove(&name("a"))), empty, "{text:?}");
    }
}

#[test]
fn two_changes_of_one_place_are_not_made() {
    let mut edit = Edit::new(FORMS).unwrap();
    edit.set(&name("alice"), "disabled", "true".into());
    edit.set_credential(&name("alice"), &new_password()).unwrap();
    assert_eq!(edit.finish().err(), Some(Overlap));
}

#[test]
fn a_mark_in_front_of_the_text_is_not_written_again() {
    let text = changed("\u{feff}users.a.password = \"a\"\n", |edit| {
        edit.set(&name("a"), "disabled", "true".into());
    });
    assert_eq!(text, "\u{feff}users.a.password = \"a\"\nusers.a.disabled = true\n");
}

#[test]
fn users_between_braces_are_refused_with_a_remedy() {
    let problem = Edit::new("users = { a = \"a\" }\n").err().unwrap();
    assert!(problem.to_string().starts_with("1:1: users in braces cannot be changed"), "{problem}");
}

fn record_of_alice() -> Credential {
    let key = ServerKey::generate(&mut ChaCha20Rng::from_seed([1; 32]));
    let password = Password::new("new").unwrap();
    let random = &mut ChaCha20Rng::from_seed([2; 32]);
    Credential::Record(Box::new(register(&key, &name("alice"), &password, Stretching::NONE, random).unwrap()))
}

#[test]
fn a_record_takes_the_place_of_the_password_in_every_form_and_a_password_that_of_the_record() {
    let record = record_of_alice();
    let quoted = format!("'{}'", *record.text());
    for (user, password, opaque, again) in [
        ("alice", "= \"a\" ", format!("= {{ opaque = {quoted} }} "), "= { password = \"new\" } "),
        ("bob b", "password = 'b'", format!("opaque = {quoted}"), "password = \"new\""),
        ("carol", ". password = \"c\"", format!(". opaque = {quoted}"), ". password = \"new\""),
        ("dave", "password = \"\"\"\nd\"\"\"", format!("opaque = {quoted}"), "password = \"new\""),
    ] {
        let mut edit = Edit::new(FORMS).unwrap();
        edit.set_credential(&name(user), &record).unwrap();
        let with_record = edit.finish().unwrap();
        assert_eq!(*with_record, forms_with(password, &opaque), "{user}");
        let mut edit = Edit::new(&with_record).unwrap();
        assert!(edit.has_record(&name(user)) && edit.has(&name(user), &record) && edit.has_records());
        edit.set(&name(user), "disabled", "true".to_owned());
        let disabled = edit.finish().unwrap();
        assert!(disabled.contains("disabled = true"), "{}", *disabled);
        let mut edit = Edit::new(&with_record).unwrap();
        edit.set_credential(&name(user), &new_password()).unwrap();
        assert_eq!(*edit.finish().unwrap(), forms_with(password, again), "{user}");
    }
}

#[test]
fn a_record_takes_the_old_password_with_it() {
    for (keys, left) in [
        ("password = 'a', old_password = 'b', old_until = 2027-01-31", "RECORD"),
        ("old_password = 'b', old_until = 2027-01-31, password = 'a'", "RECORD"),
        (
            "old_until = 2027-01-31, disabled = true, old_password = 'b', password = 'a'",
            "disabled = true, RECORD",
        ),
    ] {
        let text = format!("[users]\na = {{ {keys} }}\n");
        let mut edit = Edit::new(&text).unwrap();
        let record = record_of_alice();
        edit.set_credential(&name("a"), &record).unwrap();
        let left = left.replace("RECORD", &format!("opaque = '{}'", *record.text()));
        assert_eq!(*edit.finish().unwrap(), format!("[users]\na = {{ {left} }}\n"));
    }
}
