//! Attacks on the budgets of failed logins, by guessers who have an account, many addresses, or a flood beside. Run one
//! after the other (see `flood`); SECURITY.md has the figures of a release build.

#![expect(clippy::disallowed_methods, reason = "a budget is for a time")]

use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use proto::transport::Transport::{self, Tcp, Udp};

use crate::flood;
use crate::monitoring::{status, watched};
use crate::peers::{PATIENCE, REFUSED, REQUEST, WELCOME, answer, echoing_answer, stranger, uninterrupted};
use crate::running::{SAMPLES, Server, TRANSPORTS};

/// Free failures a minute of a source.
const OF_SOURCE: u64 = 10;
/// The failure that begins a block is looked at, too.
const ONE_TOO_MANY: u64 = 1;
/// A reply that takes longer is taken for none.
const SOON: Duration = Duration::from_millis(20);

/// Guesses for the length of a flood, from one source. The server tells how many of the guesses it looked at: nothing
/// else is refused.
fn guess_within_a_budget(transport: Transport, how: &str, mut guess: impl FnMut(&Server, u64)) {
    let (server, http) = watched(transport, &[]);
    let (started, mut flow, mut guesses) = (Instant::now(), flood::clock(), 0);
    while flow().is_continue() {
        guesses += 1;
        guess(&server, guesses);
    }
    let totals = &status(http)["totals"];
    let (looked_at, welcomes) = (totals["refused"].as_u64().unwrap(), totals["welcomed"].as_u64().unwrap());
    let elapsed = started.elapsed();
    println!(
        "{transport:?}, {how}: {guesses} guesses in {elapsed:?}, {looked_at} looked at, {welcomes} welcomes"
    );
    let most = OF_SOURCE + ONE_TOO_MANY + elapsed.as_secs() * OF_SOURCE / 60 + 1;
    assert!((1..=most).contains(&looked_at), "more than {most}");
}

/// A source over UDP, and a challenge for its port.
fn challenged(server: &Server) -> io::Result<(UdpSocket, Vec<u8>)> {
    let peer = stranger(server, Ipv4Addr::LOCALHOST);
    peer.set_read_timeout(Some(SOON))?;
    let challenge = reply_to(&peer, REQUEST)?;
    Ok((peer, challenge))
}

fn reply_to(peer: &UdpSocket, datagram: &[u8]) -> io::Result<Vec<u8>> {
    peer.send(datagram)?;
    let mut reply = [0; 64];
    let len = uninterrupted(|| peer.recv(&mut reply))?;
    Ok(reply[..len].to_vec())
}

/// Logs in or fails, with a challenge of its own.
fn attempt(server: &Server, transport: Transport, name: &str, password: &str) -> io::Result<()> {
    match transport {
        Udp => {
            let (peer, challenge) = challenged(server)?;
            reply_to(&peer, &echoing_answer(name, password, &challenge)).map(drop)
        }
        Tcp => {
            let mut stream = TcpStream::connect(server.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(REQUEST)?;
            let mut challenge = [0; 16];
            stream.read_exact(&mut challenge)?;
            stream.write_all(&answer(name, password, &challenge))?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        }
    }
}

#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn an_account_of_ones_own_buys_no_guesses() {
    let user = |_| "userone".to_owned();
    let unknown = |number| format!("name{number}");
    for transport in TRANSPORTS {
        for (how, name) in
            [("all at one user", &user as &dyn Fn(u64) -> String), ("each at another name", &unknown)]
        {
            guess_within_a_budget(transport, how, |server, number| {
                // What is blocked gets no reply, or its connection closed.
                let _ = attempt(server, transport, "usertwo", "passwordtwo");
                let _ = attempt(server, transport, &name(number), &format!("guess{number}"));
            });
        }
    }
}

#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn a_captured_answer_buys_no_guesses() {
    let mut captured = None;
    guess_within_a_budget(Udp, "a captured answer in between", |server, number| {
        // It is good for 16 s, from its port. The next is captured when it is welcomed no more.
        let Some((peer, challenge)) = captured.take().or_else(|| challenged(server).ok()) else { return };
        let right = reply_to(&peer, &echoing_answer("usertwo", "passwordtwo", &challenge));
        let _ = reply_to(&peer, &echoing_answer("userone", &format!("guess{number}"), &challenge));
        captured = right.is_ok_and(|reply| reply == WELCOME).then_some((peer, challenge));
    });
}

/// Sources that the server has not heard from before.
fn new_sources() -> impl Iterator<Item = Ipv4Addr> {
    (u32::from(Ipv4Addr::new(127, 1, 0, 1))..).map(Ipv4Addr::from)
}

/// An answer, from its source, which carries back the challenge that it got there.
struct Answer<'a> {
    source: Ipv4Addr,
    name: &'a str,
    /// Without, any digits are a guess.
    password: Option<&'a str>,
}

/// Answers with these names and passwords, each from the next of these sources.
fn answers_from<'a>(
    sources: impl Iterator<Item = Ipv4Addr>,
    logins: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Vec<Answer<'a>> {
    let logins = logins.into_iter().zip(sources);
    logins.map(|((name, password), source)| Answer { source, name, password }).collect()
}

