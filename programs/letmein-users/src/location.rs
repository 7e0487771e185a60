//! Where users are, by the options of the command line.

use std::path::PathBuf;

use crate::backend::Backend;
use crate::command_line::Location;
#[cfg(feature = "engine")]
use crate::engine::Database;
use crate::files::Files;
#[cfg(feature = "engine")]
use crate::{ENGINE_EXAMPLE, EXAMPLE};
use letmein::cli::ExitStatus;
#[cfg(feature = "engine")]
use letmein::cli::usage::invalid;

/// The users file if none is named.
const USERS_FILE: &str = "users.toml";

impl Location {
    pub(crate) fn backend(self) -> Result<Backend, ExitStatus> {
        #[cfg(feature = "engine")]
        if self.engine.is_some() {
            let file = self.engine_file()?;
            return Ok(Backend::Engine(Box::new(Database::new(file, self.key_file)?)));
        }
        Ok(Backend::File(self.files()?))
    }

    /// The files, for what is in files alone.
    pub(crate) fn files(self) -> Result<Files, ExitStatus> {
        #[cfg(feature = "engine")]
        if self.engine.is_some() {
            let reason = "key and keys are about files: leave --engine out, and name the file with --key-file or --cluster-key";
            return Err(invalid(reason, EXAMPLE));
        }
        Ok(Files::new(self.users.unwrap_or_else(|| PathBuf::from(USERS_FILE)), self.key_file))
    }

    /// The file that says where the database is, for what is there alone.
    #[cfg(feature = "engine")]
    pub(crate) fn engine_file(&self) -> Result<PathBuf, ExitStatus> {
        match (&self.engine, &self.users) {
            (Some(file), None) => Ok(file.clone()),
            (Some(_), Some(_)) => {
                Err(invalid("users are in PostgreSQL or in a file: give --engine or --users", EXAMPLE))
            }
            (None, _) => Err(invalid(
                "this is about users in PostgreSQL: say where that is with --engine <FILE>",
                ENGINE_EXAMPLE,
            )),
        }
    }
}
