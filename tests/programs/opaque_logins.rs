//! Logins by OPAQUE with the real client at the real servers, and how the client chooses its mechanism.

use std::fs::{self, Permissions, create_dir, read_to_string};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::OnceLock;

use proto::credentials::Password;
use proto::opaque::key::ServerKey;
use proto::opaque::registration::register;
use proto::opaque::stretching::Stretching;
use proto::transport::Transport;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;
use users::{key_text, record_text};

use crate::running::{Ended, Server, TRANSPORTS, letmein, refused, run, welcome};
use crate::terminal::Terminal;

/// A site with its users and its key, and the settings of a client.
pub(crate) struct Site {
    folder: TempDir,
}

/// alice and zoë, with records, whose passwords are not stretched; bob, whose password is; and carol, with a password.
/// All passwords are `right`.
fn users_and_key() -> &'static (String, String) {
    static SITE: OnceLock<(String, String)> = OnceLock::new();
    SITE.get_or_init(|| {
        let mut random = ChaCha20Rng::from_seed([1; 32]);
        let key = ServerKey::generate(&mut random);
        let mut entry = |name: &str, stretching| {
            let right = Password::new("right").unwrap();
            let record = register(&key, &name.parse().unwrap(), &right, stretching, &mut random).unwrap();
            format!("{name:?} = {{ opaque = {:?} }}\n", record_text(&record))
        };
        let (alice, zoe) = (entry("alice", Stretching::NONE), entry("zoë", Stretching::NONE));
        let bob = entry("bob", Stretching::LIGHT);
        (format!("[users]\n{alice}{zoe}{bob}carol = 'right'\n"), key_text(&key).to_string())
    })
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self { folder: TempDir::new().unwrap() };
        let (users, key) = users_and_key();
        site.put("users.toml", users);
        site.put("letmein.key", key);
        site
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn serve(&self, transport: Transport) -> Server {
        self.serve_with(transport, &[])
    }

    pub(crate) fn serve_with(&self, transport: Transport, more: &[&str]) -> Server {
        let users = self.folder.path().join("users.toml");
        Server::start(transport, &[&["127.0.0.1:0", "--users", users.to_str().unwrap()], more].concat())
    }

    /// A client of a server, with the settings of this site.
    fn client(&self, server: &Server, args: &[&str]) -> Command {
        let mut client = server.client();
        client.args(args).env("XDG_CONFIG_HOME", self.folder.path());
        client
    }

    pub(crate) fn login(&self, server: &Server, args: &[&str]) -> Ended {
        run(&mut self.client(server, args))
    }

    /// What the client remembers.
    fn remember(&self, text: &str) {
        let _ = create_dir(self.folder.path().join("letmein"));
        self.put("letmein/servers.toml", text);
    }

    fn remembered(&self) -> Option<String> {
        read_to_string(self.folder.path().join("letmein/servers.toml")).ok()
    }
}

#[test]
fn a_user_with_a_record_logs_in_by_opaque_over_udp_and_tcp() {
    let site = Site::new();
    for server in TRANSPORTS.map(|transport| site.serve(transport)) {
        let login = |user, password| site.login(&server, &[user, password, "--mechanism", "opaque"]);
        for user in ["alice", "bob", "zoe\u{308}"] {
            assert_eq!(login(user, "right"), welcome(), "{user}");
        }
        for (user, password) in [("alice", "wrong"), ("bob", "wrong"), ("nobody", "right")] {
            assert_eq!(login(user, password), refused(), "{user}");
        }
    }
}

/// bob's password takes 19 MiB.
#[test]
fn a_client_with_too_little_memory_says_so_and_gives_no_verdict() {
    let site = Site::new();
    let server = site.serve(Transport::Udp);
    let mut client = Command::new("sh");
    client.args(["-c", "ulimit -v 20000 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_letmein")]);
    let address = server.address.to_string();
    client.args([&*address, "bob", "right", "--mechanism", "opaque"]).env_remove("LETMEIN_PASSWORD");
    let Ended { status, stdout, stderr } = run(&mut client);
    assert_eq!((status, &*stdout), (3, ""), "{stderr}");
    assert!(stderr.contains("too little memory left to stretch the password"), "{stderr}");
}

#[test]
fn each_mechanism_refuses_the_users_of_the_other() {
    let site = Site::new();
    for server in TRANSPORTS.map(|transport| site.serve(transport)) {
        assert_eq!(site.login(&server, &["carol", "right"]), welcome());
        assert_eq!(site.login(&server, &["alice", "right"]), refused());
        assert_eq!(site.login(&server, &["carol", "right", "--mechanism", "opaque"]), refused());
    }
}

#[test]
fn a_server_of_md5_alone_is_said_not_to_know_opaque() {
    for server in TRANSPORTS.map(Server::over) {
        let ended = server.login(&["userone", "passwordone", "--mechanism", "opaque", "--timeout", "0.3"]);
        assert_eq!((ended.status, &*ended.stdout), (3, ""));
        assert!(
            ended
                .stderr
                .ends_with("; servers before 0.2, or without a key of records, do not know this mechanism\n"),
            "{ended:?}"
        );
    }
}

