//! New names and passwords: in their normal form, and with nothing in them that cannot be seen or typed.

use letmein::cli::normal;
use proto::credentials::{Password, Username};
use proto::mechanism::Mechanism;

/// Parses the name of a new user.
///
/// # Errors
/// The rule that it violates. A word with a colon may have a password in it, so the name is not shown.
pub(crate) fn new_name(text: &str) -> Result<Username, String> {
    let name: Username = normal::name(text).parse().map_err(|error| format!("the user name {error}"))?;
    match normal::unfit_for_names(name.as_str()) {
        Some(character) => Err(format!(
            "the user name has U+{:04X} in it, which looks like another character or like none: use letters, digits \
             and ASCII",
            u32::from(character)
        )),
        None => Ok(name),
    }
}

/// Checks a new password, which must not be empty.
///
/// # Errors
/// The rule that it violates, to follow "the password".
pub(crate) fn new_password(text: &str) -> Result<Password, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if normal::unfit_for_passwords(text).is_some() {
        return Err("has a control character in it, such as a tab, which prompts do not take".to_owned());
    }
    Password::new(&normal::password(text)).map_err(|error| error.to_string())
}

/// Says that a password begins or ends with a space, which is seldom meant.
pub(crate) fn outer_space(name: &Username, password: &Password) -> Option<String> {
    let text = str::from_utf8(password.expose()).unwrap_or_default();
    match (text.starts_with(' '), text.ends_with(' ')) {
        (true, true) => Some(format!("the password of {name} begins and ends with a space")),
        (true, false) => Some(format!("the password of {name} begins with a space")),
        (false, true) => Some(format!("the password of {name} ends with a space")),
        (false, false) => None,
    }
}

/// What is wrong with the form of a user's name in a file, and what to do.
pub(crate) fn name_flaw(name: &Username, mechanism: Mechanism) -> Option<String> {
    let [to_itself, to_another] = match mechanism {
        Mechanism::Md5 => ["rename it to itself", "rename it"],
        // A record is bound to its name.
        Mechanism::Opaque => ["remove it, and add it again", "remove it, and add another"],
    };
    if normal::name(name.as_str()) != name.as_str() {
        return Some(format!(
            "the name {name} is not in its normal form (RFC 8265), which is what clients send: {to_itself}"
        ));
    }
    let character = u32::from(normal::unfit_for_names(name.as_str())?);
    Some(format!(
        "the name {name} has U+{character:04X} in it, which looks like another character or like none: {to_another}"
    ))
}

/// What is wrong with the form of a user's password in a file, and what to do.
pub(crate) fn password_flaw(name: &Username, password: &Password) -> Option<String> {
    let text = str::from_utf8(password.expose()).unwrap_or_default();
    let is_flawed = *normal::password(text) != text || normal::unfit_for_passwords(text).is_some();
    is_flawed.then(|| {
        format!(
            "the password of {name} is not in its normal form (RFC 8265), which is what clients send: set it again \
             with passwd"
        )
    })
}
