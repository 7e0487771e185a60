//! The days and networks of users' conditions.

use std::net::IpAddr;

use ipnet::IpNet;
use time::{Date, Month};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// The end of a day, UTC; `None` for anything but a day of the calendar since 1970.
pub fn first_second_after(value: &toml::value::Datetime) -> Option<u64> {
    let (Some(date), None, None) = (value.date, value.time, value.offset) else {
        return None;
    };
    let month = Month::try_from(date.month).ok()?;
    let day = Date::from_calendar_date(date.year.into(), month, date.day).ok()?;
    let midnight: u64 = day.midnight().assume_utc().unix_timestamp().try_into().ok()?;
    Some(midnight + SECONDS_A_DAY)
}

/// A network or an address. One of v4-mapped addresses is one of IPv4, as sources are.
pub fn parse_network(text: &str) -> Option<IpNet> {
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
