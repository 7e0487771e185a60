//! The file that says where the database is, and as whom to connect.
//!
//! ```text
//! # Settings of libpq, or one URL. TCP is always TLS with sslmode=verify-full.
//! host=db1.example.org,db2.example.org dbname=letmein target_session_attrs=read-write
//! user=alice password='correct horse'
//! sslrootcert=/etc/letmein/database-ca.pem
//! ```

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, SslNegotiation};
use users::{Distrust, UsersError, file};
use zeroize::Zeroizing;

use crate::tls::Tls;

/// How large a file of settings or certificates may be; those of all public CAs take a quarter of it.
const SIZE_MAX: u64 = 1 << 20;
/// How long one of several hosts may take to accept, so that there is time left for the next.
const HOST_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the database is, and as whom to connect.
#[derive(Debug)]
pub struct Settings {
    /// One for each host, in the order in which they are tried.
    hosts: Vec<Config>,
    /// None for a Unix socket.
    pub(crate) tls: Option<Tls>,
}

/// Why a file of settings cannot be used. No text shows a line of it, since a line may have the password.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{}: {error}: write the settings of the database there, and chmod 600 it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Somebody else decides what is in it.
    #[error("{}: {reason}", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// Who, and what to do about it.
        reason: Distrust,
    },
    /// Others may read the password, or write another database's name.
    #[error("{path}: open to others, and there may be a password in it: chmod 600 {path}", path = .0.display())]
    OpenToOthers(PathBuf),
    /// Others may write whom to trust.
    #[error("{path}: others can write it, and could vouch for another database: chmod go-w {path}", path = .0.display())]
    WritableByOthers(PathBuf),
    /// It belongs to neither root nor whoever runs this.
    #[error("{path}: owned by another user, who could name another database: chown it to yourself", path = .0.display())]
    ForeignOwner(PathBuf),
    /// A line is not understood.
    #[error("{}:{line}: {remedy}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What to write.
        remedy: &'static str,
    },
    /// The settings do not go together.
    #[error("{}: {remedy}", path.display())]
    Together {
        /// The file.
        path: PathBuf,
        /// What to write.
        remedy: &'static str,
    },
    /// The file of `sslrootcert` has no certificates to trust.
    #[error("{}: {reason}: sslrootcert names the certificate of the database's CA, in PEM", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

const SETTING: &str = "not understood: write settings as key=value, and values with spaces in single quotes";
const ONE_URL: &str = "a URL takes no other settings beside it but sslrootcert";
const SSL_MODE: &str = "sslmode is verify-full, and nothing else: take the line out";
const OWN_LINE: &str = "give sslrootcert and sslmode a line of their own, without quotes";
const NEGOTIATION: &str = "sslnegotiation=direct is not possible: take it out";
const NO_HOST: &str = "no host: write host=db.example.org, or host=/run/postgresql for a Unix socket";
const ONE_KIND: &str = "hosts and Unix sockets do not go together, nor does hostaddr with a Unix socket";
const NUMBERS: &str = "write one port, or one for each host, and hostaddr for each host or for none";
const NO_TLS: &str = "sslmode=disable is not possible over TCP: take it out, or name a Unix socket as host";
const NO_CA: &str = "no sslrootcert: write sslrootcert=FILE with the certificate of the database's CA";

