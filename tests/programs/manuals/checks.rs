//! The man pages and the completions, beside what the programs say of themselves. A shell that is not installed is not
//! asked, and that is said. The package of the programs says which these are, and which example writes their manuals.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::{MANUALS, programs};
use crate::ended::{installed, run};

/// All that the one command writes, and a script for zsh.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("manuals-of-", env!("CARGO_PKG_NAME")));
    let _ = fs::remove_dir_all(&folder);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    // What cargo says of the package to its tests would have it build packages again that look at such variables.
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
        cargo.env_remove(name);
    }
    let ended = run(cargo.args(MANUALS).arg(&folder));
    assert_eq!(ended.status, 0, "{ended:?}");
    fs::write(folder.join("zsh/ask"), include_str!("ask.zsh")).unwrap();
    folder
});

/// A program, or one of its commands, or of the commands of these, and its `--help`.
struct Told {
    words: Vec<String>,
    help: String,
}

/// All programs, and their commands.
fn all() -> Vec<Told> {
    let programs = programs();
    assert!(!programs.is_empty());
    programs.iter().flat_map(|(name, file)| Told::all(file, &[name])).collect()
}

impl Told {
    /// This one, and the commands that it has.
    fn all(program: &Path, words: &[&str]) -> Vec<Self> {
        let told = Self::of(program, words);
        let commands = first_words(told.section("Commands:")).into_iter().filter(|name| name != "help");
        let commands = commands.flat_map(|command| Self::all(program, &[words, &[&*command]].concat()));
        commands.collect::<Vec<_>>().into_iter().chain([told]).collect()
    }

    fn of(program: &Path, words: &[&str]) -> Self {
        let help = match words {
            // Where a command answers by its status, this is the way to its help.
            [_, command] => run(Command::new(program).args(["help", command])),
            _ => run(Command::new(program).args(&words[1..]).arg("--help")),
        };
        assert_eq!(help.status, 0, "{help:?}");
        // Packages may give a program another name than its file has.
        let file = program.file_name().unwrap().to_str().unwrap();
        let help = help.stdout.replace(&format!("{file} "), &format!("{} ", words[0]));
        Self { words: words.iter().map(|&word| word.to_owned()).collect(), help }
    }

    fn section(&self, title: &str) -> impl Iterator<Item = &str> {
        let lines = self.help.lines().skip_while(move |line| *line != title).skip(1);
        lines.take_while(|line| line.is_empty() || line.starts_with(' '))
    }

    fn options(&self) -> BTreeSet<String> {
        // What stands farther to the right are explanations.
        let lines = self.help.lines().filter(|line| line.len() - line.trim_start().len() < 10);
        let options: BTreeSet<_> = lines.flat_map(options).collect();
        assert!(options.contains("--help"), "{}", self.help);
        options
    }

    /// What is typed before an option is asked for.
    fn line(&self) -> String {
        self.words.join(" ") + " -"
    }

    /// Its man page, without fonts.
    fn page(&self) -> String {
        let name = self.words.join("-");
        let pages = [1, 8].map(|section| FOLDER.join(format!("man/man{section}/{name}.{section}")));
        let pages: Vec<_> = pages.iter().filter_map(|page| fs::read_to_string(page).ok()).collect();
        let [page] = &pages[..] else { panic!("{name} has {} pages", pages.len()) };
        [r"\fB", r"\fI", r"\fR", r"\&"]
            .iter()
            .fold(page.replace(r"\-", "-"), |page, font| page.replace(font, ""))
    }
}

/// The options that a line begins with: `-q, --quiet <WORD>`.
fn options(line: &str) -> Vec<String> {
    let words = line.split_whitespace().map(|word| word.trim_end_matches(','));
    words.take_while(|word| word.starts_with('-')).map(str::to_owned).collect()
}

fn first_words<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The words that a shell offers.
pub(super) fn offered(shell: &mut Command) -> BTreeSet<String> {
    let ended = run(shell);
    assert_eq!((ended.status, &*ended.stderr), (0, ""), "{}", ended.stdout);
    first_words(ended.stdout.lines()).into_iter().collect()
}

