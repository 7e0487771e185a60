//! A stranger who has a whole IPv6 network: in a network namespace of its own, all addresses of 2001:db8::/32 are
//! this machine's.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread;

use proto::transport::Transport;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

use crate::attacks::log_in_beside;
use crate::flood;
use crate::lifecycle::ipv6_socket;
use crate::peers::{PATIENCE, REQUEST};
use crate::running::{SAMPLES, Server, installed};
use crate::streams::is_open;

const NAMESPACE: &str =
    "ip link set lo up && ip route add local 2001:db8::/32 dev lo && ulimit -n $0 && exec \"$@\"";

/// What runs a program in a network namespace of its own, if that can be had here.
pub(crate) fn in_new_namespace() -> Option<Command> {
    if !installed("unshare")?.args(["--net", "true"]).status().unwrap().success() {
        println!("skipped: only root can make a network namespace");
        return None;
    }
    let mut command = installed("unshare")?;
    command.arg("--net").stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

/// Runs a test in the namespace of a server that may have so many descriptors.
fn with_server(descriptors: u32, test: impl FnOnce(&Server) + Send + 'static) {
    let (Some(mut command), Some(_), Some(_)) =
        (in_new_namespace(), installed("ip"), ipv6_socket(Transport::Tcp))
    else {
        return;
    };
    command.args(["sh", "-c", NAMESPACE, &descriptors.to_string()]);
    command.args([env!("CARGO_BIN_EXE_server-tcp"), "[::1]:0", "--users", SAMPLES, "--workers", "1"]);
    let server = Server::spawn(Transport::Tcp, &mut command);
    // The thread takes its namespace with it to its end.
    let ended = thread::spawn(move || {
        let namespace = File::open(format!("/proc/{}/ns/net", server.id())).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        test(&server);
    });
    ended.join().unwrap();
}

/// A connection from an address in a /64 of a /48.
fn connect_from(site: u16, network: u16, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_freebind_v6(true)?;
    let source = Ipv6Addr::from([0x2001, 0xdb8, site, network, 0, 0, 0, 1]);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

/// Of 306 descriptors 50 are kept, so there are 256 places.
#[test]
fn silent_connections_from_all_networks_of_a_site_keep_no_newcomer_out() {
    with_server(306, |server| {
        let silent: Vec<_> =
            (0..300).map(|network| connect_from(1, network, server.address).unwrap()).collect();
        let mut newcomer = connect_from(2, 0, server.address).unwrap();
        newcomer.set_read_timeout(Some(PATIENCE)).unwrap();
        newcomer.write_all(REQUEST).unwrap();
        newcomer.read_exact(&mut [0; 16]).unwrap();
        // The one worker takes them in the order in which they come.
        assert_eq!(silent.iter().filter(|stream| is_open(stream)).count(), 64);
    });
}

#[test]
#[ignore = "floods the machine, as root, with 5,000 descriptors: see SECURITY.md"]
fn a_site_that_renews_its_connections_from_65536_networks_keeps_nobody_out() {
    with_server(20_000, |server| {
        let (mut held, mut networks, mut flow) = (VecDeque::new(), (0..=u16::MAX).cycle(), flood::clock());
        let most_held = flood::scaled(4500) as usize;
        let mut begun = 0;
        log_in_beside(server, || {
            for network in networks.by_ref().take(100) {
                held.push_back(connect_from(1, network, server.address).unwrap());
                begun += 1;
            }
            held.drain(..held.len().saturating_sub(most_held));
            flow()
        });
        println!("{begun} connections");
    });
}
