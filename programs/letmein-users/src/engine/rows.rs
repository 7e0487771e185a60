//! Rows of users, as entries for lists and checks, and as a draft of what they are to be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use toml::value::Datetime;
use zeroize::Zeroizing;

use super::refusal::Refusal;
use crate::backend::Draft;
use crate::conditions::Condition;
use crate::credential::Credential;
use crate::edit::NewUser;
use crate::entries::UserEntry;
use engine::{
    EngineError, EqualLogins, Session, UserRow, delete_users, equal_logins, find_users, insert_users,
    record_of_anybody, rename_user, update_users,
};
use letmein::cli::normal;
use proto::credentials::{Password, Username};
use proto::opaque::key::KeyId;
use users::{Problem, first_second_after, parse_network, parse_record};

/// Users of the database, as they are and as they are to be.
pub(crate) struct Rows {
    users: BTreeMap<String, UserRow>,
    /// The names that were read and are not in their normal form, by that form.
    abnormal: HashMap<String, String>,
    /// The key of any good record that is there.
    key_of_records: Option<KeyId>,
    has_records: bool,
    added: BTreeSet<String>,
    changed: BTreeSet<String>,
    removed: Vec<String>,
    /// Old names and new ones.
    renamed: Vec<(String, String)>,
    /// Users who get a record, and its key.
    new_records: Vec<(Username, KeyId)>,
}

impl Rows {
    /// The users of these names, in whatever form they are typed and written.
    pub(super) async fn load(session: &Session, names: &[&Username]) -> Result<Self, EngineError> {
        let normal: Vec<_> = names.iter().map(|name| normal::name(name.as_str())).collect();
        let names: BTreeSet<_> =
            names.iter().map(|name| name.as_str()).chain(normal.iter().map(|it| &**it)).collect();
        let users = find_users(session, &Vec::from_iter(names)).await?;
        let record = record_of_anybody(session, |record| parse_record(record).is_ok()).await?;
        let normal = |user: &UserRow| (normal::name(&user.name).into_owned(), user.name.clone());
        let abnormal = users.iter().map(normal).filter(|(normal, name)| normal != name).collect();
        Ok(Self {
            abnormal,
            users: users.into_iter().map(|user| (user.name.clone(), user)).collect(),
            has_records: record.is_some(),
            key_of_records: record.and_then(|record| Some(parse_record(&record).ok()?.key)),
            added: BTreeSet::new(),
            changed: BTreeSet::new(),
            removed: Vec::new(),
            renamed: Vec::new(),
            new_records: Vec::new(),
        })
    }

    /// Whether there is nothing to write.
    pub(super) fn is_unchanged(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty() && self.renamed.is_empty()
    }

    pub(super) fn key_of_records(&self) -> Option<KeyId> {
        self.key_of_records
    }

    /// Users who get a record, and its key.
    pub(super) fn new_records(&self) -> &[(Username, KeyId)] {
        &self.new_records
    }

    /// The users who are added or changed.
    pub(super) fn written(&self) -> impl Iterator<Item = &UserRow> {
        self.added.iter().chain(&self.changed).filter_map(|name| self.users.get(name))
    }

