//! The pages of docs/bridges/, followed with the programs that they are about.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use letmein::Transport::Udp;
use tempfile::TempDir;

use crate::dist_files::{DIST, installed};
use crate::passwords::run_with_input;
use crate::running::{Ended, Server, letmein};

const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bridges");
/// Where the pages have the client, and the server.
const CLIENT: &str = "/usr/local/bin/letmein";
const ADDRESS: &str = "127.0.0.1:8591";

/// The blocks of a page that are in this language, in their order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("{PAGES}/{page}")).unwrap();
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|part| part.split_once("```").unwrap().0.to_owned()).collect()
}

/// A script of dist/ that calls the client of this build.
fn script(folder: &Path, name: &str) -> PathBuf {
    let text = fs::read_to_string(format!("{DIST}/{name}")).unwrap();
    assert_eq!(text.matches(CLIENT).count(), 1);
    let file = folder.join(Path::new(name).file_name().unwrap());
    fs::write(&file, text.replace(CLIENT, letmein().get_program().to_str().unwrap())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

/// The stacks of a folder of this test's own, in the place of /etc/pam.d.
struct Stacks {
    folder: TempDir,
}

impl Stacks {
    /// Those of the page, for this server, and `any`, which lets in whatever the name.
    fn of_the_page(server: &Server) -> Self {
        let folder = TempDir::new().unwrap();
        let script = script(folder.path(), "pam/letmein-pam");
        let pages = blocks("pam.md", "pam").into_iter().map(|text| {
            assert!(text.contains("/usr/local/bin/letmein-pam 127.0.0.1:8591"), "{text}");
            text.replace("/usr/local/bin/letmein-pam", script.to_str().unwrap())
                .replace(ADDRESS, &server.address.to_string())
        });
        let names = ["letmein-try", "with-the-system"];
        let pages: Vec<String> = pages.collect();
        assert_eq!(pages.len(), names.len());
        let any = pages[0].lines().filter(|line| line.contains("pam_exec.so")).collect::<String>() + "\n";
        for (name, text) in names.into_iter().chain(["any", "other"]).zip(pages.iter().chain([&any, &any])) {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder }
    }

    /// What pamtester says of somebody who types this.
    fn ask(&self, stack: &str, user: &str, password: &str) -> i32 {
        // Some modules ask again without end if nobody types any more.
        let mut pamtester = Command::new("timeout");
        pamtester
            .args(["60", "pamtester", stack, user, "authenticate"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        pamtester.env("LD_PRELOAD", "libpam_wrapper.so").env("PAM_WRAPPER", "1");
        pamtester.env("PAM_WRAPPER_SERVICE_DIR", self.folder.path());
        let Ended { status, stdout, stderr } = run_with_input(&mut pamtester, &format!("{password}\n"));
        let succeeded = stdout.contains("successfully authenticated");
        assert_eq!(succeeded, status == 0, "{stdout}{stderr}");
        status
    }
}

fn pam_is_here() -> bool {
    let wrapper = Command::new("true").env("LD_PRELOAD", "libpam_wrapper.so").output().unwrap();
    if !wrapper.stderr.is_empty() {
        io::stderr().write_all(b"skipped: libpam-wrapper is not installed\n").unwrap();
    }
    installed("pamtester").is_some() && wrapper.stderr.is_empty()
}

#[test]
fn pam_lets_in_whom_the_service_welcomes_and_nobody_else() {
    if !pam_is_here() {
        return;
    }
    let server = Server::with_users(
        Udp,
        "[users]\nnobody = 'one'\nroot = 'two'\n'--help' = 'three'\n'$(reboot) x' = 'four'",
    );
    let stacks = Stacks::of_the_page(&server);
    for stack in ["letmein-try", "with-the-system"] {
        assert_eq!(stacks.ask(stack, "nobody", "one"), 0, "{stack}");
        assert_eq!(stacks.ask(stack, "nobody", "wrong"), 1, "{stack}");
        assert_eq!(stacks.ask(stack, "nobody", ""), 1, "{stack}");
        assert_eq!(stacks.ask(stack, "no-such-user", "one"), 1, "{stack}");
        assert_eq!(stacks.ask(stack, "root", "two"), 1, "{stack}");
    }
    assert_eq!(stacks.ask("any", "--help", "three"), 0);
    assert_eq!(stacks.ask("any", "--version", "three"), 1);
    assert_eq!(stacks.ask("any", "$(reboot) x", "four"), 0);
    assert_eq!(stacks.ask("any", "daemon", "one"), 1);
    drop(server);
    for stack in ["letmein-try", "with-the-system", "any"] {
        assert_eq!(stacks.ask(stack, "nobody", "one"), 1, "{stack}");
    }
}
