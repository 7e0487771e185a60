//! Man pages and completions of command lines.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use proto::mechanism::Mechanism;

/// The section for those who run the service.
pub(crate) const ADMINISTRATOR: &str = "8";

/// A command line, the section of its manual, and the files that the program has to do with.
pub(crate) struct Program {
    pub(crate) command: Command,
    pub(crate) section: &'static str,
    pub(crate) files: &'static [(&'static str, &'static str)],
}

/// Writes the pages and completions of these programs into the folder that is the argument. Each page names all of
/// them, and the pages of others.
pub(crate) fn write(programs: Vec<Program>, others: &[&str]) -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("say into which folder: cargo run --example manuals FOLDER"));
    };
    let names = programs.iter().map(|program| page_name(&program.command, program.section));
    let names = names.chain(others.iter().map(|&name| name.to_owned())).collect::<Vec<_>>();
    for Program { command, section, files } in programs {
        complete(command.clone(), &folder)?;
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let pages = folder.join(format!("man/man{section}"));
        fs::create_dir_all(&pages)?;
        let page = Page { command: &command, section, files, help: HelpText::of(&command), all: &names };
        page.write_all(&pages)?;
    }
    Ok(())
}

/// Writes the completions where the shells of Debian look for them.
fn complete(command: Command, folder: &Path) -> io::Result<()> {
    let mut command = command.mut_args(with_values);
    let name = command.get_name().to_owned();
    for (shell, file) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/vendor-completions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut script);
        if shell == Shell::Bash {
            // The commands of a program with a dash in its name have one name where clap_complete finds out which it
            // is, and another where it offers their options.
            let text = String::from_utf8_lossy(&script);
            script = text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")).into_bytes();
        }
        let file = folder.join(file);
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(file, script)?;
    }
    Ok(())
}

/// An option with the values that a shell is to offer. The programs have a parser of their own for mechanisms, which
/// has no list of them.
fn with_values(option: Arg) -> Arg {
    if option.get_id() == "mechanism" {
        option.value_parser(PossibleValuesParser::new(Mechanism::ALL.map(Mechanism::name)))
    } else {
        option
    }
}

/// What stands below the options of `--help`, by the sections of a manual.
#[derive(Default)]
struct HelpText {
    description: Vec<String>,
    examples: Vec<String>,
    statuses: Vec<(String, String)>,
}

impl HelpText {
    fn of(command: &Command) -> Self {
        let mut sections = Self::default();
        let text = command.get_after_long_help().or(command.get_after_help());
        let text = text.map(ToString::to_string).unwrap_or_default();
        for paragraph in text.split("\n\n") {
            let lines = || paragraph.lines().map(str::trim_start);
            let sentence = lines().collect::<Vec<_>>().join(" ");
            if paragraph.starts_with("Example") {
                sections.examples.extend(lines().skip(1).map(str::to_owned));
            } else if let Some(list) = sentence.strip_prefix("Exit status: ") {
                sections.statuses = statuses(list);
            } else {
                sections.description.push(sentence);
            }
        }
        sections
    }
}

/// `0 done, 1 refused, or not` → 0: done; 1: refused, or not.
fn statuses(list: &str) -> Vec<(String, String)> {
    let mut statuses: Vec<(String, String)> = Vec::new();
    for piece in list.split(", ") {
        match (piece.split_once(' '), statuses.last_mut()) {
            (Some((number, meaning)), _) if number.parse::<u8>().is_ok() => {
                statuses.push((number.to_owned(), meaning.to_owned()));
            }
            (_, Some((_, meaning))) => *meaning = format!("{meaning}, {piece}"),
            (_, None) => {}
        }
    }
    statuses
}

/// `letmein-users(8)`
fn page_name(command: &Command, section: &str) -> String {
    format!("{}({section})", command.get_display_name().unwrap_or_else(|| command.get_name()))
}

struct Page<'a> {
    command: &'a Command,
    section: &'static str,
    files: &'static [(&'static str, &'static str)],
    help: HelpText,
    all: &'a [String],
}

impl Page<'_> {
    /// Writes the page, and one for each command of the command. These have its exit statuses unless they name others.
    fn write_all(&self, folder: &Path) -> io::Result<()> {
        for command in self.command.get_subcommands() {
            let mut help = HelpText::of(command);
            if help.statuses.is_empty() {
                help.statuses.clone_from(&self.help.statuses);
            }
            Page { command, help, ..*self }.write_all(folder)?;
        }
        self.write(folder)
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let about = self.command.get_long_about().or(self.command.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        let description = [&[about][..], &self.help.description].concat().join("\n\n");
        let usage = self.command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").to_owned();
        let command = self.command.clone().override_usage(usage).long_about(description);
        // The end of the help has sections of its own here, and the version is at the foot of the page.
        let command = command.after_help(None::<&str>).after_long_help(None::<&str>).version(None::<&str>);
        // clap_mangen leaves out the text of what -h leaves out.
        let command = command.mut_args(|argument| argument.hide_short_help(false));
        let page = Man::new(command)
            .section(self.section)
            .manual("letmein")
            .source(concat!("letmein ", env!("CARGO_PKG_VERSION")));
        let mut file = File::create(folder.join(page.get_filename()))?;
        page.render(&mut file)?;
        self.end().to_writer(&mut file)?;
        file.flush()
    }

    /// The sections that follow those of the options.
    fn end(&self) -> Roff {
        let mut end = Roff::new();
        if !self.help.examples.is_empty() {
            end.control("SH", ["EXAMPLES"]).control("EX", []);
            self.help.examples.iter().for_each(|example| {
                end.text([roman(example)]);
            });
            end.control("EE", []);
        }
        let statuses = self.help.statuses.iter().map(|(status, meaning)| (&**status, &**meaning));
        terms(&mut end, "EXIT STATUS", statuses);
        terms(&mut end, "FILES", self.files.iter().copied());
        let own = page_name(self.command, self.section);
        let others: Vec<_> = self.all.iter().filter(|name| **name != own).map(String::as_str).collect();
        end.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
        end
    }
}

fn terms<'a>(page: &mut Roff, title: &str, terms: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut terms = terms.peekable();
    if terms.peek().is_some() {
        page.control("SH", [title]);
    }
    for (term, meaning) in terms {
        page.control("TP", []).text([bold(term)]).text([roman(meaning)]);
    }
}
