//! A users file is users, or problems with places in it, and a file of cluster keys is keys or problems. A record or a
//! key is written as it was read.
#![no_main]

use letmein_auth_users::{
    Problem, cluster_keys_text, key_text, parse, parse_cluster_keys, parse_key, parse_record, parse_with_key,
    record_text,
};
use libfuzzer_sys::fuzz_target;

fn have_places(problems: &[Problem], text: &str) {
    assert!(!problems.is_empty());
    for problem in problems {
        assert!(problem.line >= 1 && problem.line <= text.matches('\n').count() + 1, "{problem}");
        assert!(problem.column >= 1, "{problem}");
    }
}

fuzz_target!(|text: &str| {
    if let Err(problems) = parse(text) {
        have_places(&problems, text);
    }
    match parse_cluster_keys(text) {
        Ok(keys) => assert_eq!(parse_cluster_keys(&cluster_keys_text(&keys)).unwrap().len(), keys.len()),
        Err(problems) => have_places(&problems, text),
    }
    for word in text.split(['"', '\'']) {
        if let Ok(record) = parse_record(word) {
            assert_eq!(record_text(&record), word);
        }
    }
    // A key, and users with records that it may have made.
    let (line, users) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(key) = parse_key(line) {
        assert_eq!(key_text(&key).trim_end(), line.trim_end_matches('\r'));
        let problems = parse_with_key(users, Some(&key)).err();
        assert!(problems.is_none_or(|problems| !problems.is_empty()));
    }
});