    /// Two users who could each log in as the other afterwards, if there are such.
    pub(super) async fn equal_logins<'r>(
        &'r self,
        session: &Session,
    ) -> Result<Option<EqualLogins>, EngineError> {
        let renamed = self.renamed.iter().filter_map(|(_, name)| self.users.get(name));
        let users: Vec<_> = self.written().chain(renamed).collect();
        let login = |user: &&'r UserRow| Some((user.name.as_str(), user.password.as_ref()?.as_str()));
        let logins: Vec<_> = users.iter().filter_map(login).collect();
        if let Some(equal) = equal_among(&logins) {
            return Ok(Some(equal));
        }
        let old_names = self.renamed.iter().map(|(name, _)| name);
        let leaving = self.changed.iter().chain(&self.removed).chain(old_names);
        let leaving: Vec<_> = leaving.map(String::as_str).collect();
        Ok(equal_logins(session, &logins, &leaving).await?.into_iter().next())
    }

    /// Writes what has changed. Who is added may have a login that another user has had until now.
    pub(super) async fn write(&self, session: &Session) -> Result<(), EngineError> {
        let removed: Vec<_> = self.removed.iter().map(String::as_str).collect();
        if !removed.is_empty() {
            delete_users(session, &removed).await?;
        }
        for (name, new) in &self.renamed {
            rename_user(session, name, new).await?;
        }
        let of = |names: &BTreeSet<String>| -> Vec<_> {
            names.iter().filter_map(|name| self.users.get(name)).collect()
        };
        let (added, changed) = (of(&self.added), of(&self.changed));
        update_users(session, &changed).await?;
        insert_users(session, &added).await
    }

    /// Changes a user, who is there.
    fn update(&mut self, name: &Username, update: impl FnOnce(&mut UserRow)) {
        let Some(user) = self.users.get_mut(name.as_str()) else { return };
        let before = user.clone();
        update(user);
        if *user != before && !self.added.contains(name.as_str()) {
            self.changed.insert(name.as_str().to_owned());
        }
    }

    fn note_record(&mut self, name: &Username, credential: &Credential) {
        if let Credential::Record(record) = credential {
            self.new_records.push((name.clone(), record.key));
        }
    }
}

/// Two of these logins that are the same, written together.
fn equal_among(logins: &[(&str, &str)]) -> Option<EqualLogins> {
    let together = |(name, password): &(&str, &str)| Zeroizing::new([*name, *password].concat());
    let mut sorted: Vec<_> = logins.iter().map(|login| (together(login), login.0)).collect();
    sorted.sort_by(|first, second| first.0.as_str().cmp(second.0.as_str()));
    let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
    let (first, second) = pairs.find(|(first, second)| first.0 == second.0)?;
    Some(EqualLogins { name: second.1.to_owned(), other: first.1.to_owned() })
}

impl Draft for Rows {
    fn find(&self, typed: &Username) -> Option<Username> {
        let normal = normal::name(typed.as_str());
        let abnormal = self.abnormal.get(&*normal).map(String::as_str);
        let forms = [Some(typed.as_str()), Some(&*normal), abnormal];
        let found = forms.into_iter().flatten().find(|name| self.users.contains_key(*name));
        found.and_then(|name| name.parse().ok())
    }

    fn has(&self, name: &Username, credential: &Credential) -> bool {
        let Some(user) = self.users.get(name.as_str()) else { return false };
        let present = match credential {
            Credential::Password(_) => &user.password,
            Credential::Record(_) => &user.opaque,
        };
        present.as_ref().is_some_and(|present| **present == *credential.text())
    }

    fn has_record(&self, name: &Username) -> bool {
        self.users.get(name.as_str()).is_some_and(|user| user.opaque.is_some())
    }

    fn has_records(&self) -> bool {
        self.has_records
    }

    fn add(&mut self, user: &NewUser) {
        let name = user.name.as_str();
        let row = UserRow {
            name: name.to_owned(),
            password: None,
            opaque: None,
            disabled: false,
            expires: None,
            networks: Vec::new(),
        };
        self.users.insert(name.to_owned(), row);
        self.added.insert(name.to_owned());
        self.update(&user.name, |row| {
            set_credential(row, &user.credential);
            user.conditions.iter().for_each(|condition| set(row, condition));
        });
        self.note_record(&user.name, &user.credential);
    }

    fn set_credential(&mut self, name: &Username, new: &Credential) -> Result<(), Problem> {
        self.update(name, |row| set_credential(row, new));
        self.note_record(name, new);
        Ok(())
    }

    fn set(&mut self, name: &Username, condition: &Condition) -> Result<(), Problem> {
        self.update(name, |row| set(row, condition));
        Ok(())
    }