#[test]
fn the_mechanism_is_that_of_the_option_or_the_memory_or_the_variable() {
    let site = Site::new();
    let server = site.serve(Transport::Udp);
    // Option, memory and variable, and the mechanism of the login.
    for (option, memory, variable, mechanism) in [
        ("", "", "", "md5"),
        ("opaque", "", "md5", "opaque"),
        ("md5", "opaque", "opaque", "md5"),
        ("OPAQUE", "md5", "", "opaque"),
        ("", "opaque", "", "opaque"),
        ("", "opaque", "md5", "opaque"),
        ("", "md5", "opaque", "opaque"),
        ("", "md5", "", "md5"),
        ("", "", "opaque", "opaque"),
    ] {
        let user = if mechanism == "opaque" { "alice" } else { "carol" };
        let remembered = format!("['{}']\n{user} = '{memory}'\n", server.address);
        site.remember(if memory.is_empty() { "" } else { &remembered });
        let mut client = site.client(&server, &[user, "right", "--json"]);
        if !option.is_empty() {
            client.args(["--mechanism", option]);
        }
        if !variable.is_empty() {
            client.env("LETMEIN_MECHANISM", variable);
        }
        let ended = run(&mut client);
        let case = (option, memory, variable);
        assert_eq!((ended.status, &*ended.stderr), (0, ""), "{case:?}");
        assert!(ended.stdout.contains(&format!("\"mechanism\":\"{mechanism}\"")), "{case:?}: {ended:?}");
    }
}

#[test]
fn a_server_remembered_with_opaque_is_enough_among_several() {
    let site = Site::new();
    let server = site.serve(Transport::Udp);
    site.remember(&format!("['{}']\nalice = 'opaque'\n", server.address));
    let mut client = letmein();
    client.args([&format!("127.0.0.1:9,{}", server.address), "alice", "right"]);
    assert_eq!(run(client.env("XDG_CONFIG_HOME", site.folder.path())), welcome());
}

#[test]
fn a_mechanism_is_remembered_once_welcome_and_what_else_is_remembered_stays() {
    let site = Site::new();
    let server = site.serve(Transport::Udp);
    let options = ["--mechanism", "opaque", "--remember"];
    assert_eq!(site.login(&server, &[&["alice", "wrong"], &options[..]].concat()), refused());
    assert_eq!(site.remembered(), None);
    for user in ["alice", "zoë", "alice"] {
        assert_eq!(site.login(&server, &[&[user, "right"], &options[..]].concat()), welcome());
    }
    let address = server.address;
    let expected = format!("[\"{address}\"]\n\"zoë\" = \"opaque\"\nalice = \"opaque\"\n");
    assert_eq!(site.remembered(), Some(expected.clone()));
    let modes = ["letmein", "letmein/servers.toml"]
        .map(|name| fs::metadata(site.folder.path().join(name)).unwrap().permissions().mode() & 0o777);
    assert_eq!(modes, [0o700, 0o600]);
    // From now on nothing needs to be said.
    assert_eq!(site.login(&server, &["alice", "right"]), welcome());
    site.remember(&format!("# mine\n{expected}['other.example']\nalice = 'opaque' # hers\n"));
    assert_eq!(site.login(&server, &["carol", "right", "--remember"]), welcome());
    let expected = format!(
        "# mine\n[\"{address}\"]\ncarol = \"md5\"\n\"zoë\" = \"opaque\"\nalice = \"opaque\"\n['other.example']\nalice = \
         'opaque' # hers\n"
    );
    assert_eq!(site.remembered(), Some(expected));
}

#[test]
fn clients_that_remember_at_once_lose_nothing() {
    let site = Site::new();
    let server = site.serve(Transport::Tcp);
    let options = ["--mechanism", "opaque", "--remember"];
    let clients = (0..10)
        .flat_map(|_| ["alice", "zoë"])
        .map(|user| site.client(&server, &[&[user, "right"], &options[..]].concat()).spawn().unwrap());
    let clients: Vec<_> = clients.collect();
    for client in clients {
        assert_eq!(Ended::from(client.wait_with_output().unwrap()), welcome());
    }
    assert_eq!(site.remembered().unwrap().lines().count(), 3);
}

#[test]
fn a_welcome_that_cannot_be_remembered_is_one_with_a_warning() {
    let site = Site::new();
    let server = site.serve(Transport::Udp);
    let mut client = site.client(&server, &["alice", "right", "--mechanism", "opaque", "--remember"]);
    let ended = run(client.env("XDG_CONFIG_HOME", site.folder.path().join("users.toml")));
    assert_eq!((ended.status, &ended.stdout), (0, &welcome().stdout));
    assert!(ended.stderr.starts_with("letmein: warning: not remembered: cannot write "), "{ended:?}");
}

