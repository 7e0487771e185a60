//! The commands that set up users in PostgreSQL.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum EngineCommand {
    /// Make tables and roles in an empty database
    #[command(after_long_help = ENGINE_FILE)]
    Init(EngineFile),
    /// Bring the tables up to date
    #[command(after_long_help = ENGINE_FILE)]
    Migrate(EngineFile),
    /// Show the revision, the number of users, and the version of the tables
    #[command(after_long_help = ENGINE_FILE)]
    Status(EngineFile),
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

#[derive(clap::Args)]
pub(crate) struct EngineFile {
    /// The file that says where the database is
    #[arg(long, value_name = "FILE")]
    pub(crate) engine: PathBuf,
}
