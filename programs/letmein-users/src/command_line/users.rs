//! The commands that change and show users, wherever these are.

use std::path::PathBuf;

use clap::Subcommand;

use crate::conditions::{
    Expiry, Place, parse_expiry, parse_expiry_after_name, parse_last_day, parse_place, parse_place_after_name,
};
use crate::new_password::{GivenPassword, NewPassword};
use crate::normal_form::new_name;
use crate::registration::{Keeping, parse_stretch};
use letmein::cli::normal;
use proto::credentials::Username;
use proto::opaque::stretching::Stretching;

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user; a users file is created if there is none
    #[command(
        aliases = ["new", "create"],
        after_long_help = "Examples:\n  \
            letmein-users add alice                   asks for the password, twice\n  \
            letmein-users add alice --generate        prints one that nobody can guess\n  \
            pass show alice | letmein-users add alice --password-stdin\n  \
            letmein-users add bob --expires 2027-01-31 --from 10.0.0.0/8 --from ::1\n  \
            letmein-users add carol --opaque          keeps no password, only a record"
    )]
    Add {
        #[command(flatten)]
        user: AddedUser,
        /// Last day on which the user may log in, as in 2027-01-31
        ///
        /// The day ends at midnight, UTC.
        #[arg(long, value_name = "DATE", default_value = "never", value_parser = parse_expiry)]
        expires: Expiry,
        /// Network to log in from; may be repeated
        ///
        /// A single address works, too. Without it, the user may log in from anywhere.
        #[arg(long, value_name = "NETWORK", value_parser = parse_place)]
        from: Vec<Place>,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        keeping: Keeping,
    },
    /// Change a user's password
    ///
    /// The old password is refused from now on, unless --keep-old keeps it for a
    /// time.
    #[command(
        aliases = ["password", "pw"],
        after_long_help = "Examples:\n  \
            letmein-users passwd alice --generate\n  \
            letmein-users passwd alice --generate --keep-old   both are good for 30 days\n  \
            letmein-users passwd alice --drop-old              once all have the new one"
    )]
    Passwd {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        keeping: Keeping,
        #[command(flatten)]
        old: OldPassword,
    },
    /// Refuse a user from now on
    #[command(alias = "lock")]
    Disable(User),
    /// Let a disabled user log in again
    #[command(alias = "unlock")]
    Enable(User),
    /// Set the last day on which a user may log in
    #[command(after_long_help = "Examples:\n  \
        letmein-users expire alice 2027-01-31\n  \
        letmein-users expire alice never")]
    Expire {
        #[command(flatten)]
        user: User,
        /// Last day on which the user may log in, as in 2027-01-31, or never
        ///
        /// The day ends at midnight, UTC.
        #[arg(value_name = "DATE", value_parser = parse_expiry_after_name)]
        expiry: Expiry,
    },
    /// Set the networks from which a user may log in
    #[command(after_long_help = "Examples:\n  \
        letmein-users from alice 10.0.0.0/8 2001:db8::1\n  \
        letmein-users from alice anywhere")]
    From {
        #[command(flatten)]
        user: User,
        /// Networks and addresses, or anywhere
        #[arg(value_name = "NETWORK", required = true, value_parser = parse_place_after_name)]
        places: Vec<Place>,
    },
    /// Give a user another name; the password stays
    ///
    /// A record is bound to its name, so a user with one cannot be renamed.
    #[command(alias = "mv", after_long_help = "Example:\n  letmein-users rename alice alice.smith")]
    Rename {
        #[command(flatten)]
        user: User,
        /// The new name
        #[arg(value_name = "NEW-NAME", value_parser = new_name)]
        new: Username,
    },
    /// Remove a user
    #[command(aliases = ["delete", "del", "rm"])]
    Remove {
        #[command(flatten)]
        user: User,
        /// Do not ask
        #[arg(long, short, alias = "force", short_alias = 'f')]
        yes: bool,
    },
    /// List all users, without their passwords
    #[command(alias = "ls")]
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show everything about a user but the password
    #[command(aliases = ["info", "get"])]
    Show {
        #[command(flatten)]
        user: User,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Put records (OPAQUE) in the place of passwords
    ///
    /// Clients of users with a record must log in by OPAQUE. The first record makes
    /// the key file.
    #[command(after_long_help = "Examples:\n  \
        letmein-users migrate                          everybody\n  \
        letmein-users migrate alice bob                these two\n  \
        letmein-users migrate --except old-printer     everybody else")]
    Migrate {
        /// Users to migrate; without names, all
        #[arg(value_name = "NAME", value_parser = parse_user)]
        names: Vec<Username>,
        /// User who keeps the password; may be repeated
        #[arg(long, value_name = "NAME", value_parser = parse_user)]
        except: Vec<Username>,
        /// How hard guessing is for who steals records and key
        ///
        /// default: 64 MiB of memory and 3 passes of Argon2id for each login, in the
        /// client. light: 19 MiB and 2 passes. none: only where all passwords are
        /// generated. Or m=KIB,t=PASSES,p=LANES.
        #[arg(long, value_name = "HOW", default_value = "default", value_parser = parse_stretch)]
        stretch: Stretching,
    },
    /// Tell whether a password is the user's
    #[command(
        alias = "test",
        after_long_help = "Exit status: 0 the password is right (the present one, or the old one while it\n\
            is good), 1 it is not, or user not found, 2 wrong command line or users file,\n\
            3 the system failed"
    )]
    Verify {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: GivenPassword,
    },
    /// Report what is wrong, and what is weak
    #[command(
        alias = "lint",
        after_long_help = "Exit status: 0 no problems, or only warnings, 2 something is wrong, or\n\
            there are no users, 3 the system failed"
    )]
    Check,
    /// Add all users of a list
    ///
    /// If anything in the list is wrong, nobody is added, and every problem is
    /// reported with its line.
    #[command(after_long_help = "Examples:\n  \
        letmein-users import list.txt             lines as alice:her password\n  \
        letmein-users import --csv list.csv\n  \
        letmein-users import --replace - < list.txt")]
    Import {
        /// The list; - is standard input
        #[arg(value_name = "FILE")]
        list: PathBuf,
        /// The list is a table, with a row of column names
        ///
        /// The columns are name and password, and if need be disabled, expires and
        /// from, as in name,password,expires. Several networks in from have spaces
        /// between them. In place of a password there may be a record, if it was made
        /// with the same key.
        #[arg(long)]
        csv: bool,
        /// Change the passwords of users who exist already
        ///
        /// Those who have that password already stay as they are. The others lose their
        /// old password, if they have one; nothing else is changed.
        #[arg(long)]
        replace: bool,
    },
    /// Print all users, with their passwords
    ///
    /// Whoever has the output can log in as everybody. A terminal does not get it
    /// without --force.
    #[command(after_long_help = "Examples:\n  \
        (umask 077; letmein-users export > list.csv)\n  \
        letmein-users export | letmein-users --users other.toml import --csv -")]
    Export {
        /// Print a table for import --csv, the default
        ///
        /// It has no column for old passwords.
        #[arg(long, conflicts_with = "toml")]
        csv: bool,
        /// Print a users file
        #[arg(long)]
        toml: bool,
        /// Print passwords on a terminal, too
        #[arg(long, short)]
        force: bool,
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
    /// Let the user log in with the old password, too
    ///
    /// Both are good up to the day of --old-until. The audit of the server marks
    /// logins with the old one, so that you see who has not changed yet.
    #[arg(long, conflicts_with_all = ["opaque", "stretch"])]
    pub(crate) keep_old: bool,
    /// Last day of the old password [default: in 30 days]
    #[arg(long, value_name = "DATE", requires = "keep_old", value_parser = parse_last_day)]
    pub(crate) old_until: Option<String>,
    /// Only refuse the old password from now on
    #[arg(long, conflicts_with_all = [
        "keep_old", "old_until", "generate", "password_file", "password_stdin", "opaque", "md5", "stretch",
    ])]
    pub(crate) drop_old: bool,
}

/// The name as it is typed, unless it is one only in its normal form, which may be shorter.
pub(crate) fn parse_user(text: &str) -> Result<Username, String> {
    let parsed = text.parse().or_else(|error| normal::name(text).parse().map_err(|_| error));
    parsed.map_err(|error| format!("the user name {error}"))
}
