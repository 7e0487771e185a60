//! What is decoded is what is encoded.
#![no_main]

use letmein_auth_proto::dialect::{Dialect, REQUEST_LEN};
use letmein_auth_proto::wire::{ClientMessage, Message, ServerMessage, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match decode(bytes) {
        Ok(ClientMessage::Request(dialect)) => {
            assert_eq!(bytes.get(..REQUEST_LEN).and_then(Dialect::requested_by), Some(dialect));
        }
        Ok(ClientMessage::Answer(answer)) => {
            let name = answer.name.parse().expect("a name that was decoded is one");
            if let Some(echo) = answer.echo {
                let again = Message::answer(&name, answer.digest, echo);
                assert_eq!(decode(again.as_ref()), Ok(ClientMessage::Answer(answer)));
            }
        }
        Err(_) => {}
    }
    if let Some(message) = ServerMessage::decode(bytes) {
        let mut again = Vec::new();
        message.append_to(&mut again);
        assert_eq!(again, bytes);
    }
});
