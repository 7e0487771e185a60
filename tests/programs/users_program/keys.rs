//! The keys that servers of a cluster share: added, replaced and listed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::server::keyring::ClusterKey;
use users::{parse_cluster_keys, parse_second, second_text};

use super::{Folder, done};
use crate::running::{Ended, letmein_users, run};

/// Keys of 2001, each of which replaces the one before, and one of 2099.
const OLD: &str = "2001-01-01T00:00:00Z AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const PRESENT: &str = "2001-01-02T00:00:00Z AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE";
const FUTURE: &str = "2099-01-01T00:00:00Z AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI";

/// A folder with a file of cluster keys in it, and no users.
struct Site(Folder);

impl Site {
    fn empty() -> Self {
        Self(Folder::empty())
    }

    fn with(text: &str) -> Self {
        let site = Self::empty();
        fs::write(site.file(), text).unwrap();
        site.set_mode(0o600);
        site
    }

    fn file(&self) -> PathBuf {
        self.0.0.path().join("cluster.key")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.file(), Permissions::from_mode(mode)).unwrap();
    }

    fn keys(&self) -> Vec<ClusterKey> {
        parse_cluster_keys(&self.text()).unwrap()
    }

    /// When each key takes effect.
    fn seconds(&self) -> Vec<String> {
        self.keys().iter().map(|key| second_text(key.from_unix_s).unwrap()).collect()
    }

    /// What was said, with the file's name as FILE. No key is ever shown.
    fn run(&self, args: &[&str]) -> Ended {
        let ended = self.0.run(&[&["keys"], args].concat());
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
        let keys = lines.filter_map(|line| line.split(' ').nth(1));
        keys.for_each(|key| assert!(!format!("{ended:?}").contains(key), "{ended:?}"));
        let shown = |text: String| text.replace(self.file().to_str().unwrap(), "FILE");
        Ended { status: ended.status, stdout: shown(ended.stdout), stderr: shown(ended.stderr) }
    }
}

/// The lines of a file.
fn text(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What a key of a line is known by.
fn id(line: &str) -> String {
    parse_cluster_keys(line).unwrap()[0].id().to_string()
}

#[expect(clippy::disallowed_methods, reason = "the program reads the same clock")]
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_file_is_made_that_nobody_reads_who_does_not_read_the_users() {
    for (users_mode, mode) in [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640)] {
        let site = Site::empty();
        fs::write(site.0.file(), "[users]\n").unwrap();
        fs::set_permissions(site.0.file(), Permissions::from_mode(users_mode)).unwrap();
        assert_eq!(site.run(&["add"]).status, 0);
        assert_eq!(fs::metadata(site.file()).unwrap().mode() & 0o7777, mode);
    }
}

#[test]
fn the_first_key_makes_the_file_and_is_active_from_now_on() {
    let site = Site::empty();
    let before = unix_s();
    let Ended { status, stdout, stderr } = site.run(&["add"]);
    let next =
        "letmein-users: copy FILE to every server of the cluster, and start each with --cluster-key FILE\n";
    assert_eq!((status, &*stderr), (0, next));
    let keys = site.keys();
    let [key] = &keys[..] else { panic!("{} keys", keys.len()) };
    assert!((before..=unix_s()).contains(&key.from_unix_s), "{}", key.from_unix_s);
    assert_eq!(stdout, format!("{}  {}\n", key.id(), second_text(key.from_unix_s).unwrap()));
    assert_eq!(fs::metadata(site.file()).unwrap().mode() & 0o7777, 0o600);
    site.0.assert_tidy();
    let other = Site::empty();
    other.run(&["add"]);
    assert_ne!(other.keys()[0].bytes, keys[0].bytes);
}

