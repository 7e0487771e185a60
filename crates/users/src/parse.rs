//! The text of `users.toml` → [`Users`], or every problem in it with its place and its remedy.
//!
//! ```toml
//! [users]
//! alice = "her password"
//! bob   = { password = "his password", disabled = true, expires = 2027-01-31, from = ["10.0.0.0/8"] }
//! carol = { password = "her new password", old_password = "her password", old_until = 2027-01-31 }
//! dave  = { opaque = '$opaque-3dh$v=1$…' }
//! ```

mod values;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use crate::pieces::{PIECE_LEN, Unread, Value, parts, read_in_pieces};
use crate::problem::{Problem, locate_all};
use crate::record_text::parse_record;
use crate::syntax::remedy;
use proto::credentials::Username;
use proto::opaque::key::{KeyId, ServerKey};
use proto::opaque::record::Record;
use proto::users::{BuildError, Builder, Conditions, EqualSecrets, IndexError, NoRoom, RecordError, Users};

/// Parses the text of a users file in which nobody has a record.
///
/// # Errors
/// Every problem, in the order of the file; a text that is not TOML has one.
pub fn parse(text: &str) -> Result<Users, Vec<Problem>> {
    parse_with_key(text, None)
}

/// Parses the text of a users file whose records, if there are any, were made with this key.
///
/// # Errors
/// The same as those of [`parse`](fn@parse); one problem for all records of another key.
pub fn parse_with_key(text: &str, key: Option<&ServerKey>) -> Result<Users, Vec<Problem>> {
    parse_in_threads(text, key, 1)
}

/// The same, in so many threads at most.
pub(crate) fn parse_in_threads(
    text: &str,
    key: Option<&ServerKey>,
    threads: usize,
) -> Result<Users, Vec<Problem>> {
    let parts = parts(text, threads);
    let in_pieces = |parts| parse_in_pieces(text, PIECE_LEN, parts, key);
    let users = match in_pieces(parts) {
        Err(Unread::InParts) => in_pieces(1),
        read => read,
    };
    users.or_else(|_| parse_whole(text, key))
}

/// Parses a text that is one section of users, a few lines at a time.
fn parse_in_pieces(
    text: &str,
    piece_len: usize,
    parts: usize,
    key: Option<&ServerKey>,
) -> Result<Users, Unread> {
    let mut parser = Parser::new(Builder::for_text(text.len()).map_err(|_| Unread::Otherwise)?, key);
    read_in_pieces(text, piece_len, parts, |users| {
        users.iter().for_each(|(name, value)| parser.user(name, value));
    })?;
    parser.finish(text).map_err(|_| Unread::Otherwise)
}

fn parse_whole(text: &str, key: Option<&ServerKey>) -> Result<Users, Vec<Problem>> {
    let users = Builder::for_text(text.len());
    let users = users.map_err(|error| vec![unusable(&IndexError::NoMemory(error))])?;
    let mut parser = Parser::new(users, key);
    match DeTable::parse(text) {
        Ok(document) => parser.document(document.get_ref()),
        // Only the message: the rest of such an error shows the line, and so perhaps a password.
        Err(error) => {
            let place = error.span().unwrap_or_default();
            let remedy = remedy(text, &place, error.message());
            parser.problem(place, format!("{}: {remedy}", error.message()));
        }
    }
    parser.finish(text)
}

struct Parser {
    users: Builder,
    /// The key of the records.
    key: Option<KeyId>,
    /// The place in the text of each user of the builder.
    places: Vec<Range<usize>>,
    problems: Vec<(Range<usize>, String)>,
    /// The records of other keys.
    foreign: HashMap<KeyId, Foreign>,
}

/// Records of a key that is not here.
struct Foreign {
    place: Range<usize>,
    name: Username,
    /// The number of other users whose records are of that key.
    others: usize,
}

impl Parser {
    fn new(mut users: Builder, key: Option<&ServerKey>) -> Self {
        if let Some(key) = key {
            users.set_key(key.clone());
        }
        let (key, foreign) = (key.map(ServerKey::id), HashMap::new());
        Self { users, key, places: Vec::new(), problems: Vec::new(), foreign }
    }

    fn problem(&mut self, place: Range<usize>, message: impl Into<String>) {
        self.problems.push((place, message.into()));
    }

