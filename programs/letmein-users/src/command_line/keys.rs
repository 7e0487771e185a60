//! The commands for keys: that of the records, and those that the servers of a cluster share.

use std::path::PathBuf;

use clap::Subcommand;

use crate::keys::parse_from;

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Show the id of the key, its file, and the number of its records
    Show,
    /// Tell whether the key file and all records belong together
    Check,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Add a key; the file is created if there is none
    ///
    /// A key replaces the one before it, at all servers in the same second. Keys that
    /// were replaced more than an hour ago are taken out. The file is written anew:
    /// comments in it do not stay.
    #[command(
        aliases = ["new", "create"],
        after_long_help = "Examples:\n  \
            letmein-users keys add                               the first key\n  \
            letmein-users keys add --from +1h                    another one\n  \
            letmein-users keys add --from 2027-01-31T12:00:00Z\n  \
            letmein-users keys add --cluster-key /etc/letmein/cluster.key --from +1h"
    )]
    Add {
        /// When the key takes effect [default for the first key: now]
        ///
        /// A time from now, as in +30m or +1h, or a second of UTC, as in
        /// 2027-01-31T12:00:00Z. Every server needs the file before then.
        #[arg(long, value_name = "TIME", value_parser = parse_from)]
        from: Option<u64>,
        #[command(flatten)]
        file: ClusterKeys,
    },
    /// List all keys: id, when it takes effect, and its state
    #[command(
        alias = "ls",
        after_long_help = "Examples:\n  \
            letmein-users keys list\n  \
            letmein-users keys list --json\n\n\
            The states are pending (takes effect later), active, and retired (another replaced it)."
    )]
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: ClusterKeys,
    },
}

#[derive(clap::Args)]
pub(crate) struct ClusterKeys {
    /// The keys of the cluster [default: cluster.key beside the users file]
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_key: Option<PathBuf>,
}
