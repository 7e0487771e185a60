//! The values of a server's options: what each may be, and what is said of anything else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use clap::ValueEnum;
use ipnet::IpNet;
use proto::mechanism::{Mechanism, Mechanisms};
use proto::server::penalty::WINDOW_MAX;
use proto::transport::Transport;
use server::doors::Loopbacks;
use server::log::LogFormat;
use server::net::address::Address;
use server::settings::{self, AuditTarget, Budget, Mode};
use tracing::level_filters::LevelFilter;

use crate::cli::usage::Invalid;
use crate::cli::{address_remedy, is_number, parse_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ServiceName {
    Auth,
    Md5,
    Hello,
    Framed,
}

/// How the sandbox treats forbidden acts, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// [`Mode::On`]
    On,
    /// [`Mode::Log`]
    Log,
    /// [`Mode::Off`]
    Off,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::On => Self::On,
            ModeName::Log => Self::Log,
            ModeName::Off => Self::Off,
        }
    }
}

/// How many failed logins or guesses are allowed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowance {
    Some(Budget),
    All,
}

impl Allowance {
    pub(super) fn budget(self) -> Option<Budget> {
        match self {
            Self::Some(budget) => Some(budget),
            Self::All => None,
        }
    }
}

/// Where to listen, as far as it was said.
#[derive(Clone, Debug)]
pub(super) enum ListenAddress {
    Port(u16),
    Address(Address),
}

impl ListenAddress {
    /// The address, where `default` is that of a port alone.
    pub(super) fn address(&self, default: IpAddr) -> Address {
        match self {
            Self::Port(port) => SocketAddr::new(default, *port).into(),
            Self::Address(address) => address.clone(),
        }
    }

    /// A port alone, or none, is for clients of this machine, who may ask for localhost.
    pub(super) fn loopbacks(&self, default: IpAddr) -> Loopbacks {
        match self {
            Self::Port(_) if default == Ipv4Addr::LOCALHOST => Loopbacks::Both,
            Self::Port(_) | Self::Address(_) => Loopbacks::AsGiven,
        }
    }
}

impl ServiceName {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Md5 => "md5",
            Self::Hello => "hello",
            Self::Framed => "framed",
        }
    }

    pub(super) fn default_address(self, transport: Transport) -> SocketAddr {
        match (self, transport) {
            (Self::Auth, _) => ([127, 0, 0, 1], 8591),
            (Self::Md5, Transport::Udp) => ([127, 0, 0, 1], 12345),
            (Self::Md5, Transport::Tcp) => ([0, 0, 0, 0], 5555),
            (Self::Hello, _) => ([0, 0, 0, 0], 5000),
            (Self::Framed, _) => ([127, 0, 0, 1], 4567),
        }
        .into()
    }
}

pub(super) fn parse_audit(text: &str) -> Result<AuditTarget, Invalid> {
    match text {
        "" => Err(Invalid::new("audit", text, "name a file, or write - for standard output")),
        "-" => Ok(AuditTarget::Stdout),
        file => Ok(AuditTarget::File(file.into())),
    }
}

/// Parses the name of a user of the system.
pub(super) fn parse_system_user(text: &str) -> Result<String, Invalid> {
    if text.contains('/') || text.ends_with(".toml") {
        return Err(Invalid::new("user", text, "that is a file: did you mean --users?"));
    }
    Ok(text.to_owned())
}

/// Parses the name of a mode.
pub fn parse_mode(text: &str) -> Result<ModeName, Invalid> {
    ModeName::from_str(text, true).map_err(|_| Invalid::new("sandbox mode", text, "choose on, log or off"))
}

/// Parses a number of nodes.
pub(super) fn parse_nodes(text: &str) -> Result<NonZeroU32, Invalid> {
    text.parse().map_err(|_| Invalid::new("number of nodes", text, "write 1 or more"))
}

