//! The command line: commands, their options and their help.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::PROGRAM;
use crate::conditions::{Expiry, Place, parse_expiry, parse_last_day, parse_place};
use crate::new_password::{GivenPassword, NewPassword};
use crate::normal_form::new_name;
use proto::credentials::Username;

/// Change and check a users file; comments and order stay as they are
#[derive(Parser)]
#[command(name = PROGRAM, version, after_help = after_help(), arg_required_else_help = false)]
pub struct Args {
    /// The users file
    #[arg(long, global = true, value_name = "FILE", default_value = "users.toml")]
    pub(crate) users: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a user, and the file if there is none
    #[command(after_help = "Examples:\n  \
        letmein-users add alice                      asks for the password, twice\n  \
        letmein-users add alice --generate           prints one that nobody can guess\n  \
        pass show alice | letmein-users add alice --password-stdin")]
    Add {
        #[command(flatten)]
        user: AddedUser,
        /// Let the user in up to this day, that one included, or for ever
        #[arg(long, value_name = "DATE", default_value = "never", value_parser = parse_expiry)]
        expires: Expiry,
        /// Let the user in from this network or address only; may be repeated
        #[arg(long, value_name = "NETWORK", value_parser = parse_place)]
        from: Vec<Place>,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Change a user's password
    #[command(after_help = "Examples:\n  \
        letmein-users passwd alice --generate\n  \
        letmein-users passwd alice --generate --keep-old      both are good for 30 days\n  \
        letmein-users passwd alice --drop-old                 once all hosts have the new one")]
    Passwd {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        old: OldPassword,
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
    /// Let a user in from some networks only, or from anywhere
    #[command(after_help = "Examples:\n  \
        letmein-users from alice 10.0.0.0/8 2001:db8::1\n  \
        letmein-users from alice anywhere")]
    From {
        #[command(flatten)]
        user: User,
        /// The networks and addresses, or anywhere
        #[arg(value_name = "NETWORK", required = true, value_parser = parse_place)]
        places: Vec<Place>,
    },
    /// Give a user another name; the password stays
    #[command(after_help = "Example:\n  letmein-users rename alice alice.smith")]
    Rename {
        #[command(flatten)]
        user: User,
        /// The new name
        #[arg(value_name = "NEW-NAME", value_parser = new_name)]
        new: Username,
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
    /// Print all about a user but the password
    Show {
        #[command(flatten)]
        user: User,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say whether a password is the user's
    #[command(
        after_help = "Exit status: 0 it is the password, or the old one while that is good, 1 it is not, or there is no \
        such user, 2 wrong command line or users file, 3 the system failed"
    )]
    Verify {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: GivenPassword,
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
pub(crate) struct User {
    /// The user's name
    #[arg(value_parser = parse_user)]
    pub(crate) name: Username,
}

#[derive(clap::Args)]
pub(crate) struct AddedUser {
    /// The user's name
    #[arg(value_parser = new_name)]
    pub(crate) name: Username,
}

/// What becomes of the password that a user has had.
#[derive(clap::Args)]
pub(crate) struct OldPassword {
    /// Let the user in with the old password as well, for a time
    #[arg(long)]
    pub(crate) keep_old: bool,
    /// The last day of the old password [default: in 30 days]
    #[arg(long, value_name = "DATE", requires = "keep_old", value_parser = parse_last_day)]
    pub(crate) old_until: Option<String>,
    /// Refuse the old password from now on, and change nothing else
    #[arg(long, conflicts_with_all = ["keep_old", "generate", "password_file", "password_stdin"])]
    pub(crate) drop_old: bool,
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

fn parse_user(text: &str) -> Result<Username, String> {
    text.parse().map_err(|error| format!("the user name {error}"))
}
