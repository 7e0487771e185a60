//! The text of `users.toml` → [`Users`], or every problem in it with its place and its remedy.
//!
//! ```toml
//! [users]
//! alice = "her password"
//! bob   = { password = "his password", disabled = true, expires = 2027-01-31, from = ["10.0.0.0/8"] }
//! ```

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use time::{Date, Month};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::store::{Records, Store};
use super::{Conditions, Password, SAMPLES, Samples, Standing, Username, Users};

/// What to do about a text that is not TOML.
const REMEDY: &str = "write a line a user, as in alice = \"password\", each name once, and between quotes if there \
                      is more to it than A to Z, a to z, digits, - and _";

/// Something wrong in a users file. It never shows a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Parses the text of a users file.
///
/// # Errors
/// Every problem, in the order of the file; a text that is not TOML has one.
pub fn parse(text: &str) -> Result<Users, Vec<Problem>> {
    let mut parser = Parser::new(Records::for_text(text.len()).map_err(|error| vec![no_memory(&error)])?);
    match DeTable::parse(text) {
        Ok(document) => parser.document(document.get_ref()),
        // Only the message: the rest of such an error shows the line, and so perhaps a password.
        Err(error) => {
            parser.problem(error.span().unwrap_or_default(), format!("{}: {REMEDY}", error.message()))
        }
    }
    parser.finish(text)
}

type Value<'a> = Spanned<DeValue<'a>>;

struct Parser {
    records: Records,
    /// Where in the text each user of the store is.
    places: Vec<Range<usize>>,
    conditions: HashMap<u32, Conditions>,
    with_sample_password: Option<Username>,
    others: usize,
    problems: Vec<(Range<usize>, String)>,
}