impl Settings {
    /// Reads the file. The database shows this name of the program beside its sessions and changes.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn load(path: &Path, program: &str) -> Result<Self, SettingsError> {
        let bytes = read(path, Content::Settings)?;
        let written = Written::parse(&bytes, path)?;
        let together = |remedy| SettingsError::Together { path: path.into(), remedy };
        let mut config = written.config;
        if config.get_application_name().is_none() {
            config.application_name(program);
        }
        if config.get_connect_timeout().is_none() && config.get_hosts().len() > 1 {
            config.connect_timeout(HOST_TIMEOUT);
        }
        let sockets = config.get_hosts().iter().filter(|host| matches!(host, Host::Unix(_))).count();
        if config.get_ssl_negotiation() != SslNegotiation::Postgres {
            return Err(together(NEGOTIATION));
        }
        let (ports, addresses, hosts) =
            (config.get_ports().len(), config.get_hostaddrs().len(), config.get_hosts().len());
        if hosts > 0 && (ports > 1 && ports != hosts || addresses > 0 && addresses != hosts) {
            return Err(together(NUMBERS));
        }
        match (sockets, hosts) {
            (_, 0) => Err(together(NO_HOST)),
            (0, _) if config.get_ssl_mode() == SslMode::Disable => Err(together(NO_TLS)),
            (0, _) => {
                let path = written.root_certificates.ok_or_else(|| together(NO_CA))?;
                let pem = read(&path, Content::Ca)?;
                let tls = Tls::trusting(&pem).map_err(|reason| SettingsError::Ca { path, reason })?;
                config.ssl_mode(SslMode::Require);
                Ok(Self { hosts: one_by_one(&config), tls: Some(tls) })
            }
            (sockets, hosts) if sockets == hosts && config.get_hostaddrs().is_empty() => {
                config.ssl_mode(SslMode::Disable);
                Ok(Self { hosts: one_by_one(&config), tls: None })
            }
            (_, _) => Err(together(ONE_KIND)),
        }
    }

    /// The hosts, in the order in which to try them.
    pub(crate) fn hosts(&self) -> Vec<&Config> {
        let mut hosts: Vec<_> = self.hosts.iter().collect();
        if hosts.iter().any(|host| host.get_load_balance_hosts() == LoadBalanceHosts::Random) {
            hosts.sort_by_cached_key(|_| SysRng.try_next_u64().unwrap_or_default());
        }
        hosts
    }
}

/// The same settings for each of the hosts alone, so that each can be given time of its own.
fn one_by_one(all: &Config) -> Vec<Config> {
    let host = |(index, host): (usize, &Host)| {
        let mut one = Config::new();
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(folder) => one.host_path(folder),
        };
        all.get_hostaddrs().get(index).map(|address| one.hostaddr(*address));
        let ports = all.get_ports();
        ports.get(index).or(ports.first()).map(|port| one.port(*port));
        all.get_user().map(|it| one.user(it));
        all.get_password().map(|it| one.password(it));
        all.get_dbname().map(|it| one.dbname(it));
        all.get_options().map(|it| one.options(it));
        all.get_application_name().map(|it| one.application_name(it));
        all.get_connect_timeout().map(|it| one.connect_timeout(*it));
        all.get_tcp_user_timeout().map(|it| one.tcp_user_timeout(*it));
        all.get_keepalives_interval().map(|it| one.keepalives_interval(it));
        all.get_keepalives_retries().map(|it| one.keepalives_retries(it));
        one.keepalives(all.get_keepalives()).keepalives_idle(all.get_keepalives_idle());
        one.ssl_mode(all.get_ssl_mode()).channel_binding(all.get_channel_binding());
        one.target_session_attrs(all.get_target_session_attrs());
        one.load_balance_hosts(all.get_load_balance_hosts());
        one
    };
    all.get_hosts().iter().enumerate().map(host).collect()
}

/// What a file has in it.
#[derive(Clone, Copy)]
enum Content {
    /// Perhaps a password, so others may neither read nor write it.
    Settings,
    /// Whom to trust, so others may not write it.
    Ca,
}

