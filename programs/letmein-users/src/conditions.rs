//! The conditions of a user, as words of a command line or a list, and as TOML.

use toml::value::Datetime;
use toml_edit::{Array, Value};

use users::{first_second_after, parse_network};

/// The form of a day, for messages.
pub(crate) const DAY: &str = "write the last good day as in 2027-01-31";
/// The form of a network, for messages.
pub(crate) const NETWORK: &str = "write 10.0.0.0/8, 2001:db8::/32 or one address";

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

pub(crate) fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    parse_day(text).map(Expiry::After).ok_or_else(|| format!("invalid day {text:?}: {DAY}, or never"))
}

/// Parses a day that must have an end.
pub(crate) fn parse_last_day(text: &str) -> Result<String, String> {
    parse_day(text).ok_or_else(|| format!("invalid day {text:?}: {DAY}"))
}

/// A day in TOML; `None` if it is not in the calendar, or before 1970.
pub(crate) fn parse_day(text: &str) -> Option<String> {
    let day: Option<Datetime> = text.parse().ok();
    let day = day.filter(|day| first_second_after(day).is_some());
    day.map(|day| day.to_string())
}

/// Whether a day in TOML is over.
pub(crate) fn is_over(day: &str, unix_s: u64) -> bool {
    let end = day.parse().ok().and_then(|day| first_second_after(&day));
    end.is_some_and(|end| unix_s >= end)
}

pub(crate) fn parse_place(text: &str) -> Result<Place, String> {
    match (text, parse_network(text)) {
        ("anywhere", _) => Ok(Place::Anywhere),
        (_, Some(_)) => Ok(Place::Network(text.to_owned())),
        (_, None) => Err(format!("invalid network {text:?}: {NETWORK}, or anywhere")),
    }
}

/// Networks in TOML; `None` for anywhere.
///
/// # Errors
/// If there are networks beside anywhere.
pub(crate) fn places_in_toml(places: &[Place]) -> Result<Option<String>, &'static str> {
    let is_anywhere = |place: &Place| matches!(place, Place::Anywhere);
    match places {
        [] | [Place::Anywhere] => Ok(None),
        _ if places.iter().any(is_anywhere) => Err("anywhere goes without networks: give either"),
        _ => Ok(Some(networks_in_toml(places.iter().filter_map(|place| match place {
            Place::Network(network) => Some(&**network),
            Place::Anywhere => None,
        })))),
    }
}

/// Networks in TOML.
pub(crate) fn networks_in_toml<'a>(networks: impl IntoIterator<Item = &'a str>) -> String {
    Value::Array(networks.into_iter().collect::<Array>()).to_string()
}
