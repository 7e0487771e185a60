//! The commands that set up users in PostgreSQL, and show what became of them there.

use std::time::Duration;

use clap::Subcommand;

use engine::PurgeAge;
use letmein::cli::parse_time;
use letmein::cli::usage::Invalid;
use proto::credentials::Username;

#[derive(Subcommand)]
pub(crate) enum EngineCommand {
    /// Make tables and roles in an empty database
    #[command(after_long_help = ENGINE_FILE)]
    Init,
    /// Bring the tables up to date
    #[command(after_long_help = ENGINE_FILE)]
    Migrate,
    /// Show the revision, the number of users, and the version of the tables
    #[command(after_long_help = ENGINE_FILE)]
    Status,
    /// Forget removals and changes that every node has seen long ago
    ///
    /// A node that has been away for longer loads all users again. Nodes that have not
    /// been seen for that long are forgotten, too.
    #[command(after_long_help = ENGINE_FILE)]
    Purge {
        /// What is older than this; at least an hour, with a unit
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_age)]
        older_than: PurgeAge,
    },
}

const ENGINE_FILE: &str = "\
The file has settings of libpq, or one URL, and belongs to you with mode 0600:
  host=db.example.org dbname=letmein
  user=alice password='correct horse'
  sslrootcert=/etc/letmein/database-ca.pem
TCP is always TLS with sslmode=verify-full. With host=/run/postgresql, a Unix
socket, there is no sslrootcert.

Exit status: 0 done, 2 wrong command line, file or database, 3 the database or
the system failed";

/// Parses an age: days, as in 30d, or what times are written as elsewhere. A number alone might be meant as days, and
/// would be seconds.
fn parse_age(text: &str) -> Result<PurgeAge, Invalid> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok());
    let age = days.map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60));
    let has_unit = text.ends_with(|last: char| last.is_ascii_lowercase());
    let age = age.or_else(|| parse_time(text).ok().filter(|_| has_unit));
    age.and_then(PurgeAge::new)
        .ok_or_else(|| Invalid::new("time", text, "give days, as in 30d, or hours, as in 12h; at least 1h"))
}

#[derive(clap::Args)]
pub(crate) struct History {
    /// Only changes of this user
    ///
    /// They are found by what others were told of them, as in add alice. Of changes of
    /// several users at once, and of those by SQL, only the last is found. Of all that
    /// is shown, only WHO is beyond doubt: programs say the rest of themselves.
    #[arg(value_parser = super::users::parse_user)]
    pub(crate) name: Option<Username>,
    /// Only so many changes, the newest
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}