    fn rename(&mut self, name: &Username, new: &Username) {
        if name == new {
            return;
        }
        if let Some(user) = self.users.remove(name.as_str()) {
            self.users.insert(new.as_str().to_owned(), UserRow { name: new.as_str().to_owned(), ..user });
            self.renamed.push((name.as_str().to_owned(), new.as_str().to_owned()));
        }
    }

    fn remove(&mut self, name: &Username) {
        if self.users.remove(name.as_str()).is_some() {
            self.removed.push(name.as_str().to_owned());
        }
    }
}

fn set_credential(row: &mut UserRow, credential: &Credential) {
    let text = Some(credential.text());
    (row.password, row.opaque) = match credential {
        Credential::Password(_) => (text, None),
        Credential::Record(_) => (None, text),
    };
}

fn set(row: &mut UserRow, condition: &Condition) {
    match condition {
        Condition::Disabled(is_disabled) => row.disabled = *is_disabled,
        Condition::Expires(day) => row.expires.clone_from(day),
        // The database takes no network with bits after its prefix, and refuses what is none.
        Condition::From(networks) => {
            let written = |network: &String| {
                parse_network(network).map_or_else(|| network.clone(), |network| network.trunc().to_string())
            };
            row.networks = networks.iter().map(written).collect();
        }
    }
}

/// Rows as entries, if a node would serve all of them. Their records must be of the key, if it is known.
pub(super) fn entries(
    path: &Path,
    rows: Vec<UserRow>,
    key: Option<KeyId>,
) -> Result<Vec<UserEntry>, Refusal> {
    let (mut entries, mut problems) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match entry(&row, key) {
            Ok(entry) => entries.push(entry),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(Refusal::Rows { path: path.into(), problems }) }
}

fn entry(row: &UserRow, key: Option<KeyId>) -> Result<UserEntry, String> {
    let name: Username =
        row.name.parse().map_err(|error| format!("the name {} {error}: delete its row by SQL", row.name))?;
    let from = row.networks.iter().map(|network| shown_network(network).ok_or(network));
    let from: Result<Vec<_>, _> = from.collect();
    let from = from.map_err(|network| {
        format!("the network {network} of {name} is none for logins: set others with from")
    })?;
    let expires = row.expires.as_deref().map(|day| last_day(day).ok_or(day)).transpose();
    let expires = expires
        .map_err(|day| format!("the last day {day} of {name} is none for logins: set another with expire"))?;
    Ok(UserEntry {
        credential: credential(row, key).map_err(|problem| format!("{} of {name} {problem}", kind(row)))?,
        name,
        at: None,
        is_disabled: row.disabled,
        expires,
        from,
        old: None,
    })
}

fn kind(row: &UserRow) -> &'static str {
    if row.opaque.is_some() { "the record" } else { "the password" }
}

/// The credential of a row, or what is wrong with it, to follow its name.
fn credential(row: &UserRow, key: Option<KeyId>) -> Result<Credential, String> {
    let Some(record) = &row.opaque else {
        let password = row.password.as_ref().map_or("", |password| password.as_str());
        let password = if password.is_empty() {
            Err("is empty".to_owned())
        } else {
            Password::new(password).map_err(|error| error.to_string())
        };
        return password
            .map(Credential::Password)
            .map_err(|wrong| format!("{wrong}: set another with passwd"));
    };
    let record = parse_record(record).map_err(|error| error.to_string())?;
    match key.filter(|key| *key != record.key) {
        Some(key) => Err(format!(
            "was made with the key {}, but the key file has the key {key}: use the key file that belongs to this \
             database, or set a new password",
            record.key
        )),
        None => Ok(Credential::Record(Box::new(record))),
    }
}

/// A day that has an end.
fn last_day(text: &str) -> Option<Datetime> {
    let day = text.parse().ok()?;
    first_second_after(&day).map(|_| day)
}

/// A network, or an address where it is one.
fn shown_network(text: &str) -> Option<String> {
    let network = parse_network(text)?;
    let is_address = network.prefix_len() == network.max_prefix_len();
    Some(if is_address { network.addr().to_string() } else { network.to_string() })
}