    fn document(&mut self, document: &DeTable<'_>) {
        for (key, value) in document {
            match (key.get_ref().as_ref(), value.get_ref().as_table()) {
                ("users", Some(users)) => users.iter().for_each(|(name, value)| self.user(name, value)),
                ("users", None) => self.problem(value.span(), "users is not a section: write [users]"),
                (other, _) => self.problem(
                    key.span(),
                    format!("unknown key {other:?}: users go into the section [users], one line each"),
                ),
            }
        }
        if document.is_empty() {
            self.problem(0..0, "the section [users] is missing: add it, with one line for each user");
        }
    }

    fn user(&mut self, key: &Spanned<impl AsRef<str>>, value: &Value<'_>) {
        let name = match key.get_ref().as_ref().parse::<Username>() {
            Ok(name) => name,
            Err(error) => return self.problem(key.span(), format!("the user name {error}: choose another")),
        };
        let conditions = self.conditions(value);
        if let Some(table) = value.get_ref().as_table()
            && let Some(record) = table.get("opaque")
        {
            return self.user_with_record(key.span(), &name, record, table, conditions);
        }
        let (password, mut old) = (self.password(&name, value), self.old_password(&name, value));
        let Some(password) = password else {
            return;
        };
        if old.as_ref().is_some_and(|old| old.password.expose() == password.expose()) {
            let message =
                format!("the passwords of {name} are the same: take old_password and old_until out");
            self.problem(key.span(), message);
            old = None;
        }
        match self.users.push_with_old(&name, &password, old.as_ref(), conditions) {
            Ok(()) => self.places.push(key.span()),
            Err(NoRoom) => self.problem(key.span(), NO_ROOM),
        }
    }

    fn user_with_record(
        &mut self,
        place: Range<usize>,
        name: &Username,
        record: &Value<'_>,
        table: &DeTable<'_>,
        conditions: Conditions,
    ) {
        if let Some(password) = table.get("password") {
            let message = format!("{name} has a password and a record: take password out, or opaque");
            self.problem(password.span(), message);
        }
        if let Some(old) = table.get("old_password").or_else(|| table.get("old_until")) {
            let message = format!(
                "an old password does not go with the record of {name}: take old_password and old_until out"
            );
            self.problem(old.span(), message);
        }
        let Some(parsed) = self.record(name, record) else {
            return;
        };
        match self.users.push_record(name, &parsed, conditions) {
            Ok(()) => self.places.push(place),
            Err(RecordError::NoRoom) => self.problem(place, NO_ROOM),
            Err(RecordError::NoKey | RecordError::OtherKey) => {
                let foreign = Foreign { place: record.span(), name: name.clone(), others: 0 };
                self.foreign.entry(parsed.key).and_modify(|first| first.others += 1).or_insert(foreign);
            }
        }
    }

    fn record(&mut self, name: &Username, value: &Value<'_>) -> Option<Record> {
        let problem = match value.get_ref().as_str().map(parse_record) {
            Some(Ok(record)) => return Some(record),
            Some(Err(error)) => format!("the record of {name} {error}"),
            None => format!("the record of {name} is not a string: put it between quotes"),
        };
        self.problem(value.span(), problem);
        None
    }

    fn finish(self, text: &str) -> Result<Users, Vec<Problem>> {
        let Self { users, key: own, places, mut problems, foreign } = self;
        let foreign = foreign.into_iter().map(|(key, foreign)| {
            let message = foreign_records(key, &foreign, own);
            (foreign.place, message)
        });
        problems.extend(foreign);
        let users = match users.finish() {
            Ok(users) => Some(users),
            Err(BuildError::Equal(equal)) => {
                problems.extend(equal.into_iter().map(|equal| equal_secrets(&places, equal)));
                None
            }
            Err(BuildError::Index(error)) if problems.is_empty() => return Err(vec![unusable(&error)]),
            // Only an overlay has a base with another key.
            Err(BuildError::Index(_) | BuildError::OtherKey) => None,
        };
        match users {
            Some(users) if problems.is_empty() => Ok(users),
            Some(_) | None => Err(locate_all(text, problems)),
        }
    }
}

const NO_ROOM: &str = "no room for more users: their names and passwords make 4 GiB";