#[test]
fn a_file_without_a_key_gets_a_first_one_and_the_first_may_count_later() {
    for text in ["", "# none yet\n\n"] {
        let site = Site::with(text);
        assert_eq!(site.run(&["add"]).status, 0, "{text:?}");
        assert_eq!(site.keys().len(), 1);
    }
    let site = Site::empty();
    assert_eq!(site.run(&["add", "--from", "2099-01-01T00:00:00Z"]).status, 0);
    assert_eq!(site.seconds(), ["2099-01-01T00:00:00Z"]);
}

#[test]
fn a_key_that_is_added_takes_effect_in_the_second_that_is_given() {
    let site = Site::with(&text(&["# ours", FUTURE, PRESENT]));
    let Ended { status, stdout, stderr } = site.run(&["add", "--from", "2098-12-31T23:59:59Z"]);
    let next = "letmein-users: copy FILE to every server of the cluster before 2098-12-31T23:59:59Z: from then on, a \
                login that begins at a server with the key may fail at one without it\n";
    assert_eq!((status, &*stderr), (0, next));
    assert_eq!(site.seconds(), ["2001-01-02T00:00:00Z", "2098-12-31T23:59:59Z", "2099-01-01T00:00:00Z"]);
    let keys = site.keys();
    assert_eq!([&keys[0], &keys[2]].map(|key| key.id().to_string()), [PRESENT, FUTURE].map(id));
    assert_eq!(stdout, format!("{}  2098-12-31T23:59:59Z\n", keys[1].id()));
    let before = unix_s();
    let Ended { status, stdout, .. } = site.run(&["add", "--from", "+1h"]);
    assert_eq!(status, 0);
    let from = parse_second(stdout.trim_end().split("  ").nth(1).unwrap()).unwrap();
    assert!((before + 3600..=unix_s() + 3600).contains(&from), "{stdout}");
    assert_eq!((site.keys()[1].from_unix_s, site.keys().len()), (from, 4));
    site.0.assert_tidy();
}

#[test]
fn a_key_that_was_replaced_long_ago_is_taken_out_and_that_is_said() {
    let site = Site::with(&text(&[OLD, PRESENT, FUTURE]));
    let Ended { status, stderr, .. } = site.run(&["add", "--from", "+30m"]);
    assert_eq!((status, stderr.lines().count()), (0, 2), "{stderr}");
    let said = format!(
        "letmein-users: took out the key {} of 2001-01-01T00:00:00Z, which was replaced more than an hour ago\n",
        id(OLD)
    );
    assert!(stderr.starts_with(&said), "{stderr}");
    assert_eq!(site.keys().len(), 3);
    assert!(!site.text().contains(OLD) && site.text().contains(PRESENT) && site.text().contains(FUTURE));
}

#[test]
fn a_key_that_is_refused_leaves_the_file_as_it_was() {
    let sixteen: Vec<_> = (0..16).map(|day| FUTURE.replace("01-01", &format!("01-{:02}", day + 1))).collect();
    let sixteen: Vec<_> = sixteen.iter().map(String::as_str).collect();
    let present = text(&["# ours", PRESENT, "  # mine", FUTURE]);
    let makes_fail =
        "a key that takes effect before every server has it can make logins fail, so nothing was changed: ";
    for (text, args, reason) in [
        (
            &present,
            &["add"][..],
            &*format!("FILE: a new {}say when it does, as in --from +1h\n", &makes_fail[2..]),
        ),
        (
            &present,
            &["add", "--from", "2001-01-03T00:00:00Z"],
            &format!(
                "FILE: 2001-01-03T00:00:00Z is not in the future, and {makes_fail}give a later second, as in --from +1h\n"
            ),
        ),
        (
            &present,
            &["add", "--from", "2099-01-01T00:00:00Z"],
            "FILE: another key takes effect at 2099-01-01T00:00:00Z already, so nothing was changed: give another second \
             with --from\n",
        ),
        (
            &text(&sixteen),
            &["add", "--from", "+1h"],
            "FILE: it has 16 keys already, the most there may be, so nothing was changed: wait until one has been replaced \
             for an hour, or take out keys that are not active yet, here and at every server\n",
        ),
    ] {
        let site = Site::with(text);
        let Ended { status, stdout, stderr } = site.run(args);
        assert_eq!((status, &*stdout, stderr), (2, "", format!("letmein-users: {reason}")), "{args:?}");
        assert_eq!(site.text(), *text);
        site.0.assert_tidy();
    }
}

