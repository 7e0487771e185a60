//! The gateway for web servers: the credentials of an HTTP request become a login, and the verdict a status.
//!
//! | status | when |
//! |---|---|
//! | 204 | the service welcomes the user |
//! | 401 | it does not, or there are no credentials that anybody could have |
//! | 405 | the method is neither GET nor HEAD |
//! | 421 | `Host` is not one of the hosts that the gateway answers for |
//! | 503 | there is no verdict |

mod hosts;
mod request;
mod turns;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use self::hosts::Hosts;
pub use self::hosts::{Host, NoHost};
use self::request::{credentials, last_address};
use self::turns::{Ending, LOGINS, PAUSE, Turns};
use client::host_port::HostPort;
use client::login::{Login, LoginError, Outcome, StretchingLimit};
use proto::credentials::{Password, Username};
use proto::mechanism::Mechanism;
use proto::shown::Shown;
use proto::transport::Transport;
use proto::wire::Verdict;
use server::error::bind_remedy;
use server::http::{self, Limits, Reply};
use server::sandbox::{self, Mode, Needs, Network};
use server::signals::Signals;

/// The configuration of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where to listen; port 0 for any that is free.
    pub address: SocketAddr,
    /// Where to log in. An address, since names cannot be looked up in the sandbox.
    pub service: SocketAddr,
    pub transport: Transport,
    pub mechanism: Mechanism,
    /// How long a request waits for its turn; the login then takes 1.5 s at the most, or 3 s by OPAQUE, and no longer
    /// than this.
    pub timeout: Duration,
    /// What browsers say that the password is for: ASCII without quotes and backslashes.
    pub realm: String,
    /// The hosts that it answers for, beside this machine's own.
    pub hosts: Vec<Host>,
    /// The header in which the web server gives the address of the visitor.
    pub visitor_header: Option<HeaderName>,
    /// Whether passwords may come in plain from other machines.
    pub listening: Listening,
    /// What to give up once the socket is bound.
    pub sandbox: Mode,
}

/// From where requests may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// From this machine only.
    Local,
    /// From other machines, too: the operator insists.
    Insecure,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Passwords would cross the network in plain.
    #[error(
        "other machines can reach {0}, and would send passwords in plain text: listen on 127.0.0.1 behind a web server \
         with TLS, or insist with --insecure-listen"
    )]
    Open(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {error}{}", bind_remedy(Transport::Tcp, error))]
    Bind {
        /// Where the gateway was to listen.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// The system refuses something else.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Connections at once; more take the places of those that are silent.
const CONNECTIONS: u32 = 512;
/// The longest that a login holds one of the places: four sends, the last at 1.3 s, and their replies.
const LOGIN_TIME: Duration = Duration::from_millis(1500);
/// The same by OPAQUE, where a password may have to be stretched, and wait for others that are.
const OPAQUE_LOGIN_TIME: Duration = Duration::from_secs(3);
/// A web server that forwards all headers of a browser has cookies among them.
const HEAD_LEN: usize = 16 * 1024;
/// The web server has the whole head before it asks.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// For the response to be read.
const REPLY_TIME: Duration = Duration::from_secs(2);

/// Whether a service is on this machine.
#[must_use]
pub fn is_here(service: SocketAddr) -> bool {
    service.ip().to_canonical().is_loopback()
}

/// Runs a gateway until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: &GatewayConfig) -> Result<(), GatewayError> {
    let address = config.address;
    if config.listening == Listening::Local && !address.ip().to_canonical().is_loopback() {
        return Err(GatewayError::Open(address));
    }
    if address.ip().to_canonical().is_unspecified() && config.hosts.is_empty() {
        warn!("other machines get 421 for each request: give the host name that they use with --host");
    }
    if config.can_be_forged() {
        warn!(
            "to another machine, UDP lets anyone in who can forge its replies: use --tcp if the service has it"
        );
    }
    let cannot_bind = |error| GatewayError::Bind { address, error };
    let (address, socket) = http::listen(address).map_err(cannot_bind)?;
    let needs = Needs { read: Vec::new(), append: Vec::new(), keep: Vec::new(), network: Network::Logins };
    sandbox::enter(config.sandbox, &needs)?;
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(LOGINS).build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let mut stdout = io::stdout();
        writeln!(stdout, "HTTP gateway listening on {address}")?;
        stdout.flush()?;
        let stop = async { info!("{}: stopping", signals.next().await) };
        let time = HEAD_TIME + config.timeout + config.login_time() + REPLY_TIME;
        let (connections, head_len, head_time) = (CONNECTIONS, HEAD_LEN, HEAD_TIME);
        let limits = Limits { connections, head_len, head_time, time, pace: Duration::ZERO };
        let gateway = Arc::new(Gateway::new(config, address.ip())?);
        let handler = move |request: Request<_>| {
            let gateway = gateway.clone();
            async move { gateway.reply(&request).await }
        };
        http::serve(socket, limits, stop, handler).await
    });
    // Logins under way are abandoned.
    runtime.shutdown_background();
    Ok(ended?)
}

