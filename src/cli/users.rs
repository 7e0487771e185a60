//! `letmein-users`: who may log in, changed and checked without an editor.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::new_password::{NewPassword, NoNewPassword};
use crate::cli::{Status, invalid, parse_commands, say};
use crate::sandbox;
use crate::users::edit::{Edit, NewUser};
use crate::users::entries::{Entry, entries, warnings};
use crate::users::import::{self, Format, ListProblem, Listed};
use crate::users::write::{self, ChangeError, Missing};
use crate::users::{Problem, UsersError, load_text};
use proto::credentials::{Password, Username};
use proto::shown::Shown;

const PROGRAM: &str = "letmein-users";
const EXAMPLE: &str = "letmein-users --users users.toml add alice --generate";

/// Change and check a users file; comments and order stay as they are
#[derive(Parser)]
#[command(name = PROGRAM, version, after_help = after_help(), arg_required_else_help = false)]
struct Args {
    /// The users file
    #[arg(long, global = true, value_name = "FILE", default_value = "users.toml")]
    users: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a user, and the file if there is none
    #[command(after_help = "Examples:\n  \
        letmein-users add alice                      asks for the password, twice\n  \
        letmein-users add alice --generate           prints one that nobody can guess\n  \
        pass show alice | letmein-users add alice --password-stdin")]
    Add {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Change a user's password
    #[command(after_help = "Example:\n  letmein-users passwd alice --generate")]
    Passwd {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Refuse a user from now on
    Disable(User),
    /// Let a disabled user in again
    Enable(User),
    /// Let a user in up to a day, that one included, or for ever
    #[command(
        after_help = "Examples:\n  letmein-users expire alice 2027-01-31\n  letmein-users expire alice never"
    )]
    Expire {
        #[command(flatten)]
        user: User,
        /// The last good day, UTC, as 2027-01-31, or never
        #[arg(value_name = "DATE", value_parser = parse_expiry)]
        expiry: Expiry,
    },
    /// Take a user out of the file
    Remove {
        #[command(flatten)]
        user: User,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print all users, without their passwords
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Print what is wrong in the file, and what is weak
    #[command(
        after_help = "Exit status: 0 no problems, or only warnings, 2 something is wrong in the file, \
        3 the system failed"
    )]
    Check,
    /// Add all users of a list, or none of them if anything is wrong in it
    #[command(after_help = "Examples:\n  \
        letmein-users import list.txt             lines as alice:her password\n  \
        letmein-users import --csv list.csv       with a row name,password,disabled,expires,from\n  \
        letmein-users import --replace - < list.txt")]
    Import {
        /// The list; - stands for standard input
        #[arg(value_name = "FILE")]
        list: PathBuf,
        /// A table with a row of column names: name, password, and if need be disabled, expires and from
        #[arg(long)]
        csv: bool,
        /// Change the passwords, and nothing else, of users that there are already
        #[arg(long)]
        replace: bool,
    },
}

#[derive(clap::Args)]
struct User {
    /// The user's name
    #[arg(value_parser = parse_user)]
    name: Username,
}

#[derive(Clone, Debug)]
enum Expiry {
    /// A day in TOML.
    After(String),
    Never,
}

fn after_help() -> String {
    format!(
        "Examples:\n  \
         letmein-users add alice --generate           prints her password\n  \
         letmein-users passwd alice                   asks for it, twice\n  \
         letmein-users disable alice\n  \
         letmein-users expire alice 2027-01-31\n  \
         letmein-users list --json\n  \
         letmein-users check\n  \
         letmein-users --users /etc/letmein/users.toml import list.txt\n\n\
         A running server reads the file again by itself.\n\n\
         {USERS_STATUSES}"
    )
}

const USERS_STATUSES: &str = "\
Exit status: 0 done, 1 no such user, or one too many, or not confirmed, 2 wrong command line, list or users file,\n\
3 the system failed";

/// The command line, of which the help, the manual and the completions are made.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    run().unwrap_or_else(|status| status).into()
}

fn run() -> Result<Status, Status> {
    let Args { users, command } = parse_commands(command(), EXAMPLE)?;
    sandbox::hide_memory().map_err(|error| failed(&error))?;
    match command {
        Command::Add { user: User { name }, password } => add(&users, name, &password),
        Command::Passwd { user: User { name }, password } => passwd(&users, &name, &password),
        Command::Disable(User { name }) => change_user(&users, &name, |edit| {
            edit.set(&name, "disabled", "true".into());
            Ok(())
        }),
        Command::Enable(User { name }) => change_user(&users, &name, |edit| edit.unset(&name, "disabled")),
        Command::Expire { user: User { name }, expiry: Expiry::After(day) } => {
            change_user(&users, &name, |edit| {
                edit.set(&name, "expires", day);
                Ok(())
            })
        }
        Command::Expire { user: User { name }, expiry: Expiry::Never } => {
            change_user(&users, &name, |edit| edit.unset(&name, "expires"))
        }
        Command::Remove { user: User { name }, yes } => {
            if !yes {
                confirm(&name)?;
            }
            change_user(&users, &name, |edit| {
                edit.remove(&name);
                Ok(())
            })
        }
        Command::List { json: false } => list(&users),
        Command::List { json: true } => list_json(&users),
        Command::Check => check(&users),
        Command::Import { list, csv, replace } => {
            import(&users, &list, if csv { Format::Csv } else { Format::Lines }, replace)
        }
    }
}

