//! The units for systemd, as systemd reads them. Where it is not installed they are not tested, and that is said.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::dist_files::DIST;
use crate::running::{Ended, TRANSPORTS, installed, run, server};

const UNITS: [&str; 6] = [
    "letmein-auth-udp.service",
    "letmein-auth-tcp.service",
    "letmein-auth-http.service",
    "letmein-auth-udp.socket",
    "letmein-auth-tcp.socket",
    "letmein-sync.service",
];
/// The units of the servers.
const SERVERS: [&str; 2] = [UNITS[0], UNITS[1]];

fn unit(name: &str) -> String {
    fs::read_to_string(format!("{DIST}/systemd/{name}")).unwrap()
}

/// A system with these units, the programs that they name, and systemd's own targets.
fn system(change: impl Fn(String) -> String) -> TempDir {
    let root = TempDir::new().unwrap();
    let units = root.path().join("etc/systemd/system");
    fs::create_dir_all(&units).unwrap();
    for name in UNITS {
        fs::write(units.join(name), change(unit(name))).unwrap();
    }
    for program in [
        "usr/sbin/server-udp",
        "usr/sbin/server-tcp",
        "usr/bin/letmein-http",
        "usr/sbin/letmein-sync",
        "bin/kill",
    ] {
        let program = root.path().join(program);
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let targets = Path::new("usr/lib/systemd/system");
    fs::create_dir_all(root.path().join(targets)).unwrap();
    for entry in fs::read_dir(Path::new("/").join(targets)).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "target") {
            fs::copy(entry.path(), root.path().join(targets).join(entry.file_name())).unwrap();
        }
    }
    root
}

/// What systemd says of the units of a system; nothing, if they are right.
fn complaints(root: &TempDir, analyze: &mut Command) -> String {
    let Ended { status, stdout, stderr } =
        run(analyze.args(["verify", "--man=no", "--root"]).arg(root.path()).args(UNITS));
    let said = stdout + &stderr;
    assert!(status == 0 || !said.is_empty());
    said
}

#[test]
fn systemd_reads_the_units_without_a_complaint_and_has_one_of_a_mistake() {
    let Some(mut analyze) = installed("systemd-analyze") else { return };
    assert_eq!(complaints(&system(|unit| unit), &mut analyze), "");
    for (right, wrong) in [
        ("ProtectHome=", "ProtectHom="),
        ("setpriority", "setpriorit"),
        ("Type=notify", "Type=notif"),
        ("/usr/sbin/server-", "/usr/sbin/serve-"),
        ("BindIPv6Only=both", "BindIPv6Only=bot"),
    ] {
        let Some(mut analyze) = installed("systemd-analyze") else { return };
        assert_ne!(complaints(&system(|unit| unit.replace(right, wrong)), &mut analyze), "", "{wrong}");
    }
}

#[test]
fn systemd_reads_the_other_ways_to_the_users_and_to_the_key_without_a_complaint() {
    for name in ["credential.conf", "key.conf", "synced.conf"] {
        let Some(mut analyze) = installed("systemd-analyze") else { return };
        let root = system(|unit| unit);
        for service in SERVERS {
            let folder = root.path().join(format!("etc/systemd/system/{service}.d"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), unit(&format!("{service}.d/{name}.example"))).unwrap();
        }
        assert_eq!(complaints(&root, &mut analyze), "", "{name}");
    }
}

#[test]
fn what_a_service_is_exposed_to_by_its_unit_is_at_most_1_5() {
    let Some(mut analyze) = installed("systemd-analyze") else { return };
    analyze.args(["security", "--offline=true", "--threshold=15", "--no-pager"]);
    let services = UNITS.iter().filter(|unit| unit.ends_with(".service"));
    let Ended { status, stdout, stderr } =
        run(analyze.args(services.map(|service| format!("{DIST}/systemd/{service}"))));
    assert_eq!(stdout.matches("Overall exposure level").count(), 4, "{stdout}{stderr}");
    assert_eq!(status, 0, "{stdout}{stderr}");
}

#[test]
fn the_units_of_both_servers_differ_in_nothing_but_their_transport() {
    let settings = |name: &str| {
        let text = unit(name).to_lowercase();
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.replace("tcp", "udp"));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(settings(SERVERS[0]), settings(SERVERS[1]));
}

/// The server takes the very words that are in the unit, with the defaults that the package has.
#[test]
fn the_command_lines_of_the_units_are_right() {
    for (service, transport) in SERVERS.into_iter().zip(TRANSPORTS) {
        let unit = unit(service);
        let commands: Vec<_> = unit
            .lines()
            .filter_map(|line| line.split_once("=/usr/sbin/server-"))
            .map(|(_, words)| words)
            .collect();
        assert_eq!(commands.len(), 2, "{unit}");
        for command in commands {
            let words =
                command.split(' ').skip(1).filter(|word| *word != "$OPTIONS").map(|word| match word {
                    "$ADDRESS" => "8591",
                    "/etc/letmein/users.toml" => crate::running::SAMPLES,
                    word => word,
                });
            let mut server = server(transport);
            server.args(words);
            // Else it would go on serving.
            if !command.contains("--check") {
                server.arg("--limits");
            }
            let Ended { status, stdout, stderr } = run(&mut server);
            assert_eq!(status, 0, "{command}: {stdout}{stderr}");
        }
    }
}

#[test]
fn the_sockets_that_the_package_proposes_are_in_the_folders_of_the_units() {
    for service in SERVERS {
        let (unit, name) = (unit(service), service.trim_end_matches(".service"));
        assert!(unit.contains(&format!("\nRuntimeDirectory={name}\n")), "{unit}");
        let options = fs::read_to_string(format!("{DIST}/debian/default/{name}")).unwrap();
        assert!(options.contains(&format!(" --exchange /run/{name}/exchange.sock")), "{options}");
    }
}
