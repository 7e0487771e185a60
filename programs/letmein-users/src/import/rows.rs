//! Lists of users → users to add, or every problem in them with its line.

use std::collections::HashMap;

use csv::{ReaderBuilder, StringRecord};

use crate::conditions::{Condition, parse_day};
use crate::credential::Credential;
use crate::edit::NewUser;
use crate::normal_form::{new_name, new_password};
use proto::credentials::Password;
use users::{NETWORKS, RECORD_START, RecordTextError, parse_network, parse_record};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListFormat {
    /// `name:password`, a line a user.
    Lines,
    /// With a row of column names.
    Csv,
}

/// A user of a list, and their line.
pub(crate) struct Listed {
    pub(crate) line: u64,
    pub(crate) user: NewUser,
}

/// Something wrong in a list. It never shows a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub(crate) struct ListProblem {
    pub(crate) line: u64,
    pub(crate) message: String,
}

/// Reads a list.
///
/// # Errors
/// Every problem, in the order of the list.
pub(crate) fn parse(bytes: &[u8], format: ListFormat) -> Result<Vec<Listed>, Vec<ListProblem>> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let line =
            bytes.iter().take(error.valid_up_to()).map(|byte| u64::from(*byte == b'\n')).sum::<u64>() + 1;
        vec![ListProblem { line, message: "this line is not UTF-8: save the list as UTF-8".into() }]
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rows = match format {
        ListFormat::Lines => from_lines(text),
        ListFormat::Csv => from_csv(text),
    };
    let rows = rows.map_err(|problem| vec![problem])?;
    let mut first = HashMap::new();
    let (mut users, mut problems) = (Vec::new(), Vec::new());
    for (line, row) in rows {
        match row {
            Ok(user) => {
                if let Some(other) = first.insert(user.name.clone(), line) {
                    let message = format!("the same name is in line {other}, too");
                    problems.push(ListProblem { line, message });
                }
                users.push(Listed { line, user });
            }
            Err(messages) => {
                problems.extend(messages.into_iter().map(|message| ListProblem { line, message }));
            }
        }
    }
    if problems.is_empty() { Ok(users) } else { Err(problems) }
}

/// The line of a user, and the user or all that is wrong with them.
type ParsedUser = (u64, Result<NewUser, Vec<String>>);

fn from_lines(text: &str) -> Result<Vec<ParsedUser>, ListProblem> {
    let lines = (1..).zip(text.lines());
    let lines: Vec<_> = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')).collect();
    if let Some((line, first)) = lines.first() {
        let wrong = |message: &str| Err(ListProblem { line: *line, message: message.into() });
        if is_table_header(first) {
            return wrong("this looks like a table: add --csv");
        }
        if lines.iter().all(|(_, line)| is_account(line)) {
            return wrong("this looks like a passwd file, which has no passwords in it: write name:password");
        }
    }
    Ok(lines.into_iter().map(|(number, line)| (number, from_line(line))).collect())
}

/// Whether a line has the names of the columns that a table must have.
fn is_table_header(line: &str) -> bool {
    let has = |column: &str| {
        let mut names = line.split([',', ';', '\t']).map(|name| name.trim().trim_matches('"'));
        names.any(|name| name.eq_ignore_ascii_case(column))
    };
    has("name") && has("password")
}

/// Whether a text is a hash of a password, as htpasswd(1) and crypt(5) write it.
fn is_hash(text: &str) -> bool {
    ["$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$", "$apr1$", "$argon2", "{SHA}"]
        .iter()
        .any(|start| text.starts_with(start))
}

/// Whether a line is one of passwd(5) or shadow(5): seven fields or more, the third and fourth of which are numbers.
fn is_account(line: &str) -> bool {
    let fields: Vec<_> = line.split(':').collect();
    let is_number = |field: &&str| field.parse::<u32>().is_ok();
    fields.len() >= 7 && fields.iter().skip(2).take(2).all(is_number)
}

fn from_line(line: &str) -> Result<NewUser, Vec<String>> {
    match line.split_once(':') {
        Some((name, password)) => user(name, password, []),
        None => Err(vec!["there is no colon: write name:password".into()]),
    }
}

/// A condition of a user, or what is wrong with it.
type ParsedCondition = Result<Condition, String>;

fn user<const N: usize>(
    name: &str,
    password: &str,
    conditions: [ParsedCondition; N],
) -> Result<NewUser, Vec<String>> {
    let mut faults = Vec::new();
    let name = new_name(name).map_err(|fault| faults.push(fault));
    let credential = parse_credential(password).map_err(|fault| faults.push(fault));
    let mut kept = Vec::new();
    for condition in conditions {
        match condition {
            Ok(condition) => kept.extend(Some(condition).filter(Condition::limits)),
            Err(fault) => faults.push(fault),
        }
    }
    match (name, credential) {
        (Ok(name), Ok(credential)) if faults.is_empty() => {
            Ok(NewUser { name, credential, conditions: kept, old: None })
        }
        _ => Err(faults),
    }
}

