//! Users in PostgreSQL: where commands find and change them, and the commands that are for the database alone.

mod database;
mod history;
mod refusal;
mod rows;
mod setup;

use std::future::Future;
use std::path::Path;

pub(crate) use database::Database;
pub(crate) use history::{history, nodes};
pub(crate) use refusal::Refusal;
pub(crate) use setup::set_up;

use crate::change::unchanged;
use crate::{PROGRAM, say_each_line};
use engine::{EngineError, Settings};
use letmein::cli::ExitStatus;
use refusal::Doing;
use tokio::runtime;

fn load_settings(file: &Path) -> Result<Settings, ExitStatus> {
    Settings::load(file, PROGRAM).map_err(|error| {
        say_each_line(&error);
        ExitStatus::Usage
    })
}

/// Asks the database something, and says why there is no answer.
fn ask<T>(doing: Doing, question: impl AsyncFnOnce() -> Result<T, EngineError>) -> Result<T, ExitStatus> {
    wait(doing, question()).map_err(|refusal| unchanged(&refusal.into()))
}

/// Runs something that waits for the database to its end.
fn wait<T>(doing: Doing, answer: impl Future<Output = Result<T, EngineError>>) -> Result<T, Refusal> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Refusal::System)?;
    let answer = runtime.block_on(answer);
    // Do not wait for a DNS lookup that hangs.
    runtime.shutdown_background();
    answer.map_err(|error| Refusal::Database { doing, error })
}
