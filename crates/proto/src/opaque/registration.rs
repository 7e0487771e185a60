//! Makes a user's record of a password, with both ends of a registration (RFC 9807, section 5) in one process.

use opaque_ke::errors::ProtocolError;
use opaque_ke::{ClientRegistration, ClientRegistrationFinishParameters, ServerRegistration};

use crate::credentials::{Password, Username};
use crate::opaque::key::ServerKey;
use crate::opaque::record::{RECORD_LEN, Record};
use crate::opaque::stretching::{Stretcher, Stretching};
use crate::opaque::suite::{Suite, identifiers, oprf_input};
use crate::opaque::{CryptoRng, RngCore};
use std::fmt;

/// A record could not be made: the system has no memory for the stretching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRegistered;

impl fmt::Display for NotRegistered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the password cannot be stretched")
    }
}

impl std::error::Error for NotRegistered {}

/// The record of a user with this password. Takes as long as the stretching does.
///
/// # Errors
/// [`NotRegistered`]
pub fn register(
    key: &ServerKey,
    name: &Username,
    password: &Password,
    stretching: Stretching,
    random: &mut (impl CryptoRng + RngCore),
) -> Result<Record, NotRegistered> {
    let bytes = exchange(key, name, password, stretching, random).map_err(|_| NotRegistered)?;
    Ok(Record::new(stretching, key.id(), bytes))
}

fn exchange(
    key: &ServerKey,
    name: &Username,
    password: &Password,
    stretching: Stretching,
    random: &mut (impl CryptoRng + RngCore),
) -> Result<[u8; RECORD_LEN], ProtocolError> {
    let input = oprf_input(name, password);
    let name = name.as_str().as_bytes();
    let request = ClientRegistration::<Suite>::start(random, &input)?;
    let response = ServerRegistration::start(&key.setup, request.message, name)?;
    let stretcher = Stretcher::new(stretching);
    let parameters = ClientRegistrationFinishParameters::new(identifiers(name), Some(&stretcher));
    let upload = request.state.finish(random, &input, response.message, parameters)?;
    let mut record = [0; RECORD_LEN];
    record.copy_from_slice(&ServerRegistration::finish(upload.message).serialize());
    Ok(record)
}