fn add(users: &Path, name: Username, password: &NewPassword) -> Result<Status, Status> {
    let new = read(password, &name)?;
    let shown = new.clone();
    change(users, Missing::Create, |edit| {
        if edit.contains(&name) {
            return Err(ChangeError::Exists { path: users.into(), name });
        }
        edit.add(&NewUser { name, password: new, conditions: Vec::new() });
        Ok(())
    })
    .map_err(|error| unchanged(&error))?;
    tell(password, &shown)
}

fn passwd(users: &Path, name: &Username, password: &NewPassword) -> Result<Status, Status> {
    let new = read(password, name)?;
    change_user(users, name, |edit| {
        edit.set_password(name, &new);
        Ok(())
    })?;
    tell(password, &new)
}

/// Changes a user whom there has to be.
fn change_user(
    users: &Path,
    name: &Username,
    act: impl FnOnce(&mut Edit<'_>) -> Result<(), Problem>,
) -> Result<Status, Status> {
    let changed = change(users, Missing::Refuse, |edit| {
        if !edit.contains(name) {
            return Err(ChangeError::NoSuchUser { path: users.into(), name: name.clone() });
        }
        act(edit).map_err(|problem| UsersError::Wrong { path: users.into(), problems: vec![problem] })?;
        Ok(())
    });
    changed.map(|()| Status::Done).map_err(|error| unchanged(&error))
}

/// Changes the file, and tells if that has to wait.
fn change<T>(
    users: &Path,
    missing: Missing,
    edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let waiting = |folder: &Path| {
        let folder = folder.display().to_string();
        say(format_args!("{PROGRAM}: waiting for another change of {}", Shown(folder.as_bytes())));
    };
    write::change(users, missing, waiting, edit)
}

/// Asks whether a user is to go.
fn confirm(name: &Username) -> Result<(), Status> {
    if !io::stdin().is_terminal() {
        return Err(invalid("there is no terminal to ask at whether the user is to go: add --yes", EXAMPLE));
    }
    // Nobody is asked if this fails, and nobody says yes.
    let _ = write!(io::stderr(), "Remove {}? [y/N] ", Shown(name.as_str().as_bytes()));
    let mut answer = String::new();
    io::stdin().lock().take(10).read_line(&mut answer).map_err(|error| failed(&error))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    say(format_args!("{PROGRAM}: nobody is removed"));
    Err(Status::Refused)
}

/// Makes, reads or asks for a new password.
fn read(source: &NewPassword, name: &Username) -> Result<Password, Status> {
    source.read(name).map_err(|error| {
        if matches!(error, NoNewPassword::NotMade(_)) {
            failed(&error)
        } else {
            invalid(&error.to_string(), EXAMPLE)
        }
    })
}

/// Prints a password that nobody knows yet.
fn tell(source: &NewPassword, password: &Password) -> Result<Status, Status> {
    if source.generate {
        let text = str::from_utf8(password.expose()).unwrap_or_default();
        writeln!(io::stdout(), "{text}").map_err(|error| {
            failed(&format_args!("the password is changed, but cannot be printed: {error}"))
        })?;
    }
    Ok(Status::Done)
}

/// What `list` tells of a user.
#[derive(Serialize)]
struct Row {
    name: String,
    state: &'static str,
    expires: Option<String>,
    from: Vec<String>,
}

impl Row {
    fn new(entry: Entry, unix_s: u64) -> Self {
        Self {
            name: entry.name.to_string(),
            state: entry.state(unix_s).word(),
            expires: entry.expires.map(|day| day.to_string()),
            from: entry.from,
        }
    }
}

fn rows(users: &Path) -> Result<Vec<Row>, Status> {
    let source = load_text(users).map_err(|error| wrong(&error))?;
    let now = unix_s();
    Ok(entries(source.text()).into_iter().map(|entry| Row::new(entry, now)).collect())
}

fn list(users: &Path) -> Result<Status, Status> {
    let rows = rows(users)?;
    let cells = rows.iter().map(|row| {
        let from = if row.from.is_empty() { "anywhere".to_owned() } else { row.from.join(" ") };
        let expires = row.expires.clone().unwrap_or_else(|| "never".into());
        [Shown(row.name.as_bytes()).to_string(), row.state.to_owned(), expires, from]
    });
    let header = ["NAME", "STATE", "EXPIRES", "FROM"].map(str::to_owned);
    let table: Vec<_> = [header].into_iter().chain(cells).collect();
    let width = table.iter().map(|[name, ..]| name.chars().count()).max().unwrap_or(0);
    let lines = table
        .iter()
        .map(|[name, state, expires, from]| format!("{name:width$}  {state:8}  {expires:10}  {from}"));
    print(lines)
}

fn list_json(users: &Path) -> Result<Status, Status> {
    let json = serde_json::to_string(&rows(users)?).map_err(|error| failed(&error))?;
    print([json])
}

fn check(users: &Path) -> Result<Status, Status> {
    let source = load_text(users).map_err(|error| wrong(&error))?;
    let entries = entries(source.text());
    let of_file = source.loaded.warnings.iter().map(ToString::to_string);
    let warnings: Vec<_> = of_file.chain(warnings(users, source.text(), &entries, unix_s())).collect();
    let problems = match warnings.len() {
        0 => "no problems".to_owned(),
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let summary = format!("{}, {problems}", users_count(entries.len()));
    // Names are in them.
    let shown = warnings.iter().map(|warning| Shown(warning.as_bytes()).to_string());
    print(shown.chain([summary]))
}

fn import(users: &Path, list: &Path, format: Format, replaces: bool) -> Result<Status, Status> {
    let from = if list == Path::new("-") { "standard input".to_owned() } else { list.display().to_string() };
    let bytes = read_list(list).map_err(|error| invalid(&format!("cannot read {from}: {error}"), EXAMPLE))?;
    let in_list = |list_problems| ChangeError::List { from: from.clone(), list_problems };
    let listed = import::parse(&bytes, format).map_err(|problems| unchanged(&in_list(problems)))?;
    let changed = change(users, Missing::Create, |edit| {
        let is_there = |listed: &&Listed| edit.contains(&listed.user.name);
        let (old, new): (Vec<_>, Vec<_>) = listed.iter().partition(is_there);
        if !old.is_empty() && !replaces {
            return Err(in_list(old.iter().map(|listed| exists(listed)).collect()));
        }
        let conditioned: Vec<_> = old.iter().filter(|listed| !listed.user.conditions.is_empty()).collect();
        if !conditioned.is_empty() {
            return Err(in_list(conditioned.into_iter().map(|listed| only_password(listed)).collect()));
        }
        old.iter().for_each(|Listed { user, .. }| edit.set_password(&user.name, &user.password));
        new.iter().for_each(|Listed { user, .. }| edit.add(user));
        Ok((new.len(), old.len()))
    });
    let (added, changed) = changed.map_err(|error| unchanged(&error))?;
    print([format!("+{}, {changed} changed", users_count(added))])
}

fn exists(listed: &Listed) -> ListProblem {
    let message = format!("there is a user {} already: --replace changes the password", listed.user.name);
    ListProblem { line: listed.line, message }
}

fn only_password(listed: &Listed) -> ListProblem {
    let message = format!(
        "--replace changes only the password: there is a user {} already, so leave disabled, expires and from empty, \
         and change them with disable and expire, or by hand",
        listed.user.name
    );
    ListProblem { line: listed.line, message }
}

fn read_list(list: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if list == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        let mut file = File::open(list)?;
        // One allocation of the right size: a buffer that grows leaves copies of passwords behind.
        bytes.reserve_exact(file.metadata()?.len() as usize + 1);
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn users_count(count: usize) -> String {
    if count == 1 { "1 user".to_owned() } else { format!("{count} users") }
}

#[expect(clippy::disallowed_methods, reason = "whether a user is expired is a matter of the day")]
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn print(lines: impl IntoIterator<Item = String>) -> Result<Status, Status> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}").map_err(|error| failed(&error))?;
    }
    Ok(Status::Done)
}