#[test]
fn a_time_that_is_none_is_told_with_what_is_one() {
    for time in ["1h", "+1y", "+", "now", "2099-01-01", "2099-01-01T00:00:00"] {
        let site = Site::with(&text(&[PRESENT]));
        let args = ["keys", "add", "--from", time, "--cluster-key"];
        let Ended { status, stderr, .. } = run(letmein_users().args(args).arg(site.file()));
        let reason = format!(
            "\ninvalid time {time:?}: write + and a time from now, as in +1h, or a second of UTC, as in \
             2027-01-31T12:00:00Z\n"
        );
        assert!(status == 2 && stderr.contains(&reason), "{stderr}");
        assert!(stderr.ends_with("\nExample: letmein-users keys add --from +1h\n"), "{stderr}");
        assert_eq!(site.text(), text(&[PRESENT]));
    }
}

#[test]
fn the_owner_and_the_mode_of_the_file_stay() {
    let site = Site::with(&text(&[PRESENT]));
    let is_root = chown(site.file(), Some(12), Some(34)).is_ok();
    site.set_mode(0o640);
    assert_eq!(site.run(&["add", "--from", "+1h"]).status, 0);
    let metadata = fs::metadata(site.file()).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert!(!is_root || (metadata.uid(), metadata.gid()) == (12, 34));
}

#[test]
fn a_link_stays_and_the_file_that_it_leads_to_is_replaced() {
    let (site, other) = (Site::with(&text(&[PRESENT])), Site::empty());
    symlink(site.file(), other.file()).unwrap();
    assert_eq!(other.run(&["add", "--from", "+1h"]).status, 0);
    assert!(fs::symlink_metadata(other.file()).unwrap().is_symlink());
    assert_eq!(site.keys().len(), 2);
}

#[test]
fn keys_that_are_added_at_once_are_all_there() {
    let site = Site::with(&text(&[PRESENT]));
    thread::scope(|scope| {
        for day in 1..=15 {
            let site = &site;
            scope.spawn(move || {
                let from = format!("2098-01-{day:02}T00:00:00Z");
                assert_eq!(site.run(&["add", "--from", &from]).status, 0);
            });
        }
    });
    let days = (1..=15).map(|day| format!("2098-01-{day:02}T00:00:00Z"));
    let seconds: Vec<_> = ["2001-01-02T00:00:00Z".to_owned()].into_iter().chain(days).collect();
    assert_eq!(site.seconds(), seconds);
    site.0.assert_tidy();
}

#[test]
fn of_first_keys_that_are_added_at_once_one_is_added_and_the_others_need_a_time() {
    let site = Site::empty();
    let add = || site.run(&["add"]).status;
    let mut statuses = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    statuses.sort_unstable();
    assert_eq!((statuses, site.keys().len()), (vec![0, 2, 2, 2], 1));
}

#[test]
fn a_list_says_of_each_key_whether_it_is_active_and_keeps_the_key() {
    let site = Site::with(&text(&[FUTURE, OLD, PRESENT]));
    let [old, present, future] = [OLD, PRESENT, FUTURE].map(id);
    let table = format!(
        "\
KEY               FROM                  STATE
{old}  2001-01-01T00:00:00Z  retired
{present}  2001-01-02T00:00:00Z  active
{future}  2099-01-01T00:00:00Z  pending
"
    );
    assert_eq!(site.run(&["list"]), done(&table));
    let json = format!(
        "[{{\"key\":\"{old}\",\"from\":\"2001-01-01T00:00:00Z\",\"state\":\"retired\"}},\
         {{\"key\":\"{present}\",\"from\":\"2001-01-02T00:00:00Z\",\"state\":\"active\"}},\
         {{\"key\":\"{future}\",\"from\":\"2099-01-01T00:00:00Z\",\"state\":\"pending\"}}]\n"
    );
    assert_eq!(site.run(&["list", "--json"]), done(&json));
    assert_eq!(site.text(), text(&[FUTURE, OLD, PRESENT]));
}