/// Those of the words which are options.
fn offered_options(shell: &mut Command) -> BTreeSet<String> {
    offered(shell).into_iter().filter(|word| word.starts_with('-')).collect()
}

/// As bash calls the function that the script names: with the program, the word, and the word before it.
pub(super) fn bash(program: &str, line: &str) -> Command {
    let ask = r#"source "$1"; read -ra COMP_WORDS <<<"$2"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        [[ $(complete -p "${COMP_WORDS[0]}") =~ -F\ ([^ ]+) ]]
        "${BASH_REMATCH[1]}" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let script = FOLDER.join("bash-completion/completions").join(program);
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-euc", ask, "bash"]).arg(script).arg(line);
    bash
}

pub(super) fn zsh(line: &str) -> Command {
    let mut zsh = Command::new("timeout");
    zsh.args(["60", "zsh", "-f"])
        .arg(FOLDER.join("zsh/ask"))
        .arg(FOLDER.join("zsh/vendor-completions"))
        .arg(line);
    zsh
}

pub(super) fn fish(program: &str, line: &str) -> Command {
    let script = FOLDER.join(format!("fish/vendor_completions.d/{program}.fish"));
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", &format!("source {}; complete -C '{line}'", script.display())]);
    fish
}

#[test]
fn a_man_page_has_the_options_of_the_help_and_no_others() {
    for told in all() {
        let page = told.page();
        let entries = || page.split(".TP\n").skip(1).map(|entry| entry.split_once('\n').unwrap());
        assert_eq!(
            entries().flat_map(|(header, _)| options(header)).collect::<BTreeSet<_>>(),
            told.options()
        );
        for (header, text) in entries() {
            assert!(text.starts_with(char::is_alphanumeric), "{header} has no text: {page}");
        }
    }
}

#[test]
fn a_man_page_has_the_sections_and_the_examples_that_are_expected() {
    for told in all() {
        let page = told.page();
        for title in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "\"SEE ALSO\""] {
            assert_eq!(page.matches(&format!("\n.SH {title}\n")).count(), 1, "{title}: {page}");
        }
        for example in told.section("Examples:").map(str::trim_start).filter(|line| !line.is_empty()) {
            assert!(page.lines().any(|line| line == example), "{example}: {page}");
        }
    }
}

#[test]
fn man_shows_the_pages_without_a_warning_and_finds_what_they_are_about() {
    let (Some(_), Some(_)) = (installed("man"), installed("lexgrog")) else { return };
    for section in fs::read_dir(FOLDER.join("man")).unwrap().map(|section| section.unwrap().path()) {
        for page in fs::read_dir(section).unwrap().map(|page| page.unwrap().path()) {
            let mut man = Command::new("man");
            man.env("LC_ALL", "C.UTF-8").args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]);
            let ended = run(man.arg(&page));
            assert_eq!((ended.status, &*ended.stderr), (0, ""), "{page:?}");
            let ended = run(Command::new("lexgrog").arg(&page));
            assert_eq!(ended.status, 0, "{ended:?}");
        }
    }
}

#[test]
fn bash_offers_the_options_of_the_help_and_no_others() {
    let Some(_) = installed("bash") else { return };
    for told in all() {
        let offered = offered_options(&mut bash(&told.words[0], &told.line()));
        assert_eq!(offered, told.options(), "{:?}", told.words);
    }
}

#[test]
fn zsh_offers_the_options_of_the_help_and_no_others() {
    let Some(_) = installed("zsh") else { return };
    for told in all() {
        assert_eq!(offered_options(&mut zsh(&told.line())), told.options(), "{:?}", told.words);
    }
}

#[test]
fn fish_offers_the_options_of_the_help_and_no_others() {
    let Some(_) = installed("fish") else { return };
    for told in all() {
        let offered = offered_options(&mut fish(&told.words[0], &told.line()));
        assert_eq!(offered, told.options(), "{:?}", told.words);
    }
}
