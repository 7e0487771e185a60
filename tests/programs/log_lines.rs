//! What the servers log, line by line: for people, for programs and for the journal.

use std::fs::{self, File};
use std::io::BufRead;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proto::transport::Transport;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::peers::{REFUSED, REQUEST, ask, udp_peer};
use crate::reloads::{Folder, logged};
use crate::running::{SAMPLES, Server, TRANSPORTS, server, welcome};

const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// What a server logs of a welcome and a refused login, until it is stopped.
fn log(transport: Transport, args: &[&str]) -> String {
    let all = [&["127.0.0.1:0", "--users", SAMPLES], args].concat();
    let server = Server::start(transport, &all);
    log_in_twice(&server);
    server.stop(libc::SIGTERM).stderr
}

/// The same, into a file that JOURNAL_STREAM names after `rename`.
fn log_into_a_stream(transport: Transport, args: &[&str], rename: impl Fn(u64, u64) -> String) -> String {
    let file = NamedTempFile::new().unwrap();
    let stream = file.as_file().metadata().unwrap();
    let mut command = server(transport);
    command.args(["127.0.0.1:0", "--users", SAMPLES]).args(args);
    command.env("JOURNAL_STREAM", rename(stream.dev(), stream.ino()));
    command.stderr(File::options().append(true).open(file.path()).unwrap());
    let server = Server::spawn(transport, &mut command);
    log_in_twice(&server);
    assert_eq!(server.stop(libc::SIGTERM).status, 0);
    fs::read_to_string(file.path()).unwrap()
}

fn named(device: u64, inode: u64) -> String {
    format!("{device}:{inode}")
}

fn log_in_twice(server: &Server) {
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    assert_eq!(server.login(&["userone", "passwordtwo"]).status, 1);
}

/// Whether it begins with a time such as 2026-01-31T23:59:59.123456Z.
fn has_time(text: &str) -> bool {
    let shape = text.bytes().take(27).map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    shape.eq(*b"0000-00-00T00:00:00.000000Z")
}

/// The level of a line of text, which has a time and no colour.
fn level_of_text(line: &str) -> &str {
    assert!(has_time(line) && !line.contains('\x1b'), "{line}");
    let level = line.split_ascii_whitespace().nth(1).unwrap();
    assert!(LEVELS.contains(&level), "{line}");
    level
}

/// The level and the message of a line of JSON, which has a time and nothing more.
fn parsed(line: &str) -> (String, String) {
    let object: Value = serde_json::from_str(line).expect(line);
    let keys = object.as_object().expect(line);
    let text = |key| keys.get(key).and_then(Value::as_str).expect(line);
    assert!(keys.len() == 3 && text("timestamp").len() == 27 && has_time(text("timestamp")), "{line}");
    assert!(LEVELS.contains(&text("level")), "{line}");
    (text("level").to_owned(), text("message").to_owned())
}

/// The priority and the message of a line for the journal, which knows the time itself.
fn prioritized(line: &str) -> (u8, &str) {
    let (priority, message) = line.strip_prefix('<').and_then(|line| line.split_once('>')).expect(line);
    assert!(!has_time(message) && !message.starts_with(' ') && !message.contains('\x1b'), "{line}");
    let priority = priority.parse().unwrap();
    assert!((3..=7).contains(&priority), "{line}");
    (priority, message)
}

#[test]
fn a_line_of_text_has_its_time_and_its_level() {
    for transport in TRANSPORTS {
        for args in [&["--debug"][..], &["--log-level", "debug", "--log-format", "text"]] {
            let log = log(transport, args);
            let of_refusal = log.lines().find(|line| line.ends_with(": refused userone: wrong password"));
            assert_eq!(of_refusal.map(level_of_text), Some("DEBUG"), "{log}");
            assert!(log.lines().any(|line| level_of_text(line) == "INFO"), "{log}");
        }
    }
}

#[test]
fn a_line_of_json_is_an_object_with_time_level_and_message() {
    for transport in TRANSPORTS {
        let log = log(transport, &["--log-format", "json", "--log-level", "debug"]);
        let lines: Vec<_> = log.lines().map(parsed).collect();
        let has = |level, end| {
            lines.iter().any(|(its_level, message)| its_level == level && message.ends_with(end))
        };
        assert!(has("DEBUG", ": refused userone: wrong password"), "{log}");
        assert!(has("DEBUG", ": userone is welcome"), "{log}");
        assert!(has("INFO", "SIGTERM: stopping"), "{log}");
    }
}