#[test]
fn the_file_is_beside_the_users_unless_another_is_named() {
    let (site, other) = (Site::with(&text(&[PRESENT])), Site::empty());
    let named = other.file();
    let named = ["--cluster-key", named.to_str().unwrap()];
    assert_eq!(site.run(&["add", named[0], named[1]]).status, 0);
    assert_eq!((site.text(), other.keys().len()), (text(&[PRESENT]), 1));
    let listed = site.run(&["list", named[0], named[1]]);
    assert!(listed.stdout.contains(&other.keys()[0].id().to_string()), "{listed:?}");
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_line_and_a_remedy() {
    let damaged = PRESENT.trim_end_matches('E');
    let wrong = text(&["# ours", damaged, "and so on", FUTURE]);
    let lines = "letmein-users: FILE:2:1: the key is damaged: copy the file from another server of the cluster\n\
                 letmein-users: FILE:3:1: a line is the second in which a key takes effect, a space, and the key\n";
    let open = "letmein-users: FILE: writable by everybody, who could forge addresses: chmod o-w the file\n";
    for (text, mode, reasons) in [(&wrong, 0o600, lines), (&text(&[PRESENT]), 0o602, open)] {
        for args in [&["list"][..], &["list", "--json"], &["add", "--from", "+1h"]] {
            let site = Site::with(text);
            site.set_mode(mode);
            let Ended { status, stdout, stderr } = site.run(args);
            assert_eq!((status, &*stdout, &*stderr), (2, "", reasons), "{args:?}");
            assert_eq!(site.text(), *text);
            site.0.assert_tidy();
        }
    }
    let missing = "letmein-users: FILE: No such file or directory (os error 2): copy it from another server of the \
                   cluster, or make it with letmein-users keys add --cluster-key FILE\n";
    let Ended { status, stderr, .. } = Site::empty().run(&["list"]);
    assert_eq!((status, &*stderr), (2, missing));
    for args in [["list", "--cluster-key", "/no/such/file"], ["add", "--cluster-key", "/no/such/file"]] {
        let Ended { status, stderr, .. } = Site::empty().run(&args);
        assert!(
            status == 2 && stderr.ends_with("(os error 2): create the folder /no/such first\n"),
            "{stderr}"
        );
    }
}

#[test]
fn a_file_that_others_can_read_is_used_with_a_warning() {
    let warning = "letmein-users: warning: FILE: others can read the keys in it, and forge addresses, and logins \
                   once they have the key of the records, too: chmod o-r FILE\n";
    for args in [&["list"][..], &["add", "--from", "+1h"]] {
        let site = Site::with(&text(&[PRESENT]));
        site.set_mode(0o644);
        let Ended { status, stderr, .. } = site.run(args);
        assert!(status == 0 && stderr.starts_with(warning), "{stderr}");
    }
}

#[test]
fn help_is_one_screen_if_it_is_asked_for_in_short_and_has_examples_in_full() {
    for command in ["add", "list"] {
        let Ended { status, stdout, .. } = run(letmein_users().args(["keys", command, "-h"]));
        let width = stdout.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(status == 0 && stdout.lines().count() <= 24 && width <= 80, "{stdout}");
        let Ended { status, stdout, .. } = run(letmein_users().args(["keys", command, "--help"]));
        assert!(status == 0 && stdout.contains(&format!("  letmein-users keys {command}")), "{stdout}");
        assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    }
}
