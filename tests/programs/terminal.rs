//! What people are asked at a terminal, and what they see of what they type.

use std::fs::{self, File, OpenOptions, read_to_string};
use std::io::{Read, Write};
use std::process::{Child, Command};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::running::{Server, letmein, letmein_users, path, users_file, welcome};

/// A program at a terminal of its own.
pub(crate) struct Terminal {
    keyboard: File,
    seen: String,
    child: Child,
}

impl Terminal {
    pub(crate) fn of(program: &Command) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let screen = OpenOptions::new().read(true).write(true).open(name).unwrap();
        // Programs ask at the terminal of their session.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        session.stdin(screen.try_clone().unwrap()).stdout(screen.try_clone().unwrap()).stderr(screen);
        Self { keyboard: keyboard.into(), seen: String::new(), child: session.spawn().unwrap() }
    }

    /// Reads up to a question.
    fn is_asked(&mut self, question: &str) {
        while !self.seen.ends_with(question) {
            assert!(self.read_more(), "{question:?} is not asked: {}", self.seen);
        }
    }

    /// Once it is not shown any more.
    fn types_secretly(&mut self, line: &str) {
        while tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ECHO) {}
        self.types(line);
    }

    fn types(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The status, and all that was to be seen.
    pub(crate) fn end(mut self) -> (i32, String) {
        while self.read_more() {}
        (self.child.wait().unwrap().code().unwrap(), self.seen)
    }

    /// Whether there was more. A terminal that nobody has any more gives an error.
    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 1024];
        let len = self.keyboard.read(&mut bytes).unwrap_or(0);
        self.seen += str::from_utf8(&bytes[..len]).unwrap();
        len > 0
    }
}

#[test]
fn the_client_asks_for_the_password_and_does_not_show_it() {
    let server = Server::udp();
    for options in [&[][..], &["--password-stdin"]] {
        let mut command = letmein();
        let mut terminal = Terminal::of(command.args([&server.address.to_string(), "userone"]).args(options));
        terminal.is_asked("Password of userone: ");
        terminal.types_secretly("passwordone");
        let expected = "Password of userone: \r\nWelcome to our service.\r\n";
        assert_eq!(terminal.end(), (0, expected.to_owned()));
    }
}

#[test]
fn a_new_password_is_asked_for_twice_and_has_to_be_the_same() {
    let users = users_file("[users]\n");
    let add = |again: &str| {
        let mut command = letmein_users();
        let mut terminal = Terminal::of(command.args(["--users", path(&users), "add", "alice"]));
        terminal.is_asked("New password of alice: ");
        terminal.types_secretly("a fine one");
        terminal.is_asked("New password of alice, again: ");
        terminal.types_secretly(again);
        terminal.end()
    };
    let (status, seen) = add("another");
    assert!(status == 2 && seen.contains("the two passwords differ"), "{seen}");
    assert_eq!(read_to_string(&users).unwrap(), "[users]\n");
    let (status, seen) = add("a fine one");
    assert!(status == 0 && !seen.contains("fine"), "{seen}");
    let server = Server::start(proto::transport::Transport::Tcp, &["127.0.0.1:0", "--users", path(&users)]);
    assert_eq!(server.login(&["alice", "a fine one"]), welcome());
}

#[test]
fn a_password_to_verify_is_asked_for_once_and_not_shown() {
    let users = users_file("[users]\nalice = 'one'\n");
    for (password, status, what) in [("one", 0, "right"), ("another", 1, "wrong")] {
        let mut command = letmein_users();
        let mut terminal = Terminal::of(command.args(["--users", path(&users), "verify", "alice"]));
        terminal.is_asked("Password of alice: ");
        terminal.types_secretly(password);
        let expected = format!("Password of alice: \r\nalice: the password is {what}\r\n");
        assert_eq!(terminal.end(), (status, expected));
    }
}

#[test]
fn nothing_is_asked_about_a_user_who_is_not_there_or_is_to_be_added_again() {
    let users = users_file("[users]\nalice = 'one'\n");
    for (args, reason) in [
        (["passwd", "bob"], "there is no user bob"),
        (["remove", "bob"], "there is no user bob"),
        (["add", "alice"], "there is a user alice already: change the password with passwd"),
    ] {
        let mut command = letmein_users();
        let terminal = Terminal::of(command.args(["--users", path(&users)]).args(args));
        assert_eq!(terminal.end(), (1, format!("letmein-users: {}: {reason}\r\n", path(&users))));
    }
}

#[test]
fn a_user_is_removed_only_once_somebody_says_yes() {
    let users = users_file("[users]\nalice = 'one'\nbob = 'two'\n");
    for (answer, status, left) in
        [("", 1, "[users]\nalice = 'one'\nbob = 'two'\n"), ("y", 0, "[users]\nbob = 'two'\n")]
    {
        let mut command = letmein_users();
        let mut terminal = Terminal::of(command.args(["--users", path(&users), "remove", "alice"]));
        terminal.is_asked("Remove alice? [y/N] ");
        terminal.types(answer);
        let ended = terminal.end();
        assert_eq!(ended.0, status, "{ended:?}");
        assert_eq!(read_to_string(&users).unwrap(), left);
    }
}

#[test]
fn a_migration_that_takes_a_while_shows_how_far_it_is() {
    let lines: String = (0..12).map(|number| format!("user{number} = 'password {number}'\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users.toml");
    fs::write(&users, format!("[users]\n{lines}")).unwrap();
    let mut command = letmein_users();
    let args = ["--users", users.to_str().unwrap(), "migrate", "--stretch", "m=131072,t=6,p=1"];
    let (status, shown) = Terminal::of(command.args(args)).end();
    assert!(
        status == 0 && shown.contains("#") && shown.contains("] 1") && shown.contains(" of 12, "),
        "{shown}"
    );
    assert!(shown.ends_with("12 users migrated\r\n"), "{shown}");
}
