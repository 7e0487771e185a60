//! The keys of a cluster as they are in their file: a line each, with the second in which the key takes effect, and 256
//! bits in base64url.
//!
//! ```text
//! 2026-11-29T21:00:00Z w2Nf0YyQd4J6cLr3mT8aVbXeKoUiPzHs1R5tG7nM9qE
//! ```

use base64ct::{Base64UrlUnpadded, Encoding};
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};
use toml::value::{Datetime, Offset};
use zeroize::Zeroizing;

use crate::problem::Problem;
use proto::server::keyring::{CLUSTER_KEY_LEN, ClusterKey};

/// Keys in a file at most: as many are looked through for a message.
pub const CLUSTER_KEYS_MAX: usize = 16;

/// Characters of a key in base64url.
const ENCODED_LEN: usize = (CLUSTER_KEY_LEN * 4).div_ceil(3);

const HEADER: &str = "\
# The keys of challenges that the servers of a cluster share: when each takes effect, and the key. Whoever
# has one can forge addresses, and with letmein.key, too, logins. letmein-users keys add makes one.
";

/// Parses the text of a file of cluster keys. Comments begin with `#`.
///
/// # Errors
/// Everything that is wrong with it, and what to do. No key is shown.
pub fn parse_cluster_keys(text: &str) -> Result<Vec<ClusterKey>, Vec<Problem>> {
    // One allocation of the right size, with room for one that is added: a list that grows leaves copies behind.
    let (mut keys, mut problems) = (Vec::<ClusterKey>::with_capacity(CLUSTER_KEYS_MAX + 1), Vec::new());
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let before = line.chars().take_while(|character| character.is_whitespace()).count();
        let mut problem = |message: String| {
            problems.push(Problem { line: index + 1, column: before + 1, message });
        };
        match parse_line(content) {
            Err(message) => problem(message.to_owned()),
            Ok(key) if keys.iter().any(|other| other.from_unix_s == key.from_unix_s) => {
                problem(
                    "another key takes effect in the same second: give one of them a later one".to_owned(),
                );
            }
            Ok(_) if keys.len() == CLUSTER_KEYS_MAX => {
                problem(format!("more than {CLUSTER_KEYS_MAX} keys: take out those that no longer count"));
            }
            Ok(key) => keys.push(key),
        }
    }
    if keys.is_empty() && problems.is_empty() {
        let message = "no key in it: letmein-users keys add makes one".to_owned();
        problems.push(Problem { line: 1, column: 1, message });
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

fn parse_line(line: &str) -> Result<ClusterKey, &'static str> {
    let mut words = line.split_whitespace();
    let (Some(from), Some(encoded), None) = (words.next(), words.next(), words.next()) else {
        return Err("a line is the second in which a key takes effect, a space, and the key");
    };
    let from_unix_s =
        parse_second(from).ok_or("the line begins with no second of UTC, such as 2027-01-31T12:00:00Z")?;
    let mut bytes = Zeroizing::new([0; CLUSTER_KEY_LEN]);
    match Base64UrlUnpadded::decode(encoded, &mut *bytes).map(<[u8]>::len) {
        Ok(CLUSTER_KEY_LEN) => Ok(ClusterKey { from_unix_s, bytes }),
        Ok(_) | Err(_) => Err("the key is damaged: copy the file from another server of the cluster"),
    }
}

/// Keys as the text of their file.
#[must_use]
pub fn cluster_keys_text(keys: &[ClusterKey]) -> Zeroizing<String> {
    let line_len = "9999-12-31T23:59:59Z ".len() + ENCODED_LEN + 1;
    // One allocation of the right size: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(HEADER.len() + keys.len() * line_len));
    text.push_str(HEADER);
    for key in keys {
        let mut encoded = Zeroizing::new([0; ENCODED_LEN]);
        // The buffer has the right size.
        let encoded = Base64UrlUnpadded::encode(&*key.bytes, &mut *encoded).unwrap_or_default();
        let second = second_text(key.from_unix_s).unwrap_or_default();
        [&second, " ", encoded, "\n"].into_iter().for_each(|part| text.push_str(part));
    }
    text
}

