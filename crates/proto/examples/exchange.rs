//! A whole login in memory: a client and a server that hand each other their messages.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use letmein_auth_proto::Now;
use letmein_auth_proto::client::{Client, Resends, Step};
use letmein_auth_proto::credentials::{Password, Username};
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::{Builder, Conditions};

fn main() -> Result<(), Box<dyn Error>> {
    let (name, password): (Username, _) = ("userone".parse()?, Password::new("passwordone")?);
    let mut builder = Builder::for_text(100)?;
    builder.push(&name, &password, Conditions::none()).map_err(|_| "no room")?;
    let users = builder.finish().map_err(|_| "users that do not go together")?;

    // The keys of a real server are random.
    let keys = Keys::known(1);
    let penalties = Arc::new(Penalties::new(&keys.sources, Policy::default()));
    let mut server = Server::new(&keys, Seed([1; 32]), penalties, None);
    let peer: SocketAddr = "192.0.2.1:5000".parse()?;

    let (mut uptime, seed) = (Duration::from_secs(1), 5);
    let mut client = Client::new(&name, &password, Resends::Timed, uptime + Duration::from_secs(5), seed);
    loop {
        match client.next(uptime) {
            Step::Send { bytes, .. } => {
                println!("client: {}", String::from_utf8_lossy(bytes));
                let now = Now::new(uptime, 1_767_225_600);
                let mut reply = Vec::new();
                server.datagram(&users, now, peer.into(), bytes, &mut reply);
                if !reply.is_empty() {
                    println!("server: {}", String::from_utf8_lossy(&reply));
                    client.receive(uptime, &reply);
                }
            }
            Step::WaitUntil(time) => uptime = time,
            Step::Done(outcome) => {
                println!("{outcome:?}");
                return Ok(());
            }
        }
    }
}