fn failed(error: &dyn Display) -> Status {
    say(format_args!("{PROGRAM}: {error}"));
    Status::Failed
}

fn wrong(error: &UsersError) -> Status {
    say_each_line(error);
    Status::Usage
}

/// Says why nothing is changed.
fn unchanged(error: &ChangeError) -> Status {
    say_each_line(error);
    match error {
        ChangeError::NoSuchUser { .. } | ChangeError::Exists { .. } => Status::Refused,
        ChangeError::Users(_)
        | ChangeError::List { .. }
        | ChangeError::WouldBeWrong { .. }
        | ChangeError::Bound { .. } => Status::Usage,
        ChangeError::Owner { .. }
        | ChangeError::Overlap { .. }
        | ChangeError::Meanwhile { .. }
        | ChangeError::Locked { .. }
        | ChangeError::System { .. } => Status::Failed,
    }
}

fn say_each_line(error: &dyn Display) {
    // Names are in them.
    error.to_string().lines().for_each(|line| say(format_args!("{PROGRAM}: {}", Shown(line.as_bytes()))));
}

fn parse_user(text: &str) -> Result<Username, String> {
    text.parse().map_err(|error| format!("the user name {error}"))
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    import::parse_day(text).map(Expiry::After).ok_or_else(|| format!("no day {text:?}: {}", import::DAY))
}
