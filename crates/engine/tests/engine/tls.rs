//! Who the database has to be, over TCP.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use letmein_auth_engine::{EngineError, Session};
use tempfile::TempDir;

use crate::postgres::{Postgres, give, load, run};

#[test]
fn nothing_is_said_to_a_database_without_tls() {
    if !has_openssl() {
        return;
    }
    let folder = TempDir::new().unwrap();
    make_ca(folder.path(), "ours");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).unwrap();
        client.write_all(b"N").unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        (request, rest)
    });
    let ca = folder.path().join("ours.pem");
    let text =
        format!("host=127.0.0.1 port={port} user=alice password=hunter2\nsslrootcert={}", ca.display());
    let error = run(Session::open(&load(&text).unwrap())).err().unwrap();
    assert!(
        matches!(&error, EngineError::Unreachable(text) if text.contains("does not support TLS")),
        "{error}"
    );
    // SSLRequest, and nothing else.
    assert_eq!(heard.join().unwrap(), ([0, 0, 0, 8, 4, 210, 22, 47], Vec::new()));
}

#[test]
fn a_database_has_to_show_a_certificate_of_our_ca_for_its_host_name() {
    if !has_openssl() {
        return;
    }
    let port = free_port();
    let Some(postgres) = Postgres::start(|folder| {
        for ca in ["ours", "other"] {
            make_ca(folder, ca);
        }
        make_certificate(folder, "ours", "DNS:localhost");
        with_tls(folder, port)
    }) else {
        return;
    };
    let connect = |host: &str, ca: &str| {
        let ca = postgres.folder().join(ca);
        let text = format!("{host} port={port} user=postgres dbname=postgres\nsslrootcert={}", ca.display());
        let settings = load(&text).unwrap();
        run(async {
            let session = Session::open(&settings).await?;
            let row = session.row("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await?;
            Ok::<bool, EngineError>(row.get(0))
        })
    };
    assert_eq!(connect("host=localhost", "ours.pem"), Ok(true));
    assert_eq!(connect("host=localhost hostaddr=127.0.0.1", "ours.pem"), Ok(true));
    for (host, ca, reason) in [
        ("host=127.0.0.1", "ours.pem", "not valid for name"),
        ("host=elsewhere.example.org hostaddr=127.0.0.1", "ours.pem", "not valid for name"),
        ("host=localhost", "other.pem", "UnknownIssuer"),
    ] {
        let error = connect(host, ca).unwrap_err();
        assert!(
            matches!(&error, EngineError::Unreachable(text) if text.contains(reason)),
            "{host}, {ca}: {error}"
        );
    }
}

#[test]
fn a_certificate_is_good_until_it_expires_and_a_ca_as_long_as_it_is_in_the_file() {
    if !has_openssl() {
        return;
    }
    for (expired, reason) in [("server", Some("certificate expired")), ("ours", None)] {
        let port = free_port();
        let Some(postgres) = Postgres::start(|folder| {
            make_ca(folder, "ours");
            if expired == "ours" {
                expire(folder, "ours", "basicConstraints=critical,CA:TRUE", "ours");
            }
            make_certificate(folder, "ours", "DNS:localhost");
            if expired == "server" {
                expire(folder, "server", "subjectAltName=DNS:localhost", "ours");
            }
            with_tls(folder, port)
        }) else {
            return;
        };
        let ca = postgres.folder().join("ours.pem");
        let text = format!("host=localhost port={port} user=postgres\nsslrootcert={}", ca.display());
        let error = run(Session::open(&load(&text).unwrap())).err();
        match reason {
            None => assert_eq!(error, None),
            Some(reason) => assert!(
                matches!(&error, Some(EngineError::Unreachable(text)) if text.contains(reason)),
                "{error:?}"
            ),
        }
    }
}

/// The settings of a PostgreSQL with server.pem and server.key.
fn with_tls(folder: &Path, port: u16) -> Vec<String> {
    let settings = ["listen_addresses=127.0.0.1".into(), format!("port={port}"), "ssl=on".into()];
    let files = ["ssl_cert_file", "ssl_key_file"].into_iter().zip(["server.pem", "server.key"]);
    let files = files.map(|(setting, file)| format!("{setting}={}", folder.join(file).display()));
    settings.into_iter().chain(files).flat_map(|setting| ["-c".into(), setting]).collect()
}

/// Makes NAME.pem anew, as one that has expired, of a CA.
fn expire(folder: &Path, name: &str, extension: &str, ca: &str) {
    let config = format!(
        "[ca]\ndefault_ca = one\n[one]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\n\
         default_md = sha256\npolicy = any\nx509_extensions = more\n[any]\ncommonName = supplied\n[more]\n{extension}\n"
    );
    fs::write(folder.join("config"), config).unwrap();
    fs::write(folder.join("index"), "").unwrap();
    let openssl = |arguments: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split_whitespace()).current_dir(folder).stderr(Stdio::null());
        assert!(openssl.status().unwrap().success(), "{arguments}");
    };
    openssl(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
    let issuer = if name == ca { "-selfsign".into() } else { format!("-cert {ca}.pem") };
    openssl(&format!(
        "ca -batch -notext -config config -in {name}.csr -keyfile {ca}.key {issuer} \
         -startdate 20200101000000Z -enddate 20200102000000Z -out {name}.pem"
    ));
}

/// Whether it is installed. That it is absent is said.
fn has_openssl() -> bool {
    let is_there = Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        // Not by eprintln, whose lines the harness keeps when a test passes.
        io::stderr().write_all(b"skipped: openssl is not installed\n").unwrap();
    }
    is_there
}

/// A port at which nobody listens. Somebody may take it before PostgreSQL does, which takes no port 0.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn make_ca(folder: &Path, name: &str) {
    let usage = "basicConstraints=critical,CA:TRUE";
    let subject = format!("/CN={name}");
    openssl(folder, &["req", "-x509", "-subj", &subject, "-addext", usage], name);
}

/// Makes server.pem and server.key.
fn make_certificate(folder: &Path, ca: &str, host: &str) {
    let host = format!("subjectAltName={host}");
    let (certificate, key) = (format!("{ca}.pem"), format!("{ca}.key"));
    let issuer = ["-CA", &certificate, "-CAkey", &key];
    let request =
        ["req", "-x509", "-subj", "/CN=database", "-addext", &host, "-addext", "basicConstraints=CA:FALSE"];
    openssl(folder, &[&request[..], &issuer].concat(), "server");
    give(&folder.join("server.key"));
}

/// Makes NAME.key and NAME.pem.
fn openssl(folder: &Path, arguments: &[&str], name: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments).args([
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]).current_dir(folder);
    assert!(openssl.stderr(Stdio::null()).status().unwrap().success());
}