impl GatewayConfig {
    /// Whether a welcome can be forged by whoever can write the service's address on datagrams.
    fn can_be_forged(&self) -> bool {
        let is_proven = match self.mechanism {
            Mechanism::Md5 => self.transport == Transport::Tcp,
            Mechanism::Opaque => true,
        };
        !is_proven && !is_here(self.service)
    }

    fn login_time(&self) -> Duration {
        let longest = match self.mechanism {
            Mechanism::Md5 => LOGIN_TIME,
            Mechanism::Opaque => OPAQUE_LOGIN_TIME,
        };
        longest.min(self.timeout)
    }

    /// Logins at the service, which stretch no more passwords at once than there are processors.
    fn login(&self) -> Login {
        let server = HostPort { host: self.service.ip().to_string(), port: self.service.port() };
        let processors = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Login::to(server)
            .over(self.transport)
            .mechanism(self.mechanism)
            .stretching_limit(StretchingLimit::new(processors))
            .within(self.login_time())
    }
}

/// What all requests share.
struct Gateway {
    login: Login,
    timeout: Duration,
    challenge: HeaderValue,
    hosts: Hosts,
    visitor_header: Option<HeaderName>,
    no_visitor: Once,
    turns: Arc<Turns>,
}

impl Gateway {
    fn new(config: &GatewayConfig, address: IpAddr) -> io::Result<Self> {
        let GatewayConfig { timeout, realm, hosts, visitor_header, .. } = config;
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Ok(Self {
            login: config.login(),
            timeout: *timeout,
            challenge: HeaderValue::try_from(challenge).map_err(io::Error::other)?,
            hosts: Hosts::new(address, hosts),
            visitor_header: visitor_header.clone(),
            no_visitor: Once::new(),
            turns: Arc::new(Turns::new()),
        })
    }

    async fn reply<B>(&self, request: &Request<B>) -> Reply {
        let headers = request.headers();
        if !self.hosts.include(request.version(), headers) {
            let host = headers.get(HOST).map_or(&b""[..], HeaderValue::as_bytes);
            warn!("answered 421 to a request for the host \"{}\": see --host", Shown(host));
            return misdirected();
        }
        let verdict = match credentials(headers) {
            Some((user, password)) => self.judge(user, password, self.visitor(headers)).await,
            None => Some(Verdict::Refused),
        };
        match verdict {
            Some(Verdict::Welcome) => reply(StatusCode::NO_CONTENT, None),
            Some(Verdict::Refused) => {
                reply(StatusCode::UNAUTHORIZED, Some((WWW_AUTHENTICATE, self.challenge.clone())))
            }
            None => reply(StatusCode::SERVICE_UNAVAILABLE, Some((RETRY_AFTER, PAUSE.as_secs().into()))),
        }
    }

    /// The visitor, by the last address in the header, which the nearest web server has added. Requests without an
    /// address count as one visitor.
    fn visitor(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let header = self.visitor_header.as_ref()?;
        let visitor = last_address(headers, header);
        if visitor.is_none() {
            self.no_visitor.call_once(|| {
                warn!("requests have no address in {header}: together they get the logins of one visitor");
            });
        }
        Some(visitor.unwrap_or(Ipv6Addr::UNSPECIFIED.into()))
    }

    /// Logs in. `None` if there is no verdict.
    async fn judge(&self, user: Username, password: Password, visitor: Option<IpAddr>) -> Option<Verdict> {
        let turn = match timeout(self.timeout, self.turns.take(&user, visitor)).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(reason)) => {
                debug!("no login: {reason}");
                return None;
            }
            Err(_) => {
                warn!("no login within {:?}: other logins are in progress", self.timeout);
                return None;
            }
        };
        let login = self.login.clone();
        let outcome = spawn_blocking(move || {
            let outcome = login.run(&user, &password);
            turn.end(&user, ending(&outcome));
            outcome
        });
        match outcome.await {
            Ok(Ok(outcome)) => {
                debug!("{:?} after {:?}", outcome.verdict, outcome.elapsed);
                Some(outcome.verdict)
            }
            Ok(Err(error)) => {
                warn!("{error}");
                None
            }
            Err(_) => None,
        }
    }
}

fn ending(outcome: &Result<Outcome, LoginError>) -> Ending {
    match outcome {
        // A conflict has too many answers.
        Ok(_) | Err(LoginError::Conflict(_)) => Ending::Answered,
        // Over TCP, a service ignores a message by closing the connection.
        Err(LoginError::NoVerdict { .. } | LoginError::Closed { .. }) => Ending::Unanswered,
        Err(_) => Ending::NoChallenge,
    }
}

/// A response without a body.
fn reply(status: StatusCode, header: Option<(HeaderName, HeaderValue)>) -> Reply {
    let mut reply = Reply::new(String::new());
    *reply.status_mut() = status;
    reply.headers_mut().extend(header);
    reply
}

/// Not 403, which a web server takes for a refusal of the visitor.
fn misdirected() -> Reply {
    let mut reply = Reply::new("not a host of this gateway: see --host\n".into());
    *reply.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    reply
}
