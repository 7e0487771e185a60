//! What a request says in its headers: credentials, and the address of the visitor.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use zeroize::Zeroizing;

use proto::credentials::{NAME_MAX, PASSWORD_MAX, Password, Username};

/// The longest `name:password`, in base64.
const CREDENTIALS_MAX: usize = (NAME_MAX + 1 + PASSWORD_MAX).div_ceil(3) * 4;

/// The name and the password of the one `Authorization: Basic`. `None` for credentials that nobody can have, such as an
/// empty password. They are refused like a wrong one, since web servers turn any other status into an error of their
/// own.
pub(super) fn credentials(headers: &HeaderMap) -> Option<(Username, Password)> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, encoded) = only.to_str().ok()?.split_once(' ')?;
    let encoded = encoded.trim();
    if !scheme.eq_ignore_ascii_case("Basic") || encoded.len() > CREDENTIALS_MAX {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let (user, password) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    if password.is_empty() {
        return None;
    }
    Some((user.parse().ok()?, Password::new(password).ok()?))
}

/// The last address in a header: bare, in brackets, or with a port.
pub(super) fn last_address(headers: &HeaderMap, header: &HeaderName) -> Option<IpAddr> {
    let addresses = headers.get_all(header).iter().next_back()?.to_str().ok()?;
    let last = addresses.rsplit(',').next()?.trim();
    let bare = last.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(last);
    bare.parse().ok().or_else(|| last.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_visitor_is_the_last_address_of_the_header_with_or_without_a_port() {
        let header = HeaderName::from_static("x-forwarded-for");
        for (text, visitor) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("203.0.113.9, 192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:5678", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:5678", Some("2001:db8::1")),
            ("192.0.2.1, unknown", None),
            ("", None),
        ] {
            let headers = [(header.clone(), HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(last_address(&headers, &header), visitor.map(|text| text.parse().unwrap()), "{text}");
        }
        assert_eq!(last_address(&HeaderMap::new(), &header), None);
    }

    fn understood(values: &[&str]) -> Option<(String, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        credentials(&headers).map(|(user, password)| (user.to_string(), password.expose().to_vec()))
    }

    fn basic(credentials: &(impl AsRef<[u8]> + ?Sized)) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[test]
    fn the_first_colon_ends_the_name_and_the_longest_fits() {
        for (user, password) in
            [("alice", "a:b:c"), ("zoë", "pässword"), (&*"u".repeat(64), &*"p".repeat(128))]
        {
            let expected = Some((user.to_owned(), password.as_bytes().to_vec()));
            assert_eq!(understood(&[&basic(&format!("{user}:{password}"))]), expected);
            assert_eq!(
                understood(&[&basic(&format!("{user}:{password}")).replace("Basic", "bAsIc")]),
                expected
            );
        }
    }

    #[test]
    fn credentials_that_nobody_can_have_are_none() {
        let one = basic("alice:secrets");
        let wrong: [&[&str]; 14] = [
            &[],
            &[&one, &one],
            &["Basic"],
            &["Basic !!!!"],
            &[one.trim_end_matches('=')],
            &[&one.replace("Basic", "Bearer")],
            &[&basic("no colon")],
            &[&basic(":empty name")],
            &[&basic("empty password:")],
            &[&basic("nul:pass\0word")],
            &[&basic("control\n:x")],
            &[&basic(b"zo\xeb:latin-1")],
            &[&basic(&format!("{}:x", "u".repeat(65)))],
            &[&basic(&format!("u:{}", "p".repeat(129)))],
        ];
        for values in wrong {
            assert_eq!(understood(values), None, "{values:?}");
        }
    }
}