/// Parses a second of UTC (RFC 3339): `2027-01-31T12:00:00Z`. Gives the seconds since 1970.
#[must_use]
pub fn parse_second(text: &str) -> Option<u64> {
    let Datetime { date: Some(date), time: Some(time), offset: Some(Offset::Z) } = text.parse().ok()? else {
        return None;
    };
    let day = Date::from_calendar_date(date.year.into(), Month::try_from(date.month).ok()?, date.day).ok()?;
    if time.nanosecond.is_some_and(|nanosecond| nanosecond > 0) {
        return None;
    }
    let time = Time::from_hms(time.hour, time.minute, time.second.unwrap_or(0)).ok()?;
    OffsetDateTime::new_in_offset(day, time, UtcOffset::UTC).unix_timestamp().try_into().ok()
}

/// A second since 1970, UTC, as in RFC 3339; `None` beyond the year 9999.
#[must_use]
pub fn second_text(unix_s: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(unix_s.try_into().ok()?).ok()?;
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    Some(format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(from_unix_s: u64, byte: u8) -> ClusterKey {
        ClusterKey { from_unix_s, bytes: Zeroizing::new([byte; CLUSTER_KEY_LEN]) }
    }

    fn problems(text: &str) -> Vec<String> {
        parse_cluster_keys(text).err().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_are_the_same_after_they_were_written_and_read() {
        let keys = [key(1_767_225_600, 1), key(1_767_229_261, 2)];
        let text = cluster_keys_text(&keys);
        assert_eq!(text.len(), text.capacity());
        let read = parse_cluster_keys(&text).unwrap();
        let parts =
            |keys: &[ClusterKey]| keys.iter().map(|key| (key.from_unix_s, *key.bytes)).collect::<Vec<_>>();
        assert_eq!(parts(&read), parts(&keys));
        assert_eq!(text.lines().last().unwrap().split(' ').next(), Some("2026-01-01T01:01:01Z"));
    }

    #[test]
    fn each_flaw_of_a_line_has_its_own_reason_and_none_shows_a_key() {
        let encoded = "A".repeat(ENCODED_LEN);
        let damaged = "the key is damaged: copy the file from another server of the cluster";
        let second = "the line begins with no second of UTC, such as 2027-01-31T12:00:00Z";
        let words = "a line is the second in which a key takes effect, a space, and the key";
        for (line, reason) in [
            (encoded.clone(), words),
            (format!("2026-01-01T00:00:00Z {encoded} and more"), words),
            (format!("{encoded} 2026-01-01T00:00:00Z"), second),
            (format!("2026-01-01 {encoded}"), second),
            (format!("2026-01-01T00:00:00 {encoded}"), second),
            (format!("2026-01-01T00:00:00+01:00 {encoded}"), second),
            (format!("2026-02-30T00:00:00Z {encoded}"), second),
            (format!("2026-01-01T24:00:00Z {encoded}"), second),
            (format!("1969-12-31T23:59:59Z {encoded}"), second),
            (format!("2026-01-01T00:00:00.5Z {encoded}"), second),
            (format!("2026-01-01T00:00:00Z {}", &encoded[1..]), damaged),
            (format!("2026-01-01T00:00:00Z {encoded}A"), damaged),
            (format!("2026-01-01T00:00:00Z {encoded}="), damaged),
        ] {
            assert_eq!(problems(&format!("# keys\n  {line}\n")), [format!("2:3: {reason}")], "{line}");
        }
    }

    #[test]
    fn a_file_has_at_least_one_key_at_most_sixteen_and_one_for_a_second() {
        assert_eq!(problems("# none\n\n"), ["1:1: no key in it: letmein-users keys add makes one"]);
        let keys: Vec<_> = (0..=CLUSTER_KEYS_MAX as u64).map(|second| key(second, 1)).collect();
        assert_eq!(
            problems(&cluster_keys_text(&keys)),
            ["19:1: more than 16 keys: take out those that no longer count"]
        );
        assert_eq!(parse_cluster_keys(&cluster_keys_text(&keys[1..])).unwrap().len(), CLUSTER_KEYS_MAX);
        let twice = "4:1: another key takes effect in the same second: give one of them a later one";
        assert_eq!(problems(&cluster_keys_text(&[key(1, 1), key(1, 2)])), [twice]);
    }
}
