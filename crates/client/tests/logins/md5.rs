//! Logins by MD5.

use std::time::Duration;

use letmein_auth_client::{Family, HostPort, Login, LoginError, Password, Transport, Verdict};

use crate::server::{as_it_is, serve_tcp, serve_udp, users};
use crate::{TIMEOUT, nobody};

fn log_in(server: &HostPort, transport: Transport, password: &str) -> Result<Verdict, LoginError> {
    let login = Login::to(server.clone()).over(transport).within(TIMEOUT);
    let outcome = login.run(&"userone".parse().unwrap(), &Password::new(password).unwrap())?;
    Ok(outcome.verdict)
}

#[test]
fn a_right_password_is_welcome_and_a_wrong_one_is_refused_over_udp_and_tcp() {
    for (server, transport) in
        [(serve_udp(users(), as_it_is), Transport::Udp), (serve_tcp(users(), b"", 0), Transport::Tcp)]
    {
        let log_in = |password| log_in(&server.address, transport, password).unwrap();
        assert_eq!([log_in("passwordone"), log_in("wrong")], [Verdict::Welcome, Verdict::Refused]);
    }
}

#[test]
fn a_datagram_forged_longer_than_any_message_ends_no_login() {
    let server = serve_udp(users(), |reply| vec![vec![b'W'; 4096], reply]);
    let verdict = log_in(&server.address, Transport::Udp, "passwordone");
    assert_eq!(verdict.unwrap(), Verdict::Welcome);
}

#[test]
fn a_server_that_nobody_runs_refuses_over_tcp() {
    let (_taken, address) = nobody();
    let ended = log_in(&address, Transport::Tcp, "passwordone");
    assert!(matches!(ended, Err(LoginError::Refused { .. })), "{ended:?}");
}

#[test]
fn a_login_that_waits_until_its_end_says_why_the_server_of_that_name_gave_no_verdict() {
    let (_taken, address) = nobody();
    let named: HostPort = format!("localhost:{}", address.port).parse().unwrap();
    let login =
        Login::to(named).family(Family::V4).over(Transport::Tcp).wait().within(Duration::from_secs(1));
    let ended = login.run(&"userone".parse().unwrap(), &Password::new("passwordone").unwrap());
    assert!(matches!(ended, Err(LoginError::Refused { .. })), "{ended:?}");
}
