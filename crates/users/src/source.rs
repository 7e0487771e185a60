//! Where users come from, as a server sees it.

use std::io;
use std::path::Path;

use crate::error::UsersError;
use crate::file::{Loaded, Stamp};
use crate::folder::Folder;

/// A place that a server loads its users from, again whenever they have changed, even from within a sandbox.
pub trait Source: Send + Sync {
    /// Its name in messages.
    fn path(&self) -> &Path;

    /// Reads all users, and checks them together.
    ///
    /// # Errors
    /// What keeps them from being used, with file, line, column and remedy.
    fn load(&self) -> Result<Loaded, UsersError>;

    /// The present state of what it is loaded from: another one than [`Loaded::stamp`] once that has changed. `None` if
    /// there is nothing to load.
    fn stamp(&self) -> Option<Stamp>;

    /// The folders that must stay readable. Whatever changes the users is an event in one of them.
    ///
    /// # Errors
    /// The system's.
    fn needs(&self) -> io::Result<Vec<Folder>>;

    /// Prepares for loading with the rights that the process has now, and keeps.
    ///
    /// # Errors
    /// What keeps the users from being loaded again.
    fn settle(&mut self) -> Result<(), UsersError>;
}
