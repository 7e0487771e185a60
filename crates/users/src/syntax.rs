//! What to do about a text that is not TOML.

use std::ops::Range;

/// A remedy for what the parser of TOML found at a place.
pub(crate) fn remedy(text: &str, place: &Range<usize>, message: &str) -> String {
    let says = |start: &str| message.starts_with(start);
    if says("duplicate key") {
        // A key is a name, and no password.
        let key = text.get(place.clone()).unwrap_or_default();
        return format!("{key} occurs twice: remove one of the two");
    }
    let first_line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim_start();
    let line = text.get(..place.start).and_then(|before| before.lines().last()).unwrap_or_default();
    if first_line.starts_with('{') {
        return "this is no TOML file: begin with a line [users], and write alice = \"password\"".to_owned();
    }
    if line.trim_start().starts_with("//")
        || text.get(place.start..).is_some_and(|rest| rest.starts_with("//"))
    {
        return "begin a comment with #".to_owned();
    }
    if text
        .get(place.start..)
        .is_some_and(|rest| rest.starts_with(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']))
    {
        return "use straight quotes, \" or '".to_owned();
    }
    let remedy = match key_before(text, place.start) {
        _ if says("invalid basic string") || says("invalid literal string") => {
            "end the password with the quote that it begins with"
        }
        _ if says("missing escaped value") => {
            r"write \\ for a backslash, or put the password between single quotes"
        }
        _ if says("unclosed table") => "end the name of the section with ]",
        _ if says("key with no value") => {
            r#"write name = "password"; a name with spaces, a colon or other signs goes between quotes"#
        }
        _ if says("invalid unquoted key") => {
            r#"put the name between quotes, as in "zoë" = "password": without them it has only A-Z, a-z, 0-9, - and _"#
        }
        _ if says("unexpected key or value") => {
            r#"begin a line for each user; a password with a ' in it goes between double quotes, where a double quote is \""#
        }
        _ if says("missing comma") || says("unclosed inline table") => {
            r#"put commas between keys, and all between braces, as in { password = "…", disabled = true }"#
        }
        "expires" | "old_until" => "write the last good day as in 2027-01-31, without quotes",
        "disabled" => "write disabled = true or disabled = false",
        "opaque" => "put the record between quotes",
        "from" => r#"write networks as in from = ["10.0.0.0/8", "2001:db8::1"]"#,
        _ => r#"put the password between quotes, as in alice = "password""#,
    };
    remedy.to_owned()
}

/// The key whose value is at this place, if it is written without quotes.
fn key_before(text: &str, place: usize) -> &str {
    let line = text.get(..place).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
    let key = line.rsplit_once('=').map_or(line, |(key, _)| key).trim_end();
    key.rsplit(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .next()
        .unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn each_mistake_has_a_remedy_of_its_own() {
        const QUOTES: &str = r#"put the password between quotes, as in alice = "password""#;
        const DAY: &str = "write the last good day as in 2027-01-31, without quotes";
        for (line, remedy) in [
            ("alice = pw", QUOTES),
            ("alice = 007", QUOTES),
            ("alice = \u{201c}pw\u{201d}", "use straight quotes, \" or '"),
            ("alice = { password = true1 }", QUOTES),
            ("alice = \"pw", "end the password with the quote that it begins with"),
            ("alice = 'pw", "end the password with the quote that it begins with"),
            (r#"alice = "a\q""#, r"write \\ for a backslash, or put the password between single quotes"),
            (
                r#"alice = "a"b""#,
                "begin a line for each user; a password with a ' in it goes between double quotes",
            ),
            (
                r#"alice = "a" bob = "b""#,
                "begin a line for each user; a password with a ' in it goes between double quotes",
            ),
            ("alice: \"pw\"", r#"write name = "password"; a name with spaces"#),
            ("alice smith = \"pw\"", r#"write name = "password"; a name with spaces"#),
            ("zo\u{eb} = \"pw\"", "put the name between quotes"),
            ("[users", "end the name of the section with ]"),
            (
                "alice = { password = \"a\" disabled = true }",
                "put commas between keys, and all between braces",
            ),
            ("alice = { password = \"a\"", "put commas between keys, and all between braces"),
            ("alice = { password = \"a\", expires = 2027-13-01 }", DAY),
            ("alice = { password = \"a\", expires = 31.1.2027 }", DAY),
            ("alice = { password = \"a\", old_until = tomorrow }", DAY),
            ("alice.expires = 2027-1-1", DAY),
            ("alice = { opaque = $opaque-3dh$v=1 }", "put the record between quotes"),
            ("alice = { password = \"a\", disabled = yes }", "write disabled = true or disabled = false"),
            ("alice = { password = \"a\", from = 10.0.0.0/8 }", "write networks as in from = "),
            ("alice = { password = \"a\", from = [10.0.0.0/8] }", "write networks as in from = "),
            ("alice = \"a\"\nbob = \"b\"\nalice = \"c\"", "alice occurs twice: remove one of the two"),
            ("alice = \"a\"\n[users.alice]\npassword = \"b\"", "alice occurs twice: remove one of the two"),
            (
                "alice = { password = \"a\", password = \"b\" }",
                "password occurs twice: remove one of the two",
            ),
            (
                "alice = 'it's'",
                "begin a line for each user; a password with a ' in it goes between double quotes",
            ),
            ("// hers", "begin a comment with #"),
            ("[users]", "users occurs twice: remove one of the two"),
        ] {
            let problems = parse(&format!("[users]\n{line}\n")).unwrap_err();
            let [problem] = &problems[..] else { panic!("{line}: {problems:?}") };
            assert!(problem.message.contains(&format!(": {remedy}")), "{line}: {problem}");
        }
    }
}
