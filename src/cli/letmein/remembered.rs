//! `~/.config/letmein/servers.toml`: by which mechanism each user logs in at each server.
//!
//! ```toml
//! ["gate.example:8591"]
//! alice = "opaque"
//! ```

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::mechanism_named;
use crate::cli::normal;
use client::host_port::HostPort;
use client::login::DEFAULT_PORT;
use proto::credentials::Username;
use proto::mechanism::Mechanism;

/// How the file looks, for messages.
const EXAMPLE: &str = r#"write a section for each server, as in ["gate.example:8591"], and in it lines such as alice = "opaque""#;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("cannot read {path}: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error("{path}:{line}: {problem}")]
    Malformed { path: String, line: usize, problem: String },
    #[error("there is no folder to remember servers in: set HOME or XDG_CONFIG_HOME")]
    NoFolder,
    #[error("cannot write {path}: {error}")]
    Unwritable { path: String, error: io::Error },
    #[error("cannot change {path}: add {entry} there, in the section [{section}]")]
    Unfamiliar { path: String, section: String, entry: String },
}

/// What is remembered of one user at one server.
struct Entry {
    server: HostPort,
    user: String,
    mechanism: Mechanism,
    /// Where the mechanism is in the text.
    place: Range<usize>,
}

/// What a file says.
#[derive(Default)]
pub(super) struct Remembered {
    entries: Vec<Entry>,
    /// The servers that have a section, and where their names are in the text.
    sections: Vec<(HostPort, Range<usize>)>,
}

/// Something that is wrong at a place in the text.
struct Problem {
    place: usize,
    what: String,
}

/// What is remembered; nothing if there is no file.
pub(super) fn load() -> Result<Remembered, Unusable> {
    path().map_or_else(|| Ok(Remembered::default()), |path| Ok(read(&path)?.1))
}

/// Remembers a mechanism of a user at servers. The rest of the file stays as it is.
pub(super) fn remember<'s>(
    servers: impl Iterator<Item = &'s HostPort>,
    user: &Username,
    mechanism: Mechanism,
) -> Result<(), Unusable> {
    let path = path().ok_or(Unusable::NoFolder)?;
    let unwritable = |error| Unusable::Unwritable { path: path.display().to_string(), error };
    let folder = path.parent().unwrap_or(&path);
    make_folder(folder).map_err(unwritable)?;
    let _lock = lock(folder).map_err(unwritable)?;
    let (before, mut remembered) = read(&path)?;
    let mut text = before.clone();
    for server in servers {
        text = remembered.with(&text, server, user, mechanism);
        // What is there to be found again is right.
        let found = Remembered::parse(&text).ok();
        let found = found.filter(|it| it.mechanism(server, user) == Some(mechanism));
        remembered = found.ok_or_else(|| Unusable::Unfamiliar {
            path: path.display().to_string(),
            section: quoted(&server.to_string()),
            entry: entry(user, mechanism),
        })?;
    }
    if text == before { Ok(()) } else { write(&path, &text).map_err(unwritable) }
}

/// Where the file is: XDG Base Directory Specification, and on Windows the folder of roaming settings.
fn path() -> Option<PathBuf> {
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let at_home = || match cfg!(windows) {
        true => folder("APPDATA"),
        false => folder("HOME").map(|home| home.join(".config")),
    };
    let settings = folder("XDG_CONFIG_HOME").or_else(at_home)?;
    Some(settings.join("letmein").join("servers.toml"))
}

fn read(path: &Path) -> Result<(String, Remembered), Unusable> {
    let text = match read_text(path) {
        // What this user cannot even see is not theirs: services have homes such as /dev/null, or those of others.
        Err(_) if is_out_of_sight(path) => String::new(),
        read => read.map_err(|error| Unusable::Unreadable { path: path.display().to_string(), error })?,
    };
    let remembered = Remembered::parse(&text).map_err(|Problem { place, what }| Unusable::Malformed {
        path: path.display().to_string(),
        line: 1 + text.get(..place).unwrap_or(&text).matches('\n').count(),
        problem: what,
    })?;
    Ok((text, remembered))
}

fn is_out_of_sight(path: &Path) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let kind = fs::symlink_metadata(path).err().map(|error| error.kind());
    kind.is_some_and(|kind| matches!(kind, NotFound | NotADirectory | PermissionDenied))
}

