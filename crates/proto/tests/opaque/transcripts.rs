//! Logins that were recorded between `opaque-ke` and implementations in Go and C, with the context and the input that
//! are spoken here: played again, each message comes out byte for byte.

use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::opaque::Binding;
use letmein_auth_proto::opaque::exchange::{ClientExchange, ServerExchange, UserPart};
use letmein_auth_proto::opaque::key::ServerKey;
use letmein_auth_proto::opaque::stretching::Stretching;
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