impl Parser {
    fn new(records: Records) -> Self {
        Self {
            records,
            places: Vec::new(),
            conditions: HashMap::new(),
            with_sample_password: None,
            others: 0,
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, place: Range<usize>, message: impl Into<String>) {
        self.problems.push((place, message.into()));
    }

    fn document(&mut self, document: &DeTable<'_>) {
        for (key, value) in document {
            match (key.get_ref().as_ref(), value.get_ref().as_table()) {
                ("users", Some(users)) => users.iter().for_each(|(name, value)| self.user(name, value)),
                ("users", None) => self.problem(value.span(), "users is no section: write [users]"),
                (other, _) => self.problem(
                    key.span(),
                    format!("unknown key {other:?}: users go into the section [users], a line a user"),
                ),
            }
        }
        if document.is_empty() {
            self.problem(0..0, "there is no section [users]: add it, and a line a user to it");
        }
    }

    fn user(&mut self, key: &Spanned<impl AsRef<str>>, value: &Value<'_>) {
        let name = match key.get_ref().as_ref().parse::<Username>() {
            Ok(name) => name,
            Err(error) => return self.problem(key.span(), format!("the user name {error}: choose another")),
        };
        let conditions = self.conditions(value);
        let Some(password) = self.password(&name, value) else {
            return;
        };
        self.count_sample(&name, &password);
        let Some(start) = self.records.add(&name, &password) else {
            return self.problem(key.span(), "no room for more users: their names and passwords make 4 GiB");
        };
        self.places.push(key.span());
        if conditions != Conditions::none() {
            self.conditions.insert(start, conditions);
        }
    }

    fn conditions(&mut self, value: &Value<'_>) -> Conditions {
        let mut conditions = Conditions::none();
        for (key, value) in value.get_ref().as_table().into_iter().flatten() {
            match key.get_ref().as_ref() {
                "password" => {}
                "disabled" => conditions.standing = self.standing(value),
                "expires" => conditions.expires_unix_s = self.expiry(value),
                "from" => conditions.from = self.networks(value),
                other => self.problem(
                    key.span(),
                    format!("unknown key {other:?}: a user has password, disabled, expires and from"),
                ),
            }
        }
        conditions
    }

    fn password(&mut self, name: &Username, entry: &Value<'_>) -> Option<Password> {
        let value = match entry.get_ref().as_table() {
            Some(table) => table.get("password"),
            None => Some(entry),
        };
        let problem = match value.map(|value| value.get_ref().as_str()) {
            None => format!("{name} has no password: add password = \"…\""),
            Some(None) => format!("the password of {name} is no string: put it between quotes"),
            Some(Some("")) => format!("the password of {name} is empty: give them one, or take the line out"),
            Some(Some(text)) => match Password::new(text) {
                Ok(password) => return Some(password),
                Err(error) => format!("the password of {name} {error}: choose another"),
            },
        };
        self.problem(value.unwrap_or(entry).span(), problem);
        None
    }

    fn standing(&mut self, value: &Value<'_>) -> Standing {
        match value.get_ref().as_bool() {
            Some(false) => return Standing::Enabled,
            Some(true) => {}
            None => self.problem(value.span(), "disabled is true or false"),
        }
        Standing::Disabled
    }

    fn expiry(&mut self, value: &Value<'_>) -> Option<u64> {
        let expiry = value.get_ref().as_datetime().and_then(first_second_after);
        if expiry.is_none() {
            self.problem(value.span(), "expires is the last good day, as in 2027-01-31, without quotes");
        }
        expiry
    }

    fn networks(&mut self, value: &Value<'_>) -> Vec<IpNet> {
        let Some(values) = value.get_ref().as_array().filter(|values| !values.is_empty()) else {
            self.problem(value.span(), "from is a list of networks, as in [\"10.0.0.0/8\", \"2001:db8::1\"]");
            return Vec::new();
        };
        values.iter().filter_map(|value| self.network(value)).collect()
    }

    fn network(&mut self, value: &Value<'_>) -> Option<IpNet> {
        let network = value.get_ref().as_str().and_then(parse_network);
        if network.is_none() {
            self.problem(value.span(), "no network: write \"10.0.0.0/8\", \"2001:db8::/32\" or one address");
        }
        network
    }

    fn count_sample(&mut self, name: &Username, password: &Password) {
        let is_sample = SAMPLES.contains(&(name.as_str(), str::from_utf8(password.expose()).unwrap_or("")));
        if !is_sample {
            self.others += 1;
        }
        if SAMPLES.iter().any(|(_, sample)| sample.as_bytes() == password.expose()) {
            self.with_sample_password.get_or_insert_with(|| name.clone());
        }
    }

    fn finish(mut self, text: &str) -> Result<Users, Vec<Problem>> {
        self.equal_secrets();
        if !self.problems.is_empty() {
            self.problems.sort_by_key(|(place, _)| place.start);
            return Err(self.problems.into_iter().map(|(place, what)| locate(text, &place, what)).collect());
        }
        let samples = match (self.with_sample_password, self.others) {
            (None, _) => Samples::None,
            (Some(name), 0) => Samples::Only(name),
            (Some(name), _) => Samples::Some(name),
        };
        let store = Store::new(self.records).map_err(|error| vec![no_memory(&error)])?;
        Ok(Users::new(store, self.conditions, samples))
    }

    /// `("al", "icexyz")` and `("alice", "xyz")` have the same digest to every challenge: each could log in as
    /// the other.
    fn equal_secrets(&mut self) {
        let mut first = HashMap::with_capacity(self.records.count());
        let mut problems = Vec::new();
        for (place, record) in self.places.iter().zip(self.records.iter()) {
            let name = record.name;
            if let Some(other) = first.insert(record.secret, name) {
                let message = format!(
                    "name and password of {name} and of {other}, written together, are the same: change a password"
                );
                problems.push((place.clone(), message));
            }
        }
        self.problems.append(&mut problems);
    }
}

fn no_memory(error: &io::Error) -> Problem {
    Problem { line: 1, column: 1, message: format!("no memory for the users: {error}") }
}

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// The end of a day, UTC; `None` for anything but a day of the calendar since 1970.
pub(crate) fn first_second_after(value: &toml::value::Datetime) -> Option<u64> {
    let (Some(date), None, None) = (value.date, value.time, value.offset) else {
        return None;
    };
    let month = Month::try_from(date.month).ok()?;
    let day = Date::from_calendar_date(date.year.into(), month, date.day).ok()?;
    let midnight: u64 = day.midnight().assume_utc().unix_timestamp().try_into().ok()?;
    Some(midnight + SECONDS_A_DAY)
}

/// A network or an address. One of v4-mapped addresses is one of IPv4, as sources are.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(V4_MAPPED_PREFIX_LEN)) {
        (IpAddr::V4(v4), Some(prefix_len)) if network.addr().is_ipv6() => {
            IpNet::new(v4.into(), prefix_len).ok()
        }
        _ => Some(network),
    }
}

/// Bits in front of the IPv4 address in a v4-mapped one (RFC 4291, section 2.5.5.2).
const V4_MAPPED_PREFIX_LEN: u8 = 96;

pub(super) fn locate(text: &str, place: &Range<usize>, message: String) -> Problem {
    let before = text.get(..place.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Problem {
        line: before.matches('\n').count() + 1,
        column: before.chars().count() - before.get(..line_start).unwrap_or("").chars().count() + 1,
        message,
    }
}
