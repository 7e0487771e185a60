//! The days and networks of users' conditions.

use std::net::IpAddr;

use ipnet::IpNet;
use time::{Date, Month, OffsetDateTime};

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

/// The end of a day, UTC, counted from 1970-01-01.
pub(crate) fn first_second_after_day(day: u32) -> u64 {
    (u64::from(day) + 1) * SECONDS_A_DAY
}

/// The day of a second since 1970, UTC, as a users file has it; `None` beyond the year 9999.
pub fn day_of(unix_s: u64) -> Option<String> {
    let day = OffsetDateTime::from_unix_timestamp(unix_s.try_into().ok()?).ok()?.date();
    Some(format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day()))
}

/// What [`parse_network`] takes, for messages that say what to write.
pub const NETWORKS: &str = "10.0.0.0/8, 2001:db8::/32 or one address";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_where_the_day_before_has_ended() {
        for (unix_s, day) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_767_225_600, "2026-01-01"),
            (253_402_300_799, "9999-12-31"),
        ] {
            assert_eq!(day_of(unix_s).as_deref(), Some(day));
            let end = first_second_after(&day.parse().unwrap()).unwrap();
            assert!((unix_s + 1..=unix_s + SECONDS_A_DAY).contains(&end), "{day}");
        }
        assert_eq!(day_of(u64::MAX), None);
    }
}
