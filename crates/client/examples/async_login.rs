//! Logs in over UDP without blocking a thread, with the password on standard input:
//! `async_login HOST:PORT USER < password`. Ends with status 0 if welcome, 1 if refused, 2 if wrongly called, and 3
//! without a verdict.
//!
//! The protocol's client has no socket and no clock of its own, so any runtime can drive it: this is tokio.

use std::error::Error;
use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use letmein_auth_client::login::TIMEOUT;
use letmein_auth_client::{HostPort, Password, Username, Verdict};
use proto::client::{Client, Failure, Resends, Step};
use proto::wire::REPLY_MAX;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::net::{UdpSocket, lookup_host};
use tokio::runtime;
use tokio::time::{Instant, timeout_at};

fn main() -> ExitCode {
    let (server, user, password) = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(&server, &user, &password) {
        Ok(verdict) => {
            println!("{}", verdict.sentence());
            ExitCode::from(u8::from(verdict == Verdict::Refused))
        }
        Err(error) => {
            eprintln!("no verdict: {error}");
            ExitCode::from(3)
        }
    }
}

fn arguments() -> Result<(HostPort, Username, Password), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [server, user] = &words[..] else {
        return Err("usage: async_login HOST:PORT USER < password".into());
    };
    let mut password = String::new();
    io::stdin().lock().read_line(&mut password)?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err("the password is empty".into());
    }
    let password = Password::new(password)?;
    Ok((server.parse()?, user.parse()?, password))
}

fn run(server: &HostPort, user: &Username, password: &Password) -> Result<Verdict, Box<dyn Error>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(login_anywhere(server, user, password))
}

/// Tries one address of the server after the other. The host's name, if it has one, is looked up in a thread of tokio.
async fn login_anywhere(
    server: &HostPort,
    user: &Username,
    password: &Password,
) -> Result<Verdict, Box<dyn Error>> {
    let addresses: Vec<_> = lookup_host((&*server.host, server.port)).await?.collect();
    let share = TIMEOUT / addresses.len().max(1) as u32;
    let mut reason = "the server has no address".to_owned();
    for address in addresses {
        match login(address, user, password, share).await {
            Ok(Ok(verdict)) => return Ok(verdict),
            // At another address the replies may be forged as well.
            Ok(Err(Failure::Conflict)) => return Err("conflicting replies".into()),
            Ok(Err(_)) => reason = format!("{address} is silent"),
            Err(error) => reason = format!("{address}: {error}"),
        }
    }
    Err(reason.into())
}

/// Logs in at one address.
async fn login(
    server: SocketAddr,
    user: &Username,
    password: &Password,
    timeout: Duration,
) -> io::Result<Result<Verdict, Failure>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let seed = SysRng.try_next_u64()?;
    let mut client = Client::new(user, password, Resends::Timed, timeout, seed);
    // One byte longer than any message, so that a longer one is not cut to a valid length.
    let mut datagram = [0; REPLY_MAX + 1];
    let started = Instant::now();
    loop {
        match client.next(started.elapsed()) {
            Step::Send { bytes, .. } => {
                socket.send(bytes).await?;
            }
            Step::WaitUntil(time) => {
                let received = timeout_at(started + time, socket.recv_from(&mut datagram)).await;
                let Ok(received) = received else { continue };
                let (len, source) = received?;
                // What came before the socket was connected may be anybody's.
                if source == server {
                    client.receive(started.elapsed(), &datagram[..len]);
                }
            }
            Step::Done(outcome) => return Ok(outcome),
        }
    }
}