/// A record is taken as it is.
fn parse_credential(text: &str) -> Result<Credential, String> {
    if text.starts_with(RECORD_START) {
        let record = parse_record(text).map_err(|error| format!("the record {error}"))?;
        let credential = Credential::Record(Box::new(record));
        if credential.is_damaged() {
            return Err(format!("the record {}", RecordTextError::Damaged));
        }
        return Ok(credential);
    }
    parse_password(text).map(Credential::Password)
}

fn parse_password(text: &str) -> Result<Password, String> {
    if text.contains(['\n', '\r']) {
        return Err("the password goes on in the next line: is there a quote that does not end?".into());
    }
    if is_hash(text) {
        return Err("the password looks like a hash, and clients need the password itself".to_owned());
    }
    new_password(text).map_err(|error| format!("the password {error}"))
}

/// The columns of a table, in the order in which they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Password,
    Disabled,
    Expires,
    From,
}

const COLUMNS: [(&str, Column); 5] = [
    ("name", Column::Name),
    ("password", Column::Password),
    ("disabled", Column::Disabled),
    ("expires", Column::Expires),
    ("from", Column::From),
];

fn from_csv(text: &str) -> Result<Vec<ParsedUser>, ListProblem> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut lines = LineCount { text, counted: 0, line: 1 };
    let mut records = reader.records().map(|record| {
        let record = record.map_err(|error| ListProblem { line: lines.line, message: error.to_string() })?;
        let start = record.position().map_or(0, |position| position.byte());
        Ok((lines.of_record(usize::try_from(start).unwrap_or(usize::MAX)), record))
    });
    let (line, header) = records.next().transpose()?.unwrap_or((1, StringRecord::new()));
    let columns = columns(&header).map_err(|message| ListProblem { line, message })?;
    records.map(|record| record.map(|(line, record)| (line, from_record(&columns, &record)))).collect()
}

/// Counts the lines up to offsets that only rise.
struct LineCount<'a> {
    text: &'a str,
    counted: usize,
    line: u64,
}

impl LineCount<'_> {
    /// The line of a record that begins here, or after blank lines.
    fn of_record(&mut self, start: usize) -> u64 {
        let rest = self.text.get(start..).unwrap_or_default();
        let start = self.text.len() - rest.trim_start_matches(['\r', '\n']).len();
        let between = self.text.get(self.counted..start).unwrap_or_default();
        self.line += between.bytes().map(|byte| u64::from(byte == b'\n')).sum::<u64>();
        self.counted = start;
        self.line
    }
}

fn columns(header: &StringRecord) -> Result<Vec<Column>, String> {
    if header.len() == 1 && header.iter().any(|field| field.contains(';')) {
        return Err("put commas, not semicolons, between columns".into());
    }
    let mut columns = Vec::new();
    for (number, name) in (1..).zip(header) {
        let known = COLUMNS.into_iter().find(|(known, _)| name.trim().eq_ignore_ascii_case(known));
        // Where the first row is missing, the name may be a password.
        let (_, column) = known.ok_or_else(|| {
            format!(
                "column {number} is none of name, password, disabled, expires and from: begin with a row \
                 name,password"
            )
        })?;
        if columns.contains(&column) {
            return Err(format!("the column {:?} is there twice", name.trim()));
        }
        columns.push(column);
    }
    if columns.contains(&Column::Name) && columns.contains(&Column::Password) {
        Ok(columns)
    } else {
        Err("there is no column name or no column password: begin with a row name,password".into())
    }
}

fn from_record(columns: &[Column], record: &StringRecord) -> Result<NewUser, Vec<String>> {
    if record.len() != columns.len() {
        return Err(vec![wrong_number(record.len(), columns)]);
    }
    let field =
        |column| columns.iter().zip(record).find(|(each, _)| **each == column).map_or("", |(_, field)| field);
    let conditions = [
        parse_disabled(field(Column::Disabled)),
        parse_expires(field(Column::Expires)),
        parse_from(field(Column::From)),
    ];
    user(field(Column::Name), field(Column::Password), conditions)
}

/// What is wrong with a row of this many columns.
fn wrong_number(len: usize, columns: &[Column]) -> String {
    let names = columns.iter().filter_map(|column| COLUMNS.iter().find(|(_, each)| each == column));
    let names = names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let are = if len == 1 { "is 1 column".to_owned() } else { format!("are {len} columns") };
    let remedy =
        if len > columns.len() { ": put double quotes around a field with a comma in it" } else { "" };
    format!("there {are} here, and {} in the first row ({names}){remedy}", columns.len())
}

