//! docs/bridges/nginx.md, with Debian's nginx and with curl as the visitor. What is not installed is not tested, and
//! that is said.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Stdio};

use proto::transport::Transport::Udp;
use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::running::{Server, installed, path, run, users_file};

const PAGE: &str = include_str!("../../docs/bridges/nginx.md");
const USERS: &str = "[users]\nalice = 'one'\ncarol = 'a:b::c:'\n'zoë' = 'pässword'";
/// alice:one
const ALICE: &str = "YWxpY2U6b25l";

/// nginx as the page sets it up, in a folder of its own, on sockets that have no ports; killed when dropped.
struct Site {
    folder: TempDir,
    child: Child,
    _stderr: BufReader<ChildStderr>,
}

impl Site {
    /// Or `None`, if what that takes is not installed.
    fn before(gateway: &Gateway) -> Option<Self> {
        let (mut nginx, mut openssl, _) = (installed("nginx")?, installed("openssl")?, installed("curl")?);
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=www.example"];
        let certified = run(openssl.args(request).args(["-keyout", &at("key"), "-out", &at("pem")]));
        assert_eq!(certified.status, 0, "{certified:?}");
        fs::create_dir(folder.path().join("members")).unwrap();
        fs::write(folder.path().join("members/index.html"), "for members").unwrap();

        let (_, rest) = PAGE.split_once("```nginx\n").unwrap();
        let mut site = rest.split_once("```").unwrap().0.to_owned();
        for (original, ours) in [
            ("listen 80;", format!("listen unix:{};", at("http"))),
            ("listen 443 ssl;", format!("listen unix:{} ssl;", at("https"))),
            ("/etc/ssl/certs/www.example.pem", at("pem")),
            ("/etc/ssl/private/www.example.key", at("key")),
            ("/var/www/members", at("members")),
            ("127.0.0.1:8592", gateway.address.to_string()),
        ] {
            assert_eq!(site.matches(original).count(), 1, "{original}");
            site = site.replace(original, &ours);
        }
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", at(kind)))
            .concat();
        let main = format!(
            "daemon off; master_process off; error_log stderr notice; pid {};\n\
             events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n",
            at("pid")
        );
        fs::write(folder.path().join("nginx.conf"), main).unwrap();
        nginx.args(["-e", "stderr", "-p"]).arg(folder.path()).args(["-c", &at("nginx.conf")]);
        let mut child = nginx.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();

        // It says how many files it may open once it listens.
        let (mut stderr, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
        while !said.contains("getrlimit(RLIMIT_NOFILE)") {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
        }
        Some(Self { folder, child, _stderr: stderr })
    }

    /// What a visitor gets, the head and the body.
    fn visit(&self, args: &[&str]) -> String {
        self.curl("https", &[args, &["https://www.example/"]].concat())
    }

    fn curl(&self, socket: &str, args: &[&str]) -> String {
        let socket: PathBuf = self.folder.path().join(socket);
        let mut curl = installed("curl").unwrap();
        curl.args([
            "--silent",
            "--show-error",
            "--include",
            "--insecure",
            "--max-time",
            "60",
            "--unix-socket",
        ]);
        let ended = run(curl.arg(socket).args(args));
        assert_eq!(ended.status, 0, "{ended:?}");
        ended.stdout
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The statuses of all responses in what curl has printed.
fn statuses(printed: &str) -> Vec<&str> {
    let heads = printed.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    heads.map(|rest| &rest[..3]).collect()
}

fn start() -> (Server, Gateway) {
    let users = users_file(USERS);
    let server = Server::start(Udp, &["127.0.0.1:0", "--users", path(&users), "--trust", "127.0.0.1"]);
    let gateway = Gateway::to(server.address, &["--timeout", "2", "--visitor-header", "X-Real-IP"]);
    (server, gateway)
}

#[test]
fn nginx_shows_its_pages_to_those_whom_the_service_welcomes_and_to_nobody_else() {
    let (_server, gateway) = start();
    let Some(site) = Site::before(&gateway) else { return };
    for user in ["alice:one", "carol:a:b::c:", "zoë:pässword"] {
        let page = site.visit(&["--user", user]);
        assert_eq!(statuses(&page), ["200"], "{user}: {page}");
        assert!(page.ends_with("\r\n\r\nfor members"), "{page}");
    }
    // nginx turns a POST to a file down by itself, once it has let it in.
    assert_eq!(statuses(&site.visit(&["--user", "alice:one", "--data", "x"])), ["405"]);

    let header = |value: &str| ["--header".to_owned(), format!("Authorization: {value}")];
    let one = header(&format!("Basic {ALICE}"));
    let two = [one.clone(), header("Basic Y2Fyb2w6eA==")].concat();
    for args in [
        vec![],
        vec!["--user".to_owned(), "alice:two".to_owned()],
        vec!["--user".to_owned(), "mallory:one".to_owned()],
        vec!["--user".to_owned(), "alice:two".to_owned(), "--data".to_owned(), "x".to_owned()],
        header("Basic !!!!").to_vec(),
        header("Basic YWxpY2U=").to_vec(),
        header(&format!("Bearer {ALICE}")).to_vec(),
        header(&format!("Basic {}", "A".repeat(7000))).to_vec(),
    ] {
        let reply = site.visit(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(statuses(&reply), ["401"], "{args:?}: {reply}");
        assert!(
            reply.contains("\r\nwww-authenticate: Basic realm=\"letmein\", charset=\"UTF-8\"\r\n"),
            "{reply}"
        );
        assert!(!reply.contains("for members"), "{reply}");
    }
    // Later versions of nginx see to two credentials themselves.
    let reply = site.visit(&two.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(["401", "400"].contains(&statuses(&reply)[0]), "{reply}");
    let cookies = format!("Cookie: {}", "c".repeat(7000));
    let many = ["--header", &cookies, "--header", &cookies, "--header", &cookies, "--user", "alice:one"];
    assert_eq!(statuses(&site.visit(&many)), ["200"]);

    // The way to the gateway is no page.
    let internal = site.curl("https", &["--user", "alice:one", "https://www.example/letmein-auth"]);
    assert_eq!(statuses(&internal), ["404"], "{internal}");
    // Without TLS nobody is asked for a password.
    let plain = site.curl("http", &["http://www.example/a?b"]);
    assert_eq!(statuses(&plain), ["301"], "{plain}");
    assert!(plain.contains("\r\nLocation: https://www.example/a?b\r\n"), "{plain}");
}

#[test]
fn nginx_lets_nobody_in_once_the_service_or_the_gateway_is_gone() {
    let (server, gateway) = start();
    let Some(site) = Site::before(&gateway) else { return };
    let no_verdict = || {
        let reply = site.visit(&["--user", "alice:one"]);
        assert_eq!(statuses(&reply), ["503"], "{reply}");
        assert!(reply.contains("\r\nRetry-After: 5\r\n"), "{reply}");
        assert!(!reply.contains("for members"), "{reply}");
    };
    drop(server);
    no_verdict();
    drop(gateway);
    no_verdict();
}

#[test]
fn nginx_ends_a_visitors_guesses_before_the_gateway_sees_them() {
    let (_server, gateway) = start();
    let Some(site) = Site::before(&gateway) else { return };
    let replies = site.curl("https", &["--user", "alice:two", "https://www.example/[1-200]"]);
    let statuses = statuses(&replies);
    assert_eq!((statuses.len(), &statuses[..51]), (200, &["401"; 51][..]));
    assert!(statuses.contains(&"429"), "{statuses:?}");
}
