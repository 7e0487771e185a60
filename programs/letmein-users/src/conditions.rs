//! The conditions of a user, as words of a command line or a list, and as TOML.

use toml::value::Datetime;
use toml_edit::{Array, Value};

use crate::list::unix_s;
use letmein::cli::usage::Invalid;
use users::{NETWORKS, first_second_after, parse_network};

/// The form of a day, for messages.
const DAY: &str = "write the last day as in 2027-01-31";

/// What limits the logins of a user. Each kind has a value that limits nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Whether the user is refused.
    Disabled(bool),
    /// The last good day, in TOML, if there is one.
    Expires(Option<String>),
    /// From where the user may log in; empty for anywhere.
    From(Vec<String>),
}

impl Condition {
    /// Its key in a users file.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Disabled(_) => "disabled",
            Self::Expires(_) => "expires",
            Self::From(_) => "from",
        }
    }

    /// Its value in TOML, if it limits anything.
    pub(crate) fn in_toml(&self) -> Option<String> {
        match self {
            Self::Disabled(is_disabled) => is_disabled.then(|| "true".to_owned()),
            Self::Expires(day) => day.clone(),
            Self::From(networks) => (!networks.is_empty())
                .then(|| Value::Array(networks.iter().map(String::as_str).collect::<Array>()).to_string()),
        }
    }

    pub(crate) fn limits(&self) -> bool {
        self.in_toml().is_some()
    }
}

/// Until when a user may log in.
#[derive(Clone, Debug)]
pub(crate) enum Expiry {
    /// To the end of a day, in TOML.
    After(String),
    Never,
}

/// From where a user may log in.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Anywhere,
    /// A network or an address.
    Network(String),
}

pub(crate) fn parse_expiry(text: &str) -> Result<Expiry, Invalid> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    parse_day(text).map(Expiry::After).map_err(|remedy| Invalid::new("day", text, remedy))
}

/// Parses the expiry that follows a name.
pub(crate) fn parse_expiry_after_name(text: &str) -> Result<Expiry, Invalid> {
    parse_expiry(text).map_err(|invalid| {
        let remedy = "write the name first, then the last day as in 2027-01-31, or never";
        if is_like_name(text) { Invalid::new("day", text, remedy) } else { invalid }
    })
}

/// Parses a day that is not over.
pub(crate) fn parse_last_day(text: &str) -> Result<String, Invalid> {
    let day = parse_day(text).map_err(|remedy| Invalid::new("day", text, remedy))?;
    if is_over(&day, unix_s()) {
        return Err(Invalid::new("day", text, "that day is over"));
    }
    Ok(day)
}

/// A day in TOML.
///
/// # Errors
/// The remedy, if it is no day, not in the calendar, or before 1970.
pub(crate) fn parse_day(text: &str) -> Result<String, &'static str> {
    let day = text.parse().ok().filter(|day: &Datetime| first_second_after(day).is_some());
    match day {
        Some(day) => Ok(day.to_string()),
        None if is_written_as_day(text) => Err("there is no such day"),
        None => Err(DAY),
    }
}

/// Whether a text has the digits and dashes of a day since 1970.
fn is_written_as_day(text: &str) -> bool {
    let pattern = text.bytes().map(|byte| if byte.is_ascii_digit() { '0' } else { char::from(byte) });
    pattern.eq("0000-00-00".chars()) && text >= "1970"
}

/// Whether a day in TOML is over.
pub(crate) fn is_over(day: &str, unix_s: u64) -> bool {
    let end = day.parse().ok().and_then(|day| first_second_after(&day));
    end.is_some_and(|end| unix_s >= end)
}

pub(crate) fn parse_place(text: &str) -> Result<Place, Invalid> {
    match (text, parse_network(text)) {
        ("anywhere" | "all" | "any", _) => Ok(Place::Anywhere),
        (_, Some(_)) => Ok(Place::Network(text.to_owned())),
        (_, None) if text.contains(',') => {
            let remedy = "from takes several with spaces between them, and add one for each --from";
            Err(Invalid::new("network", text, remedy))
        }
        (_, None) => Err(Invalid::new("network", text, format!("write {NETWORKS}, or anywhere"))),
    }
}

/// Parses a place that follows a name.
pub(crate) fn parse_place_after_name(text: &str) -> Result<Place, Invalid> {
    parse_place(text).map_err(|invalid| {
        let remedy = format!("write the name first, then {NETWORKS}, or anywhere");
        if is_like_name(text) { Invalid::new("network", text, remedy) } else { invalid }
    })
}

/// Whether a word is rather the name that belongs before it than a condition with a mistake in it.
fn is_like_name(text: &str) -> bool {
    !text.starts_with(|character: char| character.is_ascii_digit()) && !text.contains([',', ':', '/'])
}

impl From<Expiry> for Condition {
    fn from(expiry: Expiry) -> Self {
        match expiry {
            Expiry::After(day) => Self::Expires(Some(day)),
            Expiry::Never => Self::Expires(None),
        }
    }
}

/// The networks of these places.
///
/// # Errors
/// If there are networks beside anywhere.
pub(crate) fn networks(places: Vec<Place>) -> Result<Condition, &'static str> {
    let count = places.len();
    let network = |place| match place {
        Place::Network(network) => Some(network),
        Place::Anywhere => None,
    };
    let networks: Vec<_> = places.into_iter().filter_map(network).collect();
    match networks.len() {
        0 if count <= 1 => Ok(Condition::From(networks)),
        len if len == count => Ok(Condition::From(networks)),
        _ => Err("anywhere goes without networks: give either"),
    }
}
