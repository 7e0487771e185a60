//! The gateway for web servers: the credentials of an HTTP request become a login, and the verdict a status.
//!
//! | status | when |
//! |---|---|
//! | 204 | the service welcomes the user |
//! | 401 | it does not, or there are no credentials that anybody could have |
//! | 405 | the method is neither GET nor HEAD |
//! | 503 | there is no verdict |

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::auth::wire::Verdict;
use crate::http::{self, Limits, Reply};
use crate::net::Transport;
use crate::net::host_port::HostPort;
use crate::net::login::Login;
use crate::sandbox::{self, Mode, Needs, Network};
use crate::signals::Signals;
use crate::users::{NAME_MAX, PASSWORD_MAX, Password, Username};

/// What a gateway is told on its command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 for any that is free.
    pub address: SocketAddr,
    /// Where to log in. An address, since the sandbox has no files to look up names in.
    pub service: SocketAddr,
    /// What carries the logins.
    pub transport: Transport,
    /// How long a login may take.
    pub timeout: Duration,
    /// What people are asked the password for: ASCII without quotes and backslashes.
    pub realm: String,
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
    /// The operator insists.
    Insecure,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Passwords would cross the network in plain.
    #[error(
        "{0} is open to other machines, and passwords come in plain: listen on 127.0.0.1 behind a web server with TLS, \
         or insist with --insecure-listen"
    )]
    Open(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// Where the gateway was to listen.
        address: SocketAddr,
        /// The system's word for it.
        error: io::Error,
    },
    /// The system lacks something.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Connections at once; more take the places of those that are silent.
const CONNECTIONS: u32 = 512;
/// Logins at once, a thread each; more wait for as long as a login may take.
const LOGINS: usize = 64;
/// A web server that forwards all headers of a browser has cookies among them.
const HEAD_LEN: usize = 16 * 1024;
/// The web server has the whole head before it asks.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// For the response to be read.
const REPLY_TIME: Duration = Duration::from_secs(2);
/// The seconds after which to try again where there is no verdict.
const RETRY_S: HeaderValue = HeaderValue::from_static("5");
/// What `name:password` can be at the most, in base64.
const CREDENTIALS_MAX: usize = (NAME_MAX + 1 + PASSWORD_MAX).div_ceil(3) * 4;

/// Runs a gateway until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: &Config) -> Result<(), GatewayError> {
    let address = config.address;
    if config.listening == Listening::Local && !address.ip().to_canonical().is_loopback() {
        return Err(GatewayError::Open(address));
    }
    let cannot_bind = |error| GatewayError::Bind { address, error };
    let (address, socket) = http::listen(address).map_err(cannot_bind)?;
    let needs = Needs { read: Vec::new(), append: Vec::new(), network: Network::Logins };
    sandbox::enter(config.sandbox, &needs)?;
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(LOGINS).build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let mut stdout = io::stdout();
        writeln!(stdout, "HTTP gateway listening on {address}")?;
        stdout.flush()?;
        let stop = async { info!("{}: stopping", signals.next().await) };
        // A login and the wait for its turn may take `timeout` each.
        let time = HEAD_TIME + 2 * config.timeout + REPLY_TIME;
        let (connections, head_len, head_time) = (CONNECTIONS, HEAD_LEN, HEAD_TIME);
        let limits = Limits { connections, head_len, head_time, time, pace: Duration::ZERO };
        let gateway = Arc::new(Gateway::new(config)?);
        let handler = move |request: hyper::Request<_>| {
            let gateway = gateway.clone();
            async move { gateway.reply(request.headers()).await }
        };
        http::serve(socket, limits, stop, handler).await
    });
    // A login that is under way is no reason to stay.
    runtime.shutdown_background();
    Ok(ended?)
}

/// What all requests share.
struct Gateway {
    login: Login,
    timeout: Duration,
    challenge: HeaderValue,
    places: Arc<Semaphore>,
}