/// What is wrong with records of a key other than this one.
fn foreign_records(key: KeyId, Foreign { name, others, .. }: &Foreign, own: Option<KeyId>) -> String {
    let whose = match others {
        0 => format!("the record of {name} was"),
        1 => format!("the records of {name} and of another user were"),
        others => format!("the records of {name} and of {others} other users were"),
    };
    match own {
        Some(own) => format!(
            "{whose} made with the key {key}, but the key file has the key {own}: use the key file that belongs to \
             this users file; docs/USERS.md says what to do if it is lost"
        ),
        None => format!(
            "{whose} made with the key {key}, and there is no key file: put its letmein.key beside the users file, or \
             name it with --key-file"
        ),
    }
}

/// The place of the later of two users, and what is wrong with them.
fn equal_secrets(places: &[Range<usize>], equal: EqualSecrets) -> (Range<usize>, String) {
    let EqualSecrets { number, name, other } = equal;
    let message = format!(
        "name and password of {name} and of {other}, written together, are the same: change a password"
    );
    (places.get(number).cloned().unwrap_or_default(), message)
}

/// A problem that has no place in the text.
fn unusable(error: &dyn fmt::Display) -> Problem {
    Problem { line: 1, column: 1, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::mem::discriminant;

    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::record_text::record_text;
    use proto::credentials::Password;
    use proto::mechanism::Mechanisms;
    use proto::opaque::registration::register;
    use proto::opaque::stretching::Stretching;

    fn is_the_same(one: &Users, other: &Users) -> bool {
        one.len() == other.len()
            && one.names().all(|name| one.is_unchanged(other, name) == Some(true))
            && discriminant(one.samples()) == discriminant(other.samples())
    }

    #[test]
    fn a_text_in_pieces_has_the_same_users_as_the_whole() {
        for text in [
            "[users]\n",
            "[users]\na = '1'\nb = '2'\nc = '3'",
            "\u{feff}# Ours.\n\n  [users] # all\r\na = '1'\r\n# No more.\r\n",
            "[users]\na = { password = '1', from = [\n'10.0.0.0/8',\n  '::1'\n] }\nb.password = '2'\nc = '3'\n",
            "[users]\na = '''\nb = '1'\nc = '2'\n'''\nb = \"\"\"\\\n  4\n  \"\"\"\n",
        ] {
            for piece_len in [1, 8, 40, 4096] {
                let users = parse_in_pieces(text, piece_len, 1, None).expect(text);
                assert!(is_the_same(&users, &parse_whole(text, None).unwrap()), "{text} by {piece_len}");
            }
        }
    }

    #[test]
    fn a_text_that_is_wrong_or_written_in_another_way_is_parsed_whole() {
        for text in [
            "",
            "users = { a = '1' }",
            "other = 1\n[users]\na = '1'\n",
            "[users]\na = '1'\nb = '2'\na = '3'\n",
            "[users]\na.password = '1'\na.disabled = true\n",
            "[users]\na = '1'\n\u{feff}b = '2'\n",
            "[users]\na = '1'\n[users.b]\npassword = '2'\n",
            "[users]\na = '1'\n[other]\nb = '2'\n",
            "[users]\na = '1'\nb = 2\n",
            "[users]\nab = 'c'\na = 'bc'\n",
            "[users]\na = '1'\nb = '''\n",
        ] {
            assert_eq!(parse_in_pieces(text, 1, 1, None).err(), Some(Unread::Otherwise), "{text}");
        }
    }

    #[test]
    fn a_text_whose_part_ends_in_a_value_is_parsed_in_one_part() {
        let text =
            "[users]\na = '1'\nb = { password = '2', from = [\n'10.0.0.0/8',\n'::1',\n'fe80::/16'\n] }\n";
        assert_eq!(parse_in_pieces(text, 1, 2, None).err(), Some(Unread::InParts));
        assert_eq!(parse_in_pieces(text, 1, 1, None).unwrap().len(), 2);
        // At its end it may be wrong as well.
        assert_eq!(
            parse_in_pieces("[users]\na = '1'\nab = '2345678'\nb = \"\"\"\n", 1, 2, None).err(),
            Some(Unread::Otherwise)
        );
    }

    fn key(seed: u8) -> ServerKey {
        ServerKey::generate(&mut ChaCha20Rng::from_seed([seed; 32]))
    }

    fn record(name: &str) -> String {
        let (name, password) = (name.parse().unwrap(), Password::new("hunter2").unwrap());
        let random = &mut ChaCha20Rng::from_seed([9; 32]);
        record_text(&register(&key(1), &name, &password, Stretching::NONE, random).unwrap())
    }

    #[test]
    fn users_may_have_records_of_the_key_in_place_of_passwords() {
        let [alice, bob] = ["alice", "bob"].map(record);
        let text = format!(
            "[users]\nalice = {{ opaque = '{alice}', disabled = true }}\nbob.opaque = '{bob}'\ncarol = 'hers'\n"
        );
        for piece_len in [1, 4096] {
            let users = parse_in_pieces(&text, piece_len, 3, Some(&key(1))).unwrap();
            assert!(is_the_same(&users, &parse_whole(&text, Some(&key(1))).unwrap()));
            assert_eq!((users.len(), users.has_key()), (3, true));
            assert_eq!(users.mechanisms(), Mechanisms { md5: true, opaque: true });
            assert_eq!(users.denied(0).map(|(name, _)| name).collect::<Vec<_>>(), ["alice"]);
        }
    }

    #[test]
    fn each_mistake_with_a_record_has_its_place_and_its_remedy() {
        let alice = record("alice");
        let cut = &alice[..alice.len() - 1];
        for (line, message) in [
            (
                format!("{{ password = 'a', opaque = '{alice}' }}"),
                "2:22: alice has a password and a record: take password out, or opaque",
            ),
            (
                format!("{{ opaque = '{alice}', old_password = 'a', old_until = 2027-01-31 }}"),
                "2:333: an old password does not go with the record of alice: take old_password and old_until out",
            ),
            (
                format!("{{ opaque = '{cut}' }}"),
                "2:20: the record of alice is damaged: take it from a backup, or set a new password",
            ),
            ("{ opaque = 1 }".to_owned(), "2:20: the record of alice is not a string: put it between quotes"),
            (
                "{ opaque = 'a' }".to_owned(),
                "2:20: the record of alice does not begin with $opaque-3dh$: write password = \"…\" for a password",
            ),
            (format!("'{alice}'"), "2:9: the password of alice is a record: write { opaque = '…' }"),
        ] {
            let problems = parse_with_key(&format!("[users]\nalice = {line}\n"), Some(&key(1))).unwrap_err();
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(problems, [message]);
        }
    }

    #[test]
    fn records_of_another_key_are_one_problem_with_both_keys() {
        let lines: String =
            ["alice", "bob", "carol"].map(|name| format!("{name}.opaque = '{}'\n", record(name))).concat();
        let text = format!("[users]\n{lines}");
        let (own, other) = (key(1).id(), key(2).id());
        for (key, expected) in [
            (
                Some(key(2)),
                format!(
                    "2:16: the records of alice and of 2 other users were made with the key {own}, but the key file \
                     has the key {other}: use the key file that belongs to this users file; \
                     docs/USERS.md says what to do if it is lost"
                ),
            ),
            (
                None,
                format!(
                    "2:16: the records of alice and of 2 other users were made with the key {own}, and there is no key \
                     file: put its letmein.key beside the users file, or name it with --key-file"
                ),
            ),
        ] {
            let problems = parse_with_key(&text, key.as_ref()).unwrap_err();
            assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        }
    }

    proptest! {
        #[test]
        fn a_text_that_parses_in_pieces_parses_whole_to_the_same_users(
            head in "(\u{feff}|# .\n|x = 1\n)?\\[users\\]\r?\n",
            lines in prop::collection::vec(
                "[abc](\\.[pd]assword)? = ('[a-c]'|'''|\"\"\"|[{\\[\\]}]|\\{ password = 'a' \\})?|.{0,3}|'''|\"\"\"|\\[|\\]", 0..8),
            piece_len in 1_usize..20,
            parts in 1_usize..4,
        ) {
            let text = head + &lines.join("\n");
            if let Ok(users) = parse_in_pieces(&text, piece_len, parts, None) {
                let whole = parse_whole(&text, None);
                prop_assert!(whole.is_ok_and(|whole| is_the_same(&users, &whole)), "{text:?}");
            }
        }
    }
}
