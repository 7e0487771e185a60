//! The commands that show and check the key of the records.

use std::collections::HashMap;
use std::fs;

use proto::opaque::key::KeyId;

use crate::change::unchanged;
use crate::credential::Credential;
use crate::entries::entries;
use crate::files::Files;
use crate::list::wrong;
use crate::plain::Plain;
use crate::print;
use crate::registration::is_missing;
use letmein::cli::ExitStatus;

/// Prints the id of the key, where it is, and how many records were made with it.
pub(crate) fn show_key(files: &Files) -> Result<ExitStatus, ExitStatus> {
    let file = files.key_file().map_err(|error| wrong(&error))?;
    let key = file.load().map_err(|error| wrong(&error))?.key.id();
    let counts = records(files);
    let own = counts.get(&key).copied().unwrap_or(0);
    let others: usize = counts.values().sum::<usize>() - own;
    let records = if others == 0 { own.to_string() } else { format!("{own}, and {others} of other keys") };
    let path = file.path().display().to_string();
    let rows = [("key", key.to_string()), ("file", Plain(&path).to_string()), ("records", records)];
    print(rows.map(|(what, it)| format!("{what:7}  {it}")))
}

/// The number of records of each key, in a file that need not be right otherwise.
fn records(files: &Files) -> HashMap<KeyId, usize> {
    let bytes = fs::read(&files.users).unwrap_or_default();
    let mut counts = HashMap::new();
    for entry in entries(&String::from_utf8_lossy(&bytes)) {
        if let Credential::Record(record) = entry.credential {
            *counts.entry(record.key).or_default() += 1;
        }
    }
    counts
}

/// Loads key and users as a server does.
pub(crate) fn check_key(files: &Files) -> Result<ExitStatus, ExitStatus> {
    let file = files.key_file().map_err(|error| wrong(&error))?;
    let source = files.load_text().map_err(|error| wrong(&error))?;
    let key = match file.load() {
        Err(error) if is_missing(&error) && !source.loaded.users.mechanisms().opaque => {
            return print(["no records, and no key file: the first record makes one".to_owned()]);
        }
        loaded => loaded.map_err(|error| unchanged(&error.into()))?,
    };
    let records = entries(source.text());
    let records = records.iter().filter(|entry| matches!(entry.credential, Credential::Record(_))).count();
    let records = if records == 1 { "1 record".to_owned() } else { format!("{records} records") };
    let problems = match key.warnings.len() {
        0 => "no problems".to_owned(),
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let warnings = key.warnings.iter().map(|warning| Plain(&warning.to_string()).to_string());
    print(warnings.chain([format!("key {}: {records}, {problems}", key.key.id())]))
}