fn parse_disabled(text: &str) -> ParsedCondition {
    match &*text.to_ascii_lowercase() {
        "" | "false" => Ok(Condition::Disabled(false)),
        "true" => Ok(Condition::Disabled(true)),
        _ => Err("disabled must be true, false or empty".into()),
    }
}

fn parse_expires(text: &str) -> ParsedCondition {
    if text.is_empty() {
        return Ok(Condition::Expires(None));
    }
    parse_day(text)
        .map(|day| Condition::Expires(Some(day)))
        .map_err(|remedy| format!("invalid day in expires: {remedy}"))
}

fn parse_from(text: &str) -> ParsedCondition {
    let networks: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    if networks.iter().any(|network| parse_network(network).is_none()) {
        return Err(format!(
            "invalid network in from: write {NETWORKS}, or several with spaces between them"
        ));
    }
    Ok(Condition::From(networks))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(list: &str, format: ListFormat) -> Vec<String> {
        parse(list.as_bytes(), format).err().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_quote_that_does_not_end_takes_no_other_users_with_it() {
        let list = "name,password\nalice,\"secret\nbob,b\ncarol,c\n";
        let expected = "2: the password goes on in the next line: is there a quote that does not end?";
        assert_eq!(problems(list, ListFormat::Csv), [expected]);
        assert_eq!(problems("alice:sec\rret\n", ListFormat::Lines).len(), 1);
    }

    #[test]
    fn all_faults_of_a_user_are_told() {
        let list = "name,password,disabled,expires,from\nal:ice,,yes,2027-02-30,10.0.0.0/8;::1\n";
        let expected = [
            "2: the user name has a colon in it",
            "2: the password is empty",
            "2: disabled must be true, false or empty",
            "2: invalid day in expires: there is no such day",
            "2: invalid network in from: write 10.0.0.0/8, 2001:db8::/32 or one address, or several with spaces \
             between them",
        ];
        assert_eq!(problems(list, ListFormat::Csv), expected);
    }

    #[test]
    fn lists_of_another_format_are_recognized() {
        for list in ["root:x:0:0:root:/root:/bin/bash\n\ndaemon:x:1:1::/:\n", "root:$6$x:20000:0:99999:7:::"]
        {
            let expected =
                "1: this looks like a passwd file, which has no passwords in it: write name:password";
            assert_eq!(problems(list, ListFormat::Lines), [expected]);
        }
        assert!(parse(b"alice:a:b:c:d:e:f:g\nbob:x:0:0:a:b:c", ListFormat::Lines).is_ok());
        for list in ["Name,Password\nalice,x\n", "# all\nname;password;from\n", "\"name\",\"password\""] {
            assert!(problems(list, ListFormat::Lines)[0].ends_with(": this looks like a table: add --csv"));
        }
        let expected = "1: put commas, not semicolons, between columns";
        assert_eq!(problems("name;password\nalice;x\n", ListFormat::Csv), [expected]);
    }

    #[test]
    fn columns_and_truth_values_are_known_in_upper_case_too() {
        let list =
            parse(b"Name,PASSWORD,Disabled\nAlice,x,TRUE\nbob,y,False\n", ListFormat::Csv).ok().unwrap();
        let users = list.iter().map(|listed| (listed.user.name.as_str(), listed.user.conditions.len()));
        assert_eq!(users.collect::<Vec<_>>(), [("Alice", 1), ("bob", 0)]);
    }

    #[test]
    fn lines_are_counted_with_the_blank_ones() {
        for (list, line) in [
            ("name,password\n\n\n\na:b,x\n", 5),
            ("\r\nname,password\r\n\r\n\r\na:b,x", 5),
            ("name,password,disabled\nalice,x,\"\n\"\n\n", 2),
            ("\n\nname\n", 3),
        ] {
            let problems = problems(list, ListFormat::Csv);
            assert!(problems[0].starts_with(&format!("{line}: ")), "{list:?}: {problems:?}");
        }
        let list = parse(b"name,password\n\n\"a\",a\n\nb,b\n", ListFormat::Csv).ok().unwrap();
        assert_eq!(list.iter().map(|listed| listed.line).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn problems_show_no_text_of_the_list() {
        for list in [
            "alice,SECRET\n",
            "name,password,expires\nalice,a,SECRET\n",
            "name,password,from\nalice,a,10.0.0.0/8 SECRET\n",
            "name,password,disabled\nalice,a,SECRET\n",
            "name,password\nSECRET,\n",
            "name,password\nSECRET,a\nSECRET,b\n",
            "name,password\nalice,a,SECRET\n",
        ] {
            let problems = problems(list, ListFormat::Csv);
            assert!(problems.len() == 1 && !problems[0].contains("SECRET"), "{problems:?}");
        }
    }
}
