//! What Prometheus makes of the metrics, the alerts and the dashboard.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use proto::transport::Transport::{Tcp, Udp};
use serde_json::{Value, json};
use socket2::SockRef;
use tempfile::TempDir;

use crate::dist_files::DIST;
use crate::peers::uninterrupted;
use crate::reloads::logged;
use crate::running::{Ended, TRANSPORTS, installed, path, run, users_file, welcome};
use crate::synced_users::{Synced, user};

use super::{get, http_address, sent, watched};

#[test]
fn metrics_are_openmetrics_for_those_who_ask_for_it() {
    let (_server, http) = watched(Udp, &[]);
    let (head, text) = get(http, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE letmein_logins counter\n"), "{text}");
    let (head, text) = get(http, "/metrics", "Accept: */*\r\n");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(!text.contains("# EOF") && text.contains("# TYPE letmein_logins_total counter\n"), "{text}");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    for transport in TRANSPORTS {
        let Some(mut promtool) = installed("promtool") else { return };
        let (server, http) = watched(transport, &["--audit", "-"]);
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        let page = users_file(get(http, "/metrics", "").1);
        let ended = run(promtool.args(["check", "metrics"]).stdin(page.reopen().unwrap()));
        assert_eq!(ended, Ended { status: 0, stdout: String::new(), stderr: String::new() });
    }
}

#[test]
fn promtool_accepts_the_rules_and_sees_each_alert_fire_when_it_should() {
    let Some(mut promtool) = installed("promtool") else { return };
    let ended = run(promtool.args(["check", "rules", &format!("{DIST}/prometheus/letmein.rules.yml")]));
    assert!(ended.status == 0 && ended.stdout.contains("SUCCESS: 12 rules found"), "{ended:?}");
    let test = format!("{DIST}/prometheus/letmein.test.yml");
    let ended = run(installed("promtool").unwrap().args(["test", "rules", &test]));
    assert_eq!((ended.status, ended.stdout.contains("SUCCESS")), (0, true), "{ended:?}");
}

/// What Grafana puts in the place of its variables is put there first.
#[test]
fn promtool_accepts_each_query_of_the_dashboard() {
    let Some(mut promtool) = installed("promtool") else { return };
    let text = std::fs::read_to_string(format!("{DIST}/grafana/letmein.json")).unwrap();
    let text = text.replace("$instance", "a|b").replace("$__rate_interval", "5m");
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules: Vec<_> = targets.map(|target| json!({"record": "panel", "expr": target["expr"]})).collect();
    assert!(rules.len() >= panels.len());
    let found = format!("SUCCESS: {} rules found", rules.len());
    let file = users_file(json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string());
    let ended = run(promtool.args(["check", "rules", "--lint=none", path(&file)]));
    assert!(ended.status == 0 && ended.stdout.contains(&found), "{ended:?}");
}

/// Names of ours in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("letmein_") || word.starts_with("process_")).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_there_are() {
    let cluster_key = users_file(format!("2020-01-01T00:00:00Z {}\n", "A".repeat(43)));
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("exchange.sock");
    let pages = TRANSPORTS.map(|transport| {
        let cluster = ["--cluster-key", path(&cluster_key), "--exchange", socket.to_str().unwrap()];
        let (mut server, http) = watched(transport, &[&["--audit", "-"], &cluster[..]].concat());
        server.signal(libc::SIGHUP);
        logged(&mut server, "users.toml: 3 users:");
        let mut page = String::new();
        while !page.contains("letmein_last_reload_successful") {
            page = get(http, "/metrics", "").1;
        }
        page
    });
    let synced = Synced::with(&[user("alice", "hers")]);
    let mut server = synced.serve(Udp, &["--http", "127.0.0.1:0"]);
    let of_synced = get(http_address(&mut server), "/metrics", "").1;
    let served = pages.concat() + &of_synced;
    let served = names(&served);
    let dashboard = std::fs::read_to_string(format!("{DIST}/grafana/letmein.json")).unwrap();
    let _: Value = serde_json::from_str(&dashboard).unwrap();
    for text in [dashboard, std::fs::read_to_string(format!("{DIST}/prometheus/letmein.rules.yml")).unwrap()]
    {
        let named = names(&text);
        assert!(named.len() >= 7 && named.is_subset(&served), "{:?}", named.difference(&served));
    }
}

#[test]
fn prometheus_scrapes_the_metrics() {
    let Some(mut prometheus) = installed("prometheus") else { return };
    let (server, http) = watched(Tcp, &[]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    let folder = TempDir::new().unwrap();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&target).set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let config = users_file(format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
         scrape_configs: [{{job_name: letmein, static_configs: [{{targets: ['{}']}}]}}]\n",
        target.local_addr().unwrap()
    ));
    let mut child = prometheus
        .arg(format!("--config.file={}", path(&config)))
        .arg(format!("--storage.tsdb.path={}", folder.path().display()))
        .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = log.find_map(|line| {
        let line: Value = serde_json::from_str(&line).unwrap();
        (line["msg"] == "Listening on").then(|| line["address"].as_str().unwrap().to_owned())
    });
    let address = address.expect("it listens").parse().unwrap();
    // It must be able to say more.
    let log = std::thread::spawn(move || log.for_each(drop));
    // When it asks again it has read what it got. What takes too long on a busy machine it asks for again.
    let query = "/api/v1/query?query=letmein_logins_total%7Bresult%3D%22welcome%22%7D";
    let has_the_login = (0..100).any(|_| {
        let (mut scraper, _) = target.accept().unwrap();
        let found = get(address, query, "Connection: close\r\n").1;
        let mut request = [0; 4096];
        let len = uninterrupted(|| scraper.read(&mut request)).unwrap();
        let _ = scraper.write_all(sent(http, &request[..len]).as_bytes());
        found.contains("\"letmein\"") && found.contains(",\"1\"]")
    });
    let _ = child.kill();
    let _ = child.wait();
    log.join().unwrap();
    assert!(has_the_login);
}