#[test]
fn a_memory_that_cannot_be_read_stops_the_login_and_says_where_and_what_to_write() {
    let site = Site::new();
    let server = site.serve(Transport::Udp);
    site.remember("['gate.example']\nalice = 'opaqe'\n");
    let reason = format!(
        "{}:2: alice has no mechanism: write \"md5\" or \"opaque\"",
        site.folder.path().join("letmein/servers.toml").display()
    );
    let expected = Ended { status: 2, stdout: String::new(), stderr: format!("letmein: {reason}\n") };
    assert_eq!(site.login(&server, &["carol", "right"]), expected);
    let ended = site.login(&server, &["carol", "right", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.status, &object["error"], &object["message"]), (2, &"usage".into(), &reason.into()));
    // Nobody has to know it who says how to log in.
    assert_eq!(site.login(&server, &["carol", "right", "--mechanism", "md5"]), welcome());
}

#[test]
fn a_home_that_is_none_remembers_nothing() {
    let site = Site::new();
    let server = site.serve(Transport::Udp);
    let mut client = site.client(&server, &["carol", "right"]);
    assert_eq!(run(client.env("HOME", "/dev/null").env_remove("XDG_CONFIG_HOME")), welcome());
}

#[test]
fn an_unknown_mechanism_is_status_2_wherever_it_is_said() {
    let server = Server::udp();
    let ended = server.login(&["userone", "passwordone", "--mechanism", "scram"]);
    assert!(
        ended.status == 2 && ended.stderr.contains("invalid mechanism: write md5 or opaque"),
        "{ended:?}"
    );
    let mut client = server.client();
    let ended = run(client.args(["userone", "passwordone"]).env("LETMEIN_MECHANISM", "scram"));
    let reason =
        "letmein: the variable LETMEIN_MECHANISM is neither md5 nor opaque: set one of them, or none\n";
    assert_eq!((ended.status, &*ended.stderr), (2, reason));
}

#[test]
fn steps_are_printed_for_debugging() {
    let site = Site::new();
    let server = site.serve(Transport::Tcp);
    let ended = site.login(&server, &["alice", "right", "--mechanism", "opaque", "--debug"]);
    let port = server.address.port();
    let expected = format!(
        "Sending authentication request to server 127.0.0.1 {port}\nSending username alice and blinded password to \
         server\nSending username alice and proof to server\n"
    );
    assert_eq!((ended.status, ended.stderr), (0, expected));
}

#[test]
fn a_refusal_by_md5_hints_at_opaque_at_a_terminal() {
    let site = Site::new();
    let server = site.serve(Transport::Udp);
    let seen = |options: &[&str]| {
        let client = site.client(&server, &[&["alice", "right"], options].concat());
        Terminal::of(&client).end().1
    };
    let hint = "letmein: if alice logs in by OPAQUE there, add --mechanism opaque\r\n";
    assert_eq!(seen(&[]), format!("User authorization failed.\r\n{hint}"));
    assert_eq!(seen(&["-q"]), "");
    assert!(!seen(&["--json"]).contains("letmein:"));
    assert_eq!(seen(&["--mechanism", "opaque"]), "Welcome to our service.\r\n");
}

#[test]
fn the_silence_of_a_server_of_opaque_alone_hints_at_opaque_at_a_terminal() {
    let site = Site::new();
    let (users, _) = users_and_key();
    site.put("users.toml", users.split_once("carol").unwrap().0);
    for server in TRANSPORTS.map(|transport| site.serve(transport)) {
        let client = site.client(&server, &["alice", "right", "--timeout", "0.2"]);
        let (status, seen) = Terminal::of(&client).end();
        let hint = "letmein: if alice logs in by OPAQUE there, add --mechanism opaque\r\n";
        assert!(status == 3 && seen.ends_with(hint), "{seen}");
    }
}

/// The address of this machine in a network, if it is in one.
fn outer_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent by this.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip().to_string())
}

#[test]
fn md5_to_another_machine_is_warned_of_at_a_terminal() {
    let Some(address) = outer_address() else {
        eprintln!("not tested, since this machine is in no network");
        return;
    };
    let site = Site::new();
    let users = site.folder.path().join("users.toml");
    let server =
        Server::start(Transport::Udp, &[&format!("{address}:0"), "--users", users.to_str().unwrap()]);
    let seen = |options: &[&str]| {
        let client = site.client(&server, options);
        Terminal::of(&client).end()
    };
    let warning = "letmein: warning: whoever hears this login by MD5 can try passwords on it until one fits; OPAQUE \
                   prevents that (--mechanism opaque)\r\n";
    let welcome = "Welcome to our service.\r\n";
    assert_eq!(seen(&["carol", "right"]), (0, format!("{warning}{welcome}")));
    assert_eq!(seen(&["carol", "right", "-q"]), (0, String::new()));
    assert_eq!(seen(&["alice", "right", "--mechanism", "opaque"]), (0, welcome.to_owned()));
    assert!(!seen(&["carol", "right", "--json"]).1.contains("warning"));
}
