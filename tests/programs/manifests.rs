//! The manifests for Kubernetes and Compose: their command lines, and the users as these mount them. `.ci/manifests`
//! checks the rest of them.

use std::fs::{self, Permissions};
use std::io::{BufRead, Write};
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use clap::CommandFactory;
use letmein::cli;
use proto::transport::Transport::Udp;
use tempfile::TempDir;

use crate::dist_files::DIST;
use crate::peers::PATIENCE;
use crate::running::{SAMPLES, Server, installed, run, server, welcome};

/// The words of a list in a manifest, which may go on on the next line.
fn words(manifest: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("{DIST}/{manifest}")).unwrap();
    let (_, list) = text.split_once(&format!("{key}: [")).unwrap();
    let (list, _) = list.split_once(']').unwrap();
    serde_json::from_str(&format!("[{list}]")).unwrap()
}

#[test]
fn the_server_takes_the_command_lines_of_the_manifests() {
    for (manifest, key) in [("kubernetes/deployment.yaml", "args"), ("compose/compose.yaml", "command")] {
        let mut words = words(manifest, key);
        for word in words.iter_mut().filter(|word| *word == "/etc/letmein/users.toml") {
            SAMPLES.clone_into(word);
        }
        let ended = run(server(Udp).args(words).arg("--limits"));
        assert_eq!((ended.status, &*ended.stderr), (0, ""), "{manifest}");
    }
}

#[test]
fn the_client_takes_the_command_line_of_the_health_check() {
    let words = words("compose/compose.yaml", "test");
    assert_eq!((&*words[0], &*words[1]), ("CMD", "letmein"));
    cli::letmein::Args::command().try_get_matches_from(&words[1..]).unwrap();
}

/// A folder as kubelet makes it of a Secret with `defaultMode: 0440` and `fsGroup: 10001`, and a view of it that cannot
/// be written. Once a line arrives on standard input, the Secret has other users.
const MOUNT_A_SECRET: &str = r#"
    cd "$0" && mkdir volume view && mount -t tmpfs tmpfs volume
    fill() {
        mkdir volume/..$1 && printf "[users]\n$2\n" > volume/..$1/users.toml
        chmod 2775 volume/..$1 && chmod 0440 volume/..$1/users.toml && chgrp -R 10001 volume/..$1
        ln -s ..$1 volume/..new && mv -T volume/..new volume/..data
    }
    fill 1 "alice = 'one'"
    ln -s ..data/users.toml volume/users.toml
    chgrp 10001 volume && chmod 3777 volume
    mount --bind volume view && mount -o remount,bind,ro view
    exec 3<&0
    (read line <&3 && fill 2 "alice = 'two'" && rm -r volume/..1) &
    exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@" \
        --users "$0/view/users.toml" 3<&-
"#;

#[test]
fn a_secret_is_read_by_the_user_of_the_pod_and_again_when_it_changes() {
    let (Some(mut unshare), Some(_)) = (installed("unshare"), installed("setpriv")) else { return };
    if !installed("unshare").unwrap().args(["--mount", "true"]).status().unwrap().success() {
        println!("skipped: only root can mount");
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    unshare.args(["--mount", "sh", "-ec", MOUNT_A_SECRET]).arg(folder.path());
    unshare.args([env!("CARGO_BIN_EXE_server-udp"), "127.0.0.1:0"]);
    unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Server::spawn(Udp, &mut unshare);
    assert_eq!(server.login(&["alice", "one"]), welcome());
    server.input().write_all(b"change\n").unwrap();
    let (log, (sender, lines)) = (server.stderr.take().unwrap(), mpsc::channel());
    thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let log = iter::repeat_with(|| lines.recv_timeout(PATIENCE).expect("the change is logged"));
    let before: Vec<String> = log.take_while(|line| !line.contains("1 changed (alice)")).collect();
    assert!(!before.iter().any(|line| line.contains("WARN")), "{before:?}");
    assert_eq!(server.login(&["alice", "two"]), welcome());
}