#[test]
fn a_level_leaves_out_what_is_less_grave() {
    for (level, said) in [("error", &[][..]), ("warn", &["WARN"]), ("info", &["WARN", "INFO"])] {
        let log = log(Transport::Udp, &["--sandbox", "off", "--log-level", level]);
        let levels: Vec<_> = log.lines().map(level_of_text).collect();
        assert!(levels.iter().all(|level| said.contains(level)), "{log}");
        assert!(said.iter().all(|level| levels.contains(level)), "{log}");
    }
    let log = log(Transport::Udp, &["--log-level", "trace"]);
    assert!(log.lines().any(|line| level_of_text(line) == "DEBUG"), "{log}");
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    for transport in TRANSPORTS {
        let log = log_into_a_stream(transport, &["--debug", "--sandbox", "off"], named);
        let lines: Vec<_> = log.lines().map(prioritized).collect();
        let has =
            |priority, end| lines.iter().any(|(its, message)| *its == priority && message.ends_with(end));
        assert!(has(7, ": refused userone: wrong password"), "{log}");
        assert!(has(6, "SIGTERM: stopping") && has(4, "sandbox: off"), "{log}");
    }
}

#[test]
fn json_is_the_same_for_the_journal() {
    let log = log_into_a_stream(Transport::Udp, &["--debug", "--log-format", "json"], named);
    assert!(log.lines().map(parsed).any(|(_, message)| message.ends_with("refused userone: wrong password")));
}

/// A server that a service starts with a log of its own still has the variable, for what it no longer has.
#[test]
fn a_stream_that_is_another_is_not_the_journal() {
    let others: [fn(u64, u64) -> String; 3] = [
        |device, inode| named(device, inode + 1),
        |device, inode| named(device + 1, inode),
        |_, _| "journal".into(),
    ];
    for other in others {
        let log = log_into_a_stream(Transport::Udp, &["--debug"], other);
        assert!(log.lines().any(|line| level_of_text(line) == "DEBUG"), "{log}");
    }
}

#[test]
fn a_name_with_line_breaks_stays_in_its_line() {
    for (format, escaped) in [("text", r"x\u{2028}forged"), ("json", r"x\\u{2028}forged")] {
        let options =
            ["127.0.0.1:0", "--users", SAMPLES, "--debug", "--log-unknown-names", "--log-format", format];
        let server = Server::start(Transport::Udp, &options);
        let peer = udp_peer(&server);
        let challenge = ask(&peer, REQUEST);
        let answer = |name: &str| [name.as_bytes(), b":", &[b'0'; 32], b":", &challenge].concat();
        // No name may have these; it is malformed and gets silence.
        peer.send(&answer("x\n<0>forged\r\n{}")).unwrap();
        assert_eq!(ask(&peer, &answer("x\u{2028}forged")), REFUSED);
        let log = server.stop(libc::SIGTERM).stderr;
        for line in log.lines() {
            match format {
                "json" => drop(parsed(line)),
                _ => drop(level_of_text(line).to_owned()),
            }
        }
        assert!(log.contains(": malformed: ") && log.contains(escaped), "{log}");
        assert_eq!(log.matches("forged").count(), 1, "{log}");
    }
}

#[test]
fn the_line_about_lines_left_out_is_like_the_others() {
    let options = ["127.0.0.1:0", "--users", SAMPLES, "--debug", "--log-format", "json"];
    let mut server = Server::start(Transport::Udp, &options);
    let mut log = server.stderr.take().unwrap().lines().map(Result::unwrap);
    let reader = thread::spawn(move || {
        log.any(|line| {
            let (level, message) = parsed(&line);
            level == "WARN" && message.ends_with(" log lines left out")
        })
    });
    let peer = udp_peer(&server);
    // Some seconds of a flood; the second has more than its lines.
    for _ in 0..10_000_000 {
        if reader.is_finished() {
            break;
        }
        peer.send(REQUEST).unwrap();
    }
    drop(server);
    assert!(reader.join().unwrap());
}

#[test]
fn errors_are_logged_beside_a_flood_of_lines_for_debugging() {
    let folder = Folder::with("alice = 'one'");
    let users = folder.path();
    let options = ["127.0.0.1:0", "--users", users.to_str().unwrap(), "--debug"];
    let mut server = Server::start(Transport::Udp, &options);
    let peer = udp_peer(&server);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // It also ends if the test fails.
        let mut sends = (0..10_000_000).take_while(|_| !is_over.load(Ordering::Relaxed));
        scope.spawn(move || sends.all(|_| peer.send(REQUEST).is_ok()));
        logged(&mut server, "log lines left out");
        folder.replace("alice = ''");
        for number in 1..=10 {
            server.signal(libc::SIGHUP);
            let reloads = if number == 1 { "reload" } else { "reloads" };
            logged(&mut server, &format!("keeping the old users ({number} failed {reloads})"));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
