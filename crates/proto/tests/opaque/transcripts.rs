//! Logins that were recorded between `opaque-ke` and implementations in Go and C, with the context and the input that
//! are spoken here: played again, each message comes out byte for byte.

use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::opaque::Binding;
use letmein_auth_proto::opaque::exchange::{ClientExchange, ServerExchange, UserPart};
use letmein_auth_proto::opaque::key::ServerKey;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::wire::Verdict;
use serde::Deserialize;

use crate::{Scripted, array, bytes};

#[derive(Deserialize)]
struct Transcript {
    peer: String,
    its_side: Side,
    name: String,
    password: String,
    ksf: String,
    record: String,
    #[serde(rename = "KE1")]
    ke1: String,
    #[serde(rename = "KE2")]
    ke2: String,
    #[serde(rename = "KE3")]
    ke3: String,
    session_key: String,
    /// What the server was, and what it drew, if this project played it.
    server_setup: Option<String>,
    server_random: Option<String>,
    /// What the client drew, if this project played that.
    login_random: Option<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Side {
    Client,
    Server,
}

fn transcripts() -> Vec<Transcript> {
    let transcripts: Vec<_> = serde_json::from_str(include_str!("transcripts.json")).unwrap();
    assert!(!transcripts.is_empty());
    transcripts
}

#[test]
fn a_server_replies_to_other_peoples_clients_as_it_did_and_believes_them() {
    for it in transcripts().into_iter().filter(|it| it.its_side == Side::Client) {
        let key = ServerKey::from_bytes(&array(&it.server_setup.unwrap())).unwrap();
        let user = UserPart { name: &it.name, record: &array(&it.record), stretching: &array(&it.ksf) };
        let mut random = Scripted::new(&[&bytes(&it.server_random.unwrap())]);
        let ke1 = array(&it.ke1);
        let ServerExchange { ke2, pending } =
            ServerExchange::new(&key, &user, &ke1, &Binding::none(), &mut random).unwrap();
        assert_eq!(ke2, array(&it.ke2), "{}", it.peer);
        assert!(random.is_used_up());
        assert_eq!(*pending.session().expose(), array(&it.session_key), "{}", it.peer);
        let right = array(&it.ke3);
        let mut wrong = right;
        wrong[63] ^= 1;
        assert_eq!([right, wrong].map(|ke3| bool::from(pending.is_right(&ke3))), [true, false]);
    }
}

#[test]
fn a_client_says_to_other_peoples_servers_what_it_said() {
    for it in transcripts().into_iter().filter(|it| it.its_side == Side::Server) {
        let (name, password) = (it.name.parse().unwrap(), Password::new(&it.password).unwrap());
        let mut random = Scripted::new(&[&bytes(&it.login_random.unwrap())]);
        let mut client = ClientExchange::new(&name, &password, Binding::none(), &mut random).unwrap();
        assert!(random.is_used_up());
        assert_eq!(*client.ke1(), array(&it.ke1), "{}", it.peer);
        let stretching = Stretching::from_bytes(array(&it.ksf)).unwrap();
        let finish = client.finish(stretching, &array(&it.ke2)).unwrap();
        assert_eq!(finish.ke3, array(&it.ke3), "{}", it.peer);
        assert_eq!(*finish.session.expose(), array(&it.session_key), "{}", it.peer);
    }
}

/// Computed from the first of them with Python's `hmac` and `hashlib`, so that clients of other people agree, and files
/// and servers of later versions.
#[test]
fn what_follows_from_a_login_and_from_a_key_is_what_others_compute() {
    let it = transcripts().swap_remove(0);
    let key = ServerKey::from_bytes(&array(&it.server_setup.unwrap())).unwrap();
    assert_eq!(key.id().to_string(), "5189e375c780dc26");
    let user = UserPart { name: &it.name, record: &array(&it.record), stretching: &array(&it.ksf) };
    let mut random = Scripted::new(&[&bytes(&it.server_random.unwrap())]);
    let exchange = ServerExchange::new(&key, &user, &array(&it.ke1), &Binding::none(), &mut random).unwrap();
    let session = exchange.pending.session();
    for (verdict, tag) in [
        (Verdict::Refused, "0a63e62fe1a5d95d397f039bbbe82bf011f6c20726841d4e7ca5304535121ee4"),
        (Verdict::Welcome, "81bd7b4b787b4f28668a2b0f448557bdd29135f85e9e457bbde4adae81f7f516"),
    ] {
        assert_eq!(session.verdict_tag(verdict, &array(&it.ke3)), array(tag));
    }
    // More than one digest.
    assert_eq!(
        *session.export::<100>("files", b"context").unwrap(),
        array(
            "d556c959049f984119e3b6996839ef46e10cb5c35f0df47cc281a8affc30ef81d514567d19a846305a36312f52175912e92ed35\
             75e1518d17fa9850ca9a4f13b46635e30273293aa263e13c7508d8ea378fdf1e47504c31b3a1b67dde5b22e77bcd5babb"
        )
    );
}
