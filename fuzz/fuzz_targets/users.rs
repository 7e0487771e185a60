//! A users file is users, or problems with places in it.
#![no_main]

use letmein_auth_users::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = parse(text) {
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(problem.line >= 1 && problem.line <= text.matches('\n').count() + 1, "{problem}");
            assert!(problem.column >= 1, "{problem}");
        }
    }
});