/// A server with one worker, so that replies come in the order of what was sent to it.
fn server(more: &[&str]) -> Server {
    Server::start(Udp, &[&["127.0.0.1:0", "--users", SAMPLES, "--workers", "1"], more].concat())
}

/// Sends answers in this order, and gives the verdicts: none to an answer that is ignored. There may be as many as a
/// socket's buffer has room for.
fn verdicts(server: &Server, answers: &[Answer<'_>]) -> Vec<Option<Vec<u8>>> {
    let peers: Vec<_> = answers.iter().map(|answer| stranger(server, answer.source)).collect();
    for peer in &peers {
        peer.set_nonblocking(true).unwrap();
        peer.send(REQUEST).unwrap();
    }
    wait_for_replies(server);
    for (peer, answer) in peers.iter().zip(answers) {
        if let Some(challenge) = reply(peer) {
            peer.send(&answer.to(&challenge)).unwrap();
        }
    }
    wait_for_replies(server);
    peers.iter().map(reply).collect()
}

impl Answer<'_> {
    fn to(&self, challenge: &[u8]) -> Vec<u8> {
        match self.password {
            Some(password) => echoing_answer(self.name, password, challenge),
            None => [self.name.as_bytes(), b":", challenge, challenge, b":", challenge].concat(),
        }
    }
}

/// What was sent before is replied to before this is.
fn wait_for_replies(server: &Server) {
    let last = stranger(server, Ipv4Addr::new(127, 0, 0, 254));
    last.send(REQUEST).unwrap();
    uninterrupted(|| last.recv(&mut [0; 64])).unwrap();
}

fn reply(peer: &UdpSocket) -> Option<Vec<u8>> {
    let mut reply = [0; 64];
    match uninterrupted(|| peer.recv(&mut reply)) {
        Ok(len) => Some(reply[..len].to_vec()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// Each guess at userone is followed by their right password: as often as that is welcomed, a guess would have been
/// noticed if it had been right. The guesses at usertwo and at an unknown name are as many, and none is right.
const MEASURED: [(&str, Option<&str>); 4] =
    [("userone", None), ("userone", Some("passwordone")), ("usertwo", None), ("unknown", None)];

#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn no_flood_of_names_buys_guesses_or_tells_who_exists() {
    for budget in [2, 60] {
        let server = server(&["--user-failures", &format!("{budget}/60s")]);
        let (mut sources, mut crowd) = (new_sources(), 0..);
        let (mut noticed, mut of_user, mut of_unknown, mut rounds) = (0, 0, 0, 0);
        let (started, mut flow) = (Instant::now(), flood::clock());
        while flow().is_continue() {
            rounds += 1;
            let names: Vec<String> =
                crowd.by_ref().take(64).map(|number: u32| format!("n{number}")).collect();
            let unknown = names.iter().map(|name| (&**name, None));
            let answers = answers_from(&mut sources, MEASURED.into_iter().chain(unknown));
            let verdicts = verdicts(&server, &answers);
            let is = |index: usize, verdict: &[u8]| u64::from(verdicts[index].as_deref() == Some(verdict));
            noticed += is(1, WELCOME);
            of_user += is(2, REFUSED);
            of_unknown += is(3, REFUSED);
        }
        let elapsed = started.elapsed();
        println!(
            "{budget} a minute: beside {} unknown names in {elapsed:?}, of {rounds} guesses each {noticed} would have \
             been noticed; {of_user} refusals of a user, {of_unknown} of an unknown name",
            crowd.start
        );
        let most = budget + ONE_TOO_MANY + elapsed.as_secs() * budget / 60 + 1;
        assert!((1..=most).contains(&noticed), "more than {most}");
        // When the flood washes out a block is chance, so the two are alike, not the same.
        assert!(of_user.abs_diff(of_unknown) <= of_user.midpoint(of_unknown));
    }
}

#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn no_flood_of_logins_and_guesses_keeps_users_out_where_they_have_logged_in() {
    let server = server(&[]);
    let userone = |host| Answer {
        source: Ipv4Addr::new(127, 0, 0, host),
        name: "userone",
        password: Some("passwordone"),
    };
    let owner = || verdicts(&server, &[userone(5)]);
    let welcomed = || [Some(WELCOME.to_vec())];
    assert_eq!(owner(), welcomed());
    let (mut sources, logins) = (new_sources(), flood::scaled(80_000));
    for number in (0..logins).step_by(64) {
        let count = 64.min(logins - number) as usize;
        let batch = answers_from(&mut sources, iter::repeat_n(("usertwo", Some("passwordtwo")), count));
        assert!(verdicts(&server, &batch).iter().all(|verdict| verdict.as_deref() == Some(WELCOME)));
    }
    let guess = || (10..20).map(|host| Answer { password: None, ..userone(host) }).collect::<Vec<_>>();
    let refusals = iter::repeat_with(|| verdicts(&server, &guess()))
        .map(|verdicts| verdicts.iter().flatten().count())
        .take_while(|refusals| *refusals > 0);
    println!("{logins} logins of usertwo; {} guesses at userone, until blocked", refusals.sum::<usize>());
    assert_eq!(verdicts(&server, &[userone(9)]), [None], "it has not logged in before");
    assert_eq!(owner(), welcomed());
}