impl Gateway {
    fn new(config: &Config) -> io::Result<Self> {
        let Config { service, transport, timeout, realm, .. } = config;
        let server = HostPort { host: service.ip().to_string(), port: service.port() };
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Ok(Self {
            login: Login::to(server).over(*transport).within(*timeout),
            timeout: *timeout,
            challenge: HeaderValue::try_from(challenge).map_err(io::Error::other)?,
            places: Arc::new(Semaphore::new(LOGINS)),
        })
    }

    async fn reply(&self, headers: &HeaderMap) -> Reply {
        let verdict = match credentials(headers) {
            Some((user, password)) => self.judge(user, password).await,
            None => Some(Verdict::Refused),
        };
        match verdict {
            Some(Verdict::Welcome) => reply(StatusCode::NO_CONTENT, None),
            Some(Verdict::Refused) => {
                reply(StatusCode::UNAUTHORIZED, Some((WWW_AUTHENTICATE, self.challenge.clone())))
            }
            None => reply(StatusCode::SERVICE_UNAVAILABLE, Some((RETRY_AFTER, RETRY_S))),
        }
    }

    /// Logs in. `None` where there is no verdict.
    async fn judge(&self, user: Username, password: Password) -> Option<Verdict> {
        let Ok(Ok(place)) = timeout(self.timeout, self.places.clone().acquire_owned()).await else {
            warn!("no login in {:?}: {LOGINS} others are under way", self.timeout);
            return None;
        };
        let login = self.login.clone();
        let outcome = spawn_blocking(move || {
            let outcome = login.run(&user, &password);
            drop(place);
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

/// A response without a body.
fn reply(status: StatusCode, header: Option<(hyper::header::HeaderName, HeaderValue)>) -> Reply {
    let mut reply = Reply::new(Full::new(Bytes::new()));
    *reply.status_mut() = status;
    reply.headers_mut().extend(header);
    reply
}

/// The name and the password of the one `Authorization: Basic`. `None` for what cannot be anybody's, which is refused
/// as a wrong password is: web servers make a fault of their own of any other status.
fn credentials(headers: &HeaderMap) -> Option<(Username, Password)> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, encoded) = only.to_str().ok()?.split_once(' ')?;
    let encoded = encoded.trim();
    if !scheme.eq_ignore_ascii_case("Basic") || encoded.len() > CREDENTIALS_MAX {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let (user, password) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.parse().ok()?, Password::new(password).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(values: &[&str]) -> Option<(String, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        credentials(&headers).map(|(user, password)| (user.to_string(), password.expose().to_vec()))
    }

    fn basic(credentials: &(impl AsRef<[u8]> + ?Sized)) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[test]
    fn the_first_colon_ends_the_name_and_the_longest_fits() {
        for (user, password) in
            [("alice", "a:b:c"), ("zoë", "pässword"), (&*"u".repeat(64), &*"p".repeat(128))]
        {
            let expected = Some((user.to_owned(), password.as_bytes().to_vec()));
            assert_eq!(understood(&[&basic(&format!("{user}:{password}"))]), expected);
            assert_eq!(
                understood(&[&basic(&format!("{user}:{password}")).replace("Basic", "bAsIc")]),
                expected
            );
        }
    }

    #[test]
    fn what_cannot_be_anybodys_is_no_credentials() {
        let one = basic("alice:secrets");
        let wrong: [&[&str]; 13] = [
            &[],
            &[&one, &one],
            &["Basic"],
            &["Basic !!!!"],
            &[one.trim_end_matches('=')],
            &[&one.replace("Basic", "Bearer")],
            &[&basic("no colon")],
            &[&basic(":empty name")],
            &[&basic("nul:pass\0word")],
            &[&basic("control\n:x")],
            &[&basic(b"zo\xeb:latin-1")],
            &[&basic(&format!("{}:x", "u".repeat(65)))],
            &[&basic(&format!("u:{}", "p".repeat(129)))],
        ];
        for values in wrong {
            assert_eq!(understood(values), None, "{values:?}");
        }
    }
}