/// Mechanisms with commas between them.
pub(super) fn parse_mechanisms(text: &str) -> Result<Mechanisms, Invalid> {
    let mut mechanisms = Mechanisms { md5: false, opaque: false };
    for name in text.split(',') {
        match Mechanism::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name.trim())) {
            Some(Mechanism::Md5) => mechanisms.md5 = true,
            Some(Mechanism::Opaque) => mechanisms.opaque = true,
            None => return Err(Invalid::new("list of mechanisms", text, "write md5, opaque or md5,opaque")),
        }
    }
    Ok(mechanisms)
}

/// Parses the name of a format of log lines.
pub fn parse_log_format(text: &str) -> Result<LogFormat, Invalid> {
    match &*text.to_ascii_lowercase() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Invalid::new("log format", text, "choose text or json")),
    }
}

/// Parses the name of a level of log lines.
pub fn parse_log_level(text: &str) -> Result<LevelFilter, Invalid> {
    match &*text.to_ascii_lowercase() {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(Invalid::new("log level", text, "choose error, warn, info, debug or trace")),
    }
}

pub(super) fn parse_failures(text: &str) -> Result<Allowance, Invalid> {
    parse_allowance(text, "failures")
}

pub(super) fn parse_guesses(text: &str) -> Result<Allowance, Invalid> {
    parse_allowance(text, "guesses")
}

fn parse_allowance(text: &str, counted: &str) -> Result<Allowance, Invalid> {
    if text == "off" {
        return Ok(Allowance::All);
    }
    let parse = || {
        let (count, window) = text.split_once('/')?;
        let count = count.parse().ok().filter(|count| *count > 0)?;
        let window = parse_time(window).ok()?;
        let is_whole = window.subsec_nanos() == 0;
        (is_whole && window <= WINDOW_MAX).then_some(Budget { count, window })
    };
    parse().map(Allowance::Some).ok_or_else(|| {
        let remedy =
            format!("give 1 to 255 {counted} and a time of 1 s to 10 min, as in 10/60s or 20/5m, or off");
        Invalid::new("limit", text, remedy)
    })
}

pub(super) fn parse_trusted(text: &str) -> Result<IpNet, Invalid> {
    users::parse_network(text)
        .ok_or_else(|| Invalid::new("network", text, format!("write {}", users::NETWORKS)))
}

pub(super) fn parse_service(text: &str) -> Result<ServiceName, Invalid> {
    ServiceName::from_str(text, true)
        .map_err(|_| Invalid::new("service", text, "choose auth, md5, hello or framed"))
}

pub(super) fn parse_door(text: &str) -> Result<(Transport, ListenAddress), Invalid> {
    let (transport, place) = text.split_once(':').unwrap_or((text, ""));
    let transport = match &*transport.to_ascii_lowercase() {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => {
            return Err(Invalid::new("transport", transport, "write tcp:8591, udp:8591 or tcp:ADDRESS:PORT"));
        }
    };
    if place.is_empty() {
        let remedy = format!("it has no port: write {}:8591", transport.name());
        return Err(Invalid::new("address", text, remedy));
    }
    Ok((transport, parse_listen_address(place)?))
}

pub(super) fn parse_listen_address(text: &str) -> Result<ListenAddress, Invalid> {
    if let Ok(address) = text.parse() {
        return Ok(ListenAddress::Address(address));
    }
    let port_of =
        |port: &str| port.parse().map_err(|_| Invalid::new("port", port, "a port is a number up to 65535"));
    if is_number(text) {
        return port_of(text).map(ListenAddress::Port);
    }
    match text.strip_prefix('*').unwrap_or(text).strip_prefix(':') {
        Some(port) if is_number(port) => {
            let everywhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port_of(port)?);
            Ok(ListenAddress::Address(everywhere.into()))
        }
        _ => Err(Invalid::new("address", text, door_remedy(text).unwrap_or_else(|| address_remedy(text)))),
    }
}

/// What to write instead of a door where an address belongs.
fn door_remedy(text: &str) -> Option<String> {
    let (transport, place) = text.split_once(':').filter(|(_, place)| !place.is_empty())?;
    let program = match &*transport.to_ascii_lowercase() {
        "udp" => settings::program(Transport::Udp),
        "tcp" => settings::program(Transport::Tcp),
        _ => return None,
    };
    Some(format!("run {program} {place}, or add --also {text}"))
}