/// The text of a file. One that everybody can write is refused: they could choose the weaker mechanism for others.
fn read_text(path: &Path) -> io::Result<String> {
    // /dev/null and the like have nothing to say, or never end.
    if fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir()) {
        return Ok(String::new());
    }
    let mut file = fs::File::open(path)?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&file.metadata()?) & 0o002 != 0 {
        return Err(io::Error::other(
            "writable by everybody, who could choose the weaker mechanism: chmod o-w the file",
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

impl Remembered {
    /// The mechanism by which a user logs in at a server.
    pub(super) fn mechanism(&self, server: &HostPort, user: &Username) -> Option<Mechanism> {
        self.entry(server, user).map(|entry| entry.mechanism)
    }

    fn entry(&self, server: &HostPort, user: &Username) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.user == user.as_str() && is_same(&entry.server, server))
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let document = DeTable::parse(text).map_err(|error| Problem {
            place: error.span().unwrap_or_default().start,
            what: format!("{}: {EXAMPLE}", error.message()),
        })?;
        let mut remembered = Self::default();
        for (key, value) in document.get_ref() {
            remembered.section(key.get_ref(), key.span(), value)?;
        }
        Ok(remembered)
    }

    fn section(
        &mut self,
        name: &str,
        place: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), Problem> {
        let problem = |what| Problem { place: place.start, what };
        let Some(table) = value.get_ref().as_table() else {
            return Err(problem(format!("{name} is not in the section of a server: {EXAMPLE}")));
        };
        let server = HostPort::parse(name, Some(DEFAULT_PORT))
            .map_err(|error| problem(format!("{name:?}: {error}")))?;
        for (user, value) in table {
            let place = value.span();
            let mechanism = value.get_ref().as_str().and_then(mechanism_named).ok_or_else(|| Problem {
                place: place.start,
                what: if value.get_ref().is_table() {
                    format!("the name of a server goes in quotes: {EXAMPLE}")
                } else {
                    format!("{} has no mechanism: write \"md5\" or \"opaque\"", user.get_ref())
                },
            })?;
            let user = normal::name(user.get_ref()).into_owned();
            if self.entries.iter().any(|entry| entry.user == user && is_same(&entry.server, &server)) {
                let what =
                    format!("{user} has a mechanism at {server} already: take one of the two lines out");
                return Err(Problem { place: place.start, what });
            }
            self.entries.push(Entry { server: server.clone(), user, mechanism, place });
        }
        self.sections.push((server, place));
        Ok(())
    }

    /// The text, of which this was read, with one more entry or another mechanism in one.
    fn with(&self, text: &str, server: &HostPort, user: &Username, mechanism: Mechanism) -> String {
        let mut text = text.to_owned();
        if let Some(entry) = self.entry(server, user) {
            if entry.mechanism != mechanism {
                text.replace_range(entry.place.clone(), &quoted(mechanism.name()));
            }
            return text;
        }
        let line = format!("{}\n", entry(user, mechanism));
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        match self.sections.iter().find(|(other, _)| is_same(other, server)) {
            Some((_, place)) => {
                let rest = text.get(place.end..).unwrap_or_default();
                let end = rest.find('\n').map_or(text.len(), |end| place.end + end + 1);
                text.insert_str(end, &line);
            }
            None => {
                let gap = if text.is_empty() { "" } else { "\n" };
                text += &format!("{gap}[{}]\n{line}", quoted(&server.to_string().to_ascii_lowercase()));
            }
        }
        text
    }
}

/// Names of hosts are the same in any case, and with the dot of the root or without; addresses are however they are
/// written.
fn is_same(one: &HostPort, other: &HostPort) -> bool {
    let address = |server: &HostPort| server.host.parse::<IpAddr>().ok();
    let is_same_address = address(one).is_some_and(|it| address(other) == Some(it));
    let [name, other_name] = [one, other].map(|server| server.host.strip_suffix('.').unwrap_or(&server.host));
    one.port == other.port && (is_same_address || name.eq_ignore_ascii_case(other_name))
}

fn entry(user: &Username, mechanism: Mechanism) -> String {
    let user = user.as_str();
    let is_bare = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let user = if is_bare { user.to_owned() } else { quoted(user) };
    format!("{user} = {}", quoted(mechanism.name()))
}

/// A string of TOML. Names of servers and users have no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Has other processes that remember something wait. On Windows the last of them wins.
#[cfg(unix)]
fn lock(folder: &Path) -> io::Result<Option<fs::File>> {
    let folder = fs::File::open(folder)?;
    folder.lock()?;
    Ok(Some(folder))
}

#[cfg(not(unix))]
fn lock(_: &Path) -> io::Result<Option<fs::File>> {
    Ok(None)
}

/// Puts a new file in the place of the old one, in one step. A link stays a link. What is no regular file is refused.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|it| !it.is_file()) {
        return Err(io::Error::other("not a regular file"));
    }
    let new = path.with_extension("toml.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text after a user of a server is remembered with OPAQUE.
    fn with(text: &str, server: &str, user: &str) -> String {
        let remembered = Remembered::parse(text).unwrap_or_else(|problem| panic!("{}", problem.what));
        let (server, user) = (server.parse().unwrap(), user.parse().unwrap());
        remembered.with(text, &server, &user, Mechanism::Opaque)
    }

    #[test]
    fn an_entry_is_found_by_server_port_and_user() {
        let text = "['Gate.example']\nalice = 'opaque'\n\"zo\\u00eb\" = 'MD5'\n['[::1]:1']\nbob = 'md5'\n";
        let remembered = Remembered::parse(text).unwrap_or_else(|problem| panic!("{}", problem.what));
        let mechanism =
            |server: &str, user: &str| remembered.mechanism(&server.parse().unwrap(), &user.parse().unwrap());
        assert_eq!(mechanism("gate.EXAMPLE:8591", "alice"), Some(Mechanism::Opaque));
        assert_eq!(mechanism("gate.example.:8591", "alice"), Some(Mechanism::Opaque));
        assert_eq!(mechanism("gate.example:8591", "zoë"), Some(Mechanism::Md5));
        assert_eq!(mechanism("[::1]:1", "bob"), Some(Mechanism::Md5));
        assert_eq!(mechanism("[0:0::1]:1", "bob"), Some(Mechanism::Md5));
        for (server, user) in [("gate.example:8592", "alice"), ("gate.example:8591", "bob"), ("a:1", "alice")]
        {
            assert_eq!(mechanism(server, user), None);
        }
    }

    #[test]
    fn an_entry_is_added_or_changed_and_the_rest_stays() {
        let server = "gate.example:8591";
        let first = "[\"gate.example:8591\"]\nalice = \"opaque\"\n";
        assert_eq!(with("", server, "alice"), first);
        assert_eq!(with(first, server, "alice"), first);
        assert_eq!(with("# mine", "Gate.example:8591", "alice"), format!("# mine\n\n{first}"));
        let two = "['gate.example'] # work\n# her\nalice = 'md5' # old\n\n[\"b:1\"]\nbob = \"md5\"";
        assert_eq!(
            with(two, server, "alice"),
            "['gate.example'] # work\n# her\nalice = \"opaque\" # old\n\n[\"b:1\"]\nbob = \"md5\""
        );
        assert_eq!(
            with(two, server, "a \"b\" \\"),
            "['gate.example'] # work\n\"a \\\"b\\\" \\\\\" = \"opaque\"\n# her\nalice = 'md5' # old\n\n[\"b:1\"]\nbob = \
             \"md5\"\n"
        );
        assert_eq!(with("['b:1']", "b:1", "alice"), "['b:1']\nalice = \"opaque\"\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everybody_can_write_is_not_read() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servers.toml");
        write(&path, "['gate.example']\nalice = 'md5'\n").unwrap();
        assert_eq!(read(&path).ok().unwrap().1.entries.len(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let error = read(&path).err().unwrap().to_string();
        assert!(error.contains("servers.toml: writable by everybody"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_replaced_by_one() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        use std::os::unix::net::UnixListener;

        let folder = tempfile::tempdir().unwrap();
        let (socket, path) = (folder.path().join("socket"), folder.path().join("servers.toml"));
        let _listener = UnixListener::bind(&socket).unwrap();
        symlink(&socket, &path).unwrap();
        assert_eq!(write(&path, "").unwrap_err().to_string(), "not a regular file");
        assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_what_to_write() {
        for (text, place, what) in [
            ("\n[gate.example:8591]\n", 14, "write a section for each server"),
            ("[gate.example]\nalice = 'opaque'\n", 0, "the name of a server goes in quotes"),
            ("alice = 'opaque'\n", 0, "alice is not in the section of a server"),
            ("['gate.example:x']\n", 1, "invalid port"),
            (
                "['gate.example']\nalice = 'opaqe'\n",
                25,
                "alice has no mechanism: write \"md5\" or \"opaque\"",
            ),
            ("['gate.example']\nalice = true\n", 25, "alice has no mechanism"),
            (
                "['a']\nalice = 'md5'\n['A:8591']\nalice = 'opaque'\n",
                14,
                "alice has a mechanism at a:8591 already",
            ),
        ] {
            let problem = Remembered::parse(text).err().unwrap();
            assert!(problem.what.contains(what), "{text:?}: {}", problem.what);
            assert_eq!(problem.place, place, "{text:?}");
        }
    }
}
