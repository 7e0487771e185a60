//! The vectors of RFC 9807, appendix C, for the suite that is spoken here: two logins (C.1.1, C.1.2), and one of a
//! fake record (C.2.1). They have a context of their own and do not stretch, so they go to the crate itself.

use opaque_ke::key_exchange::tripledh::TripleDh;
use opaque_ke::ksf::Identity;
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration,
    ClientRegistrationFinishParameters, CredentialFinalization, CredentialRequest, CredentialResponse,
    Identifiers, Ristretto255, ServerLogin, ServerLoginParameters, ServerRegistration, ServerSetup,
};
use serde::Deserialize;
use sha2::Sha512;
use std::collections::HashMap;

use crate::{Scripted, bytes};

struct Rfc;

impl CipherSuite for Rfc {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Identity;
}

/// A vector, with all fields in hexadecimal digits.
#[derive(Deserialize)]
struct Vector {
    config: HashMap<String, String>,
    inputs: HashMap<String, String>,
    outputs: HashMap<String, String>,
}

impl Vector {
    fn input(&self, name: &str) -> Vec<u8> {
        bytes(self.inputs.get(name).unwrap_or_else(|| panic!("no {name}")))
    }

    fn output(&self, name: &str) -> Vec<u8> {
        bytes(self.outputs.get(name).unwrap_or_else(|| panic!("no {name}")))
    }

    fn context(&self) -> Vec<u8> {
        bytes(&self.config["Context"])
    }

    /// Absent identities are public keys.
    fn identity(&self, name: &str) -> Option<Vec<u8>> {
        self.inputs.get(name).map(|hex| bytes(hex))
    }

    fn setup(&self) -> ServerSetup<Rfc> {
        let fake_key = self.input("server_public_key");
        let parts = [self.input("oprf_seed"), self.input("server_private_key"), fake_key];
        ServerSetup::deserialize(&parts.concat()).unwrap()
    }

    /// What a server draws: the masking key of a fake record that it then does not use, two nonces and a seed.
    fn server_random(&self) -> Scripted {
        let [masking_nonce, seed, nonce] =
            ["masking_nonce", "server_keyshare_seed", "server_nonce"].map(|name| self.input(name));
        Scripted::new(&[&[0; 64], &masking_nonce, &seed, &nonce])
    }
}

/// A blind is drawn as 64 bytes, which are reduced.
fn blind(blind: &[u8]) -> Vec<u8> {
    [blind, &[0; 32]].concat()
}

fn vectors(fake: &str) -> Vec<Vector> {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("rfc9807-vectors.json")).unwrap();
    let of_suite = |it: &Vector| it.config["Group"] == "ristretto255" && it.config["Fake"] == fake;
    vectors.into_iter().filter(of_suite).collect()
}

#[test]
fn registrations_and_logins_are_those_of_the_rfc() {
    let vectors = vectors("False");
    assert_eq!(vectors.len(), 2);
    for it in vectors {
        let (client_identity, server_identity) =
            (it.identity("client_identity"), it.identity("server_identity"));
        let identifiers =
            Identifiers { client: client_identity.as_deref(), server: server_identity.as_deref() };
        let (setup, password, name) = (it.setup(), it.input("password"), it.input("credential_identifier"));

        let mut random = Scripted::new(&[&blind(&it.input("blind_registration"))]);
        let registration = ClientRegistration::<Rfc>::start(&mut random, &password).unwrap();
        assert_eq!(registration.message.serialize().to_vec(), it.output("registration_request"));
        let response = ServerRegistration::start(&setup, registration.message, &name).unwrap();
        assert_eq!(response.message.serialize().to_vec(), it.output("registration_response"));
        let mut random = Scripted::new(&[&it.input("envelope_nonce")]);
        let parameters = ClientRegistrationFinishParameters::new(identifiers, None);
        let upload = registration.state.finish(&mut random, &password, response.message, parameters).unwrap();
        assert_eq!(upload.message.serialize().to_vec(), it.output("registration_upload"));
        let record = ServerRegistration::finish(upload.message);

        let mut random = Scripted::new(&[
            &blind(&it.input("blind_login")),
            &it.input("client_keyshare_seed"),
            &it.input("client_nonce"),
        ]);
        let login = ClientLogin::<Rfc>::start(&mut random, &password).unwrap();
        assert_eq!(login.message.serialize().to_vec(), it.output("KE1"));
        let context = it.context();
        let parameters = || ServerLoginParameters { context: Some(&context), identifiers };
        let mut random = it.server_random();
        let reply = ServerLogin::start(&mut random, &setup, Some(record), login.message, &name, parameters())
            .unwrap();
        assert!(random.is_used_up());
        assert_eq!(reply.message.serialize().to_vec(), it.output("KE2"));
        let parameters = ClientLoginFinishParameters::new(Some(&context), identifiers, None);
        let finish =
            login.state.finish(&mut Scripted::new(&[]), &password, reply.message, parameters).unwrap();
        assert_eq!(finish.message.serialize().to_vec(), it.output("KE3"));
        assert_eq!(finish.session_key.to_vec(), it.output("session_key"));
        assert_eq!(finish.export_key.to_vec(), it.output("export_key"));
        let ke3 = CredentialFinalization::deserialize(&it.output("KE3")).unwrap();
        let parameters = ServerLoginParameters { context: Some(&context), identifiers };
        assert_eq!(reply.state.finish(ke3, parameters).unwrap().session_key, finish.session_key);
    }
}

#[test]
fn the_reply_with_a_fake_record_is_that_of_the_rfc() {
    let vectors = vectors("True");
    assert_eq!(vectors.len(), 1);
    for it in vectors {
        let record = [it.input("client_public_key"), it.input("masking_key"), vec![0; 96]].concat();
        let record = ServerRegistration::<Rfc>::deserialize(&record).unwrap();
        let (client_identity, server_identity) =
            (it.identity("client_identity"), it.identity("server_identity"));
        let identifiers =
            Identifiers { client: client_identity.as_deref(), server: server_identity.as_deref() };
        let context = it.context();
        let parameters = ServerLoginParameters { context: Some(&context), identifiers };
        let request = CredentialRequest::deserialize(&it.input("KE1")).unwrap();
        let (setup, mut random) = (it.setup(), it.server_random());
        let name = it.input("credential_identifier");
        let reply =
            ServerLogin::start(&mut random, &setup, Some(record), request, &name, parameters).unwrap();
        let expected = it.output("KE2");
        assert_eq!(reply.message.serialize().to_vec(), expected);
        assert!(CredentialResponse::<Rfc>::deserialize(&expected).is_ok());
    }
}
