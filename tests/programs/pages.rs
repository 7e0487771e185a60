//! What holds for all pages: links lead somewhere, and command lines are ones that the programs take.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use letmein::cli;
use proto::transport::Transport::{Tcp, Udp};

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The fenced blocks of a page, in their order: language and text.
pub(crate) fn fences(page: &str) -> Vec<(String, String)> {
    let mut fences: Vec<(String, String)> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_inside = !is_inside;
            if is_inside {
                fences.push((language.to_owned(), String::new()));
            }
        } else if let (true, Some((_, text))) = (is_inside, fences.last_mut()) {
            *text += &format!("{line}\n");
        }
    }
    fences
}

/// The lines that are in no fenced block.
fn outside_fences(page: &str) -> impl Iterator<Item = &str> {
    page.split("\n```").step_by(2).flat_map(str::lines)
}

/// All pages of the repository.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![PathBuf::from(ROOT)];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !path.is_symlink() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 10);
    pages
}

/// The targets of a page's links to other files and to its own headings.
fn links(page: &str) -> Vec<&str> {
    let ends = outside_fences(page).flat_map(|line| line.split("](").skip(1));
    let targets = ends.map(|end| end.split([')', ' ']).next().unwrap());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// The anchor that a web page makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(page: &str, wanted: &str) -> bool {
    let headings = outside_fences(page).filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim_start())).any(|anchor| anchor == wanted)
}

#[test]
fn each_link_leads_to_a_file_and_to_a_heading_that_are_there() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            let leads_there = || has_anchor(&fs::read_to_string(&target).unwrap(), heading);
            assert!(heading.is_empty() || leads_there(), "{}: {link}", page.display());
        }
    }
}

#[test]
fn each_page_that_a_page_names_is_there() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !"/.-_".contains(c)) {
            if word.starts_with("docs/") && word.ends_with(".md") {
                assert!(Path::new(ROOT).join(word).exists(), "{}: {word}", page.display());
            }
        }
    }
}

/// The command line of a program, as the program defines it.
fn definition(program: &str) -> Option<clap::Command> {
    Some(match program {
        "letmein" => cli::letmein::Args::command(),
        "letmein-http" => cli::http::Args::command(),
        "exchange" => cli::exchange::Args::command(),
        "server-udp" => cli::server::command(Udp),
        "server-tcp" => cli::server::command(Tcp),
        "letmein-users" => letmein_users::Args::command(),
        "letmein-bench" => letmein_bench::Args::command(),
        _ => return None,
    })
}

/// The commands in the indented blocks of a page, each as its words.
fn commands(page: &str) -> Vec<Vec<String>> {
    let lines = outside_fences(page).filter_map(|line| line.strip_prefix("    "));
    let lines = lines.map(|line| line.split("  #").next().unwrap().replace("$(pidof server-udp)", "1"));
    let separated = lines.map(|line| line.replace(" && ", " | ").replace(" < ", " | ").replace(" > ", " | "));
    separated.flat_map(|line| line.split(" | ").map(words).collect::<Vec<_>>()).collect()
}

/// The words of a command, without variables that are set for it.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate().flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().collect(),
        _ => vec![part],
    });
    parts.skip_while(|word| word.contains('=')).map(str::to_owned).collect()
}

#[test]
fn the_programs_take_the_commands_of_the_pages() {
    let mut taken = 0;
    for page in pages() {
        for words in commands(&fs::read_to_string(&page).unwrap()) {
            let Some(definition) = words.first().and_then(|program| definition(program)) else { continue };
            let parsed = definition.try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{}: {words:?}: {}", page.display(), parsed.unwrap_err());
            taken += 1;
        }
    }
    assert!(taken > 50, "{taken}");
}
