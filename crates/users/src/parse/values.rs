//! What a user has in the file: a password or two, and conditions.

use ipnet::IpNet;

use super::Parser;
use crate::conditions::{first_second_after, parse_network};
use crate::pieces::Value;
use crate::record_text::RECORD_START;
use proto::credentials::{Password, Username};
use proto::users::{Conditions, OldPassword, Standing};

/// What a user may have.
const KEYS: [&str; 6] = ["password", "disabled", "expires", "from", "old_password", "old_until"];

impl Parser {
    pub(super) fn conditions(&mut self, value: &Value<'_>) -> Conditions {
        let mut conditions = Conditions::none();
        let table = value.get_ref().as_table();
        for (key, value) in table.into_iter().flatten() {
            match key.get_ref().as_ref() {
                "password" | "opaque" | "old_password" | "old_until" => {}
                "disabled" => conditions.standing = self.standing(value),
                "expires" => conditions.expires_unix_s = self.last_day("expires", value),
                "from" => conditions.from = self.networks(value),
                other => {
                    let has_password = table
                        .is_some_and(|table| table.contains_key("password") || table.contains_key("opaque"));
                    let more = if has_password {
                        ""
                    } else {
                        "; a user name with a dot goes between quotes, as in \"a.b\""
                    };
                    self.problem(
                        key.span(),
                        format!(
                            "unknown key {other:?}: a user has password or opaque, disabled, expires, from, old_password \
                             and old_until{more}"
                        ),
                    );
                }
            }
        }
        conditions
    }

    pub(super) fn password(&mut self, name: &Username, entry: &Value<'_>) -> Option<Password> {
        match entry.get_ref().as_table() {
            None => self.secret(name, "password", entry),
            Some(table) => match table.get("password") {
                Some(value) => self.secret(name, "password", value),
                // There is a problem already, and the password may be behind that key.
                None if table.keys().any(|key| !KEYS.contains(&key.get_ref().as_ref())) => None,
                None => {
                    self.problem(entry.span(), format!("{name} has no password: add password = \"…\""));
                    None
                }
            },
        }
    }

    /// The password before the present one, if there is one. It needs an end, so that nobody has two for ever.
    pub(super) fn old_password(&mut self, name: &Username, entry: &Value<'_>) -> Option<OldPassword> {
        let table = entry.get_ref().as_table()?;
        match (table.get("old_password"), table.get("old_until")) {
            (None, None) => None,
            (Some(password), None) => {
                let message = format!(
                    "the old password of {name} has no last day: add old_until = 2027-01-31, for example"
                );
                self.problem(password.span(), message);
                None
            }
            (None, Some(until)) => {
                let message = format!("{name} has old_until without old_password: take it out");
                self.problem(until.span(), message);
                None
            }
            (Some(password), Some(until)) => {
                let password = self.secret(name, "old password", password);
                let ends_unix_s = self.last_day("old_until", until);
                Some(OldPassword { password: password?, ends_unix_s: ends_unix_s? })
            }
        }
    }

    fn secret(&mut self, name: &Username, what: &str, value: &Value<'_>) -> Option<Password> {
        let problem = match (value.get_ref().as_str(), value.get_ref().as_array()) {
            (None, None) => format!("the {what} of {name} is not a string: put it between quotes"),
            (None, Some(_)) => format!(
                "the {what} of {name} is a list: write one string; for a time with two passwords, add old_password and \
                 old_until"
            ),
            (Some(text), _) if text.starts_with(RECORD_START) => {
                format!("the {what} of {name} is a record: write {{ opaque = '…' }}")
            }
            (Some(""), _) => format!("the {what} of {name} is empty: give one, or take the line out"),
            (Some(text), _) => match Password::new(text) {
                Ok(password) => return Some(password),
                Err(error) => format!("the {what} of {name} {error}: choose another"),
            },
        };
        self.problem(value.span(), problem);
        None
    }

    fn standing(&mut self, value: &Value<'_>) -> Standing {
        match value.get_ref().as_bool() {
            Some(false) => return Standing::Enabled,
            Some(true) => {}
            None => self.problem(value.span(), "disabled must be true or false"),
        }
        Standing::Disabled
    }

    /// The end of the day that a key has.
    fn last_day(&mut self, key: &str, value: &Value<'_>) -> Option<u64> {
        let end = value.get_ref().as_datetime().and_then(first_second_after);
        if end.is_none() {
            self.problem(
                value.span(),
                format!("{key} must be the last good day, as in 2027-01-31, without quotes"),
            );
        }
        end
    }

    fn networks(&mut self, value: &Value<'_>) -> Vec<IpNet> {
        if value.get_ref().as_array().is_some_and(|values| values.is_empty()) {
            self.problem(value.span(), "from is empty: name a network, or take it out");
            return Vec::new();
        }
        let Some(values) = value.get_ref().as_array() else {
            self.problem(
                value.span(),
                "from must be a list of networks, as in [\"10.0.0.0/8\", \"2001:db8::1\"]",
            );
            return Vec::new();
        };
        values.iter().filter_map(|value| self.network(value)).collect()
    }

    fn network(&mut self, value: &Value<'_>) -> Option<IpNet> {
        let network = value.get_ref().as_str().and_then(parse_network);
        if network.is_none() {
            self.problem(
                value.span(),
                "invalid network: write \"10.0.0.0/8\", \"2001:db8::/32\" or one address",
            );
        }
        network
    }
}
