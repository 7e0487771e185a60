//! However framed texts are cut into segments, they are answered the same, and no answer is longer than its text.
#![no_main]

use letmein_auth_proto::small::framed::{FrameError, exchange};
use libfuzzer_sys::fuzz_target;

const MESSAGE_MAX: usize = 1000;

fn said(bytes: &[u8], segment_len: usize) -> (Vec<u8>, Option<FrameError>) {
    let (mut replies, mut received) = (Vec::new(), Vec::new());
    for segment in bytes.chunks(segment_len) {
        received.extend_from_slice(segment);
        let mut rest = &received[..];
        loop {
            match exchange(&mut rest, MESSAGE_MAX, &mut replies) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(reason) => return (replies, Some(reason)),
            }
        }
        let taken = received.len() - rest.len();
        received.drain(..taken);
    }
    (replies, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (segment_len, bytes) = input;
    let whole = said(bytes, bytes.len().max(1));
    assert!(whole.0.len() <= bytes.len());
    assert_eq!(said(bytes, usize::from(segment_len).max(1)), whole);
});