/// Reads a file that only root or this user can write, and perhaps read.
fn read(path: &Path, content: Content) -> Result<file::FileBytes, SettingsError> {
    let unreadable = |error| unreadable(path.into(), error, content);
    let of_users = |error| of_users(error, content);
    file::distrust_link(path, users::Content::Users).map_err(of_users)?;
    // Without waiting for the other end of a FIFO.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    match content {
        Content::Settings if metadata.mode() & 0o077 != 0 => {
            return Err(SettingsError::OpenToOthers(path.into()));
        }
        Content::Ca if metadata.mode() & 0o022 != 0 => {
            return Err(SettingsError::WritableByOthers(path.into()));
        }
        Content::Settings | Content::Ca => {}
    }
    if ![0, geteuid().as_raw()].contains(&metadata.uid()) {
        return Err(SettingsError::ForeignOwner(path.into()));
    }
    if metadata.len() > SIZE_MAX {
        return Err(unreadable(io::Error::other("larger than 1 MiB")));
    }
    file::read(&file, path, users::Content::Users).map(|(bytes, _)| bytes).map_err(of_users)
}

fn unreadable(path: PathBuf, error: io::Error, content: Content) -> SettingsError {
    match content {
        Content::Settings => SettingsError::Unreadable { path, error },
        Content::Ca => SettingsError::Ca { path, reason: error.to_string() },
    }
}

/// The same error, in the words for settings.
fn of_users(error: UsersError, content: Content) -> SettingsError {
    match error {
        UsersError::Unsafe { path, reason } => SettingsError::Unsafe { path, reason },
        UsersError::Unreadable { path, error, .. } => unreadable(path, error, content),
        UsersError::WrongKey { path, .. }
        | UsersError::Wrong { path, .. }
        | UsersError::Damaged { path, .. }
        | UsersError::NobodyLeft { path, .. } => SettingsError::Line { path, line: 1, remedy: SETTING },
    }
}

/// What is written in the file.
struct Written {
    config: Config,
    root_certificates: Option<PathBuf>,
}

impl Written {
    fn parse(bytes: &[u8], path: &Path) -> Result<Self, SettingsError> {
        let wrong = |line, remedy| SettingsError::Line { path: path.into(), line, remedy };
        let text = str::from_utf8(bytes).map_err(|_| wrong(1, "the file is not UTF-8"))?;
        let mut root_certificates = None;
        // One allocation of the right size: a string that grows leaves copies of the password behind.
        let mut settings = Zeroizing::new(String::with_capacity(text.len() + 1));
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            let (key, value) =
                line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
            match key {
                _ if line.is_empty() || line.starts_with('#') => {}
                "sslrootcert" if value.starts_with(['\'', '"']) || has_another_setting(value) => {
                    return Err(wrong(number, OWN_LINE));
                }
                "sslrootcert" => root_certificates = Some(PathBuf::from(value)),
                "sslmode" if value == "verify-full" => {}
                "sslmode" => return Err(wrong(number, SSL_MODE)),
                _ if is_url(&settings) || (is_url(line) && !settings.is_empty()) => {
                    return Err(wrong(number, ONE_URL));
                }
                _ if !is_understood(line) && (line.contains("sslrootcert") || line.contains("sslmode")) => {
                    return Err(wrong(number, OWN_LINE));
                }
                _ if !is_understood(line) => return Err(wrong(number, SETTING)),
                _ => {
                    if !settings.is_empty() {
                        settings.push(' ');
                    }
                    settings.push_str(line);
                }
            }
        }
        let config = settings.parse().map_err(|_| wrong(1, SETTING))?;
        Ok(Self { config, root_certificates })
    }
}

/// Whether the name of a file goes on with another setting, such as a password.
fn has_another_setting(name: &str) -> bool {
    name.split_whitespace().skip(1).any(|word| word.contains('='))
}

/// Whether all of a line is settings. The parser leaves the rest out, and says nothing, from where no key begins; if it
/// reads to the end, it refuses a key that does not exist.
fn is_understood(line: &str) -> bool {
    let with_another = Zeroizing::new(format!("{line} no_such_key=''"));
    let reads_all = is_url(line) || with_another.parse::<Config>().is_err();
    reads_all && line.parse::<Config>().is_ok()
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}
