//! Several hosts, and the connection to one of them.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use letmein_auth_engine::{EngineError, Session};
use tempfile::TempDir;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::postgres::{Database, load, run};
use crate::proxy::SOCKET;

/// A host that takes connections and says nothing, as one that hangs.
fn silent() -> (TempDir, UnixListener) {
    let folder = TempDir::new().unwrap();
    let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
    (folder, listener)
}

#[test]
fn a_host_that_hangs_leaves_time_for_the_next() {
    let Some(database) = Database::empty() else { return };
    let ((first, _first), (second, _second)) = (silent(), silent());
    let (folder, name) = (database.postgres.folder().display(), &database.name);
    let text = format!(
        "host={},{},{folder} port=5432 user=postgres dbname={name}",
        first.path().display(),
        second.path().display()
    );
    let answer = run(async { Session::open(&load(&text).unwrap()).await?.row("SELECT 1", &[]).await });
    assert_eq!(answer.map(|row| row.get::<_, i32>(0)), Ok(1));
}

#[test]
fn hosts_that_all_hang_take_no_longer_than_one() {
    let ((first, _first), (second, _second)) = (silent(), silent());
    let text = format!("host={},{} user=postgres", first.path().display(), second.path().display());
    let settings = load(&text).unwrap();
    let opened = run(async { timeout(Duration::from_secs(6), Session::open(&settings)).await });
    assert_eq!(opened.unwrap().err(), Some(EngineError::ConnectTimedOut));
}

#[test]
fn each_host_has_its_own_port() {
    let Some(database) = Database::empty() else { return };
    let ((first, _first), folder) = (silent(), database.postgres.folder().display());
    let text = format!(
        "host={},{folder} port=1,5432 user=postgres dbname={} target_session_attrs=read-write",
        first.path().display(),
        database.name
    );
    let answer = run(async { Session::open(&load(&text).unwrap()).await?.row("SELECT 1", &[]).await });
    assert_eq!(answer.map(|row| row.get::<_, i32>(0)), Ok(1));
}

/// Nobody reads what the database still has to say.
#[test]
fn a_session_that_is_dropped_closes_its_connection_at_once() {
    let Some(database) = Database::empty() else { return };
    let (folder, listener) = silent();
    let server = database.postgres.folder().join(SOCKET);
    let (sender, closed) = channel();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = UnixStream::connect(server).unwrap();
        let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from, &mut to));
        let _ = io::copy(&mut &client, &mut &server);
        sender.send(()).unwrap();
    });
    run(async {
        let session = Session::open(&database.settings_at(folder.path())).await.unwrap();
        let statement = session.batch("SELECT pg_sleep(60)");
        timeout(Duration::from_millis(50), statement).await.unwrap_err();
        drop(session);
        let is_closed = async {
            while closed.try_recv().is_err() {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), is_closed).await.unwrap();
    });
}
