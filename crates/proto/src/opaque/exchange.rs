//! The three messages of RFC 9807, section 6: KE1 and KE3 of a client, KE2 of a server.
//!
//! Functions that draw random bytes take a generator, so that recorded logins can be played again.

use std::fmt;

use opaque_ke::errors::{InternalError, ProtocolError};
use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, CredentialRequest, CredentialResponse, ServerLogin,
    ServerLoginParameters, ServerRegistration,
};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::challenge::Challenge;
use crate::credentials::{Password, Username};
use crate::opaque::key::ServerKey;
use crate::opaque::record::RECORD_LEN;
use crate::opaque::session::{KE3_LEN, SESSION_KEY_LEN, SessionKey};
use crate::opaque::stretching::{STRETCHING_LEN, Stretcher, Stretching};
use crate::opaque::suite::{Binding, Context, Suite, identifiers, oprf_input};
use crate::opaque::wire::{Begin, KE1_LEN, KE2_LEN};
use crate::opaque::{CryptoRng, RngCore};

/// A client's half of an exchange. A clone is for another attempt at the same login: both say the same KE1, and the
/// password is stretched once for both.
#[derive(Clone)]
pub struct ClientExchange {
    name: Username,
    input: Zeroizing<Vec<u8>>,
    login: ClientLogin<Suite>,
    ke1: [u8; KE1_LEN],
    stretcher: Stretcher,
    binding: Binding,
}

/// What a client has of KE2 that verifies.
pub struct ClientFinish {
    /// The client's proof that it knows the password.
    pub ke3: [u8; KE3_LEN],
    /// The key that the server has, too.
    pub session: SessionKey,
}

/// KE2 does not verify: the password is wrong, the user is unknown, or the sender is not the user's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotVerified;

impl fmt::Display for NotVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server's offer does not verify")
    }
}

impl std::error::Error for NotVerified {}

/// Why a client cannot finish an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// See [`NotVerified`].
    NotVerified,
    /// There is no memory for the stretching, so nobody knows whether KE2 verifies.
    NoMemory,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVerified => NotVerified.fmt(f),
            Self::NoMemory => f.write_str("there is too little memory to stretch the password"),
        }
    }
}

impl std::error::Error for Unfinished {}

impl ClientExchange {
    /// Blinds the password, and draws a nonce and a key for one login.
    ///
    /// # Errors
    /// [`NotVerified`], for a password that the OPRF maps to nothing; no such password is known.
    pub fn new(
        name: &Username,
        password: &Password,
        binding: Binding,
        random: &mut (impl CryptoRng + RngCore),
    ) -> Result<Self, NotVerified> {
        let input = oprf_input(name, password);
        let started = ClientLogin::<Suite>::start(random, &input).map_err(|_| NotVerified)?;
        let mut ke1 = [0; KE1_LEN];
        ke1.copy_from_slice(&started.message.serialize());
        let stretcher = Stretcher::default();
        Ok(Self { name: name.clone(), input, login: started.state, ke1, stretcher, binding })
    }

    /// The first message of a login, which has KE1.
    #[must_use]
    pub fn begin(&self, challenge: Challenge) -> Begin<'_> {
        Begin { challenge, name: self.name(), ke1: &self.ke1 }
    }

    /// The name of the user who logs in.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// KE1 of RFC 9807.
    #[must_use]
    pub fn ke1(&self) -> &[u8; KE1_LEN] {
        &self.ke1
    }

    /// Verifies KE2. That takes as long as the stretching, but only the first time that a server asks for it.
    ///
    /// # Errors
    /// [`Unfinished`]
    pub fn finish(
        &mut self,
        stretching: Stretching,
        ke2: &[u8; KE2_LEN],
    ) -> Result<ClientFinish, Unfinished> {
        let ke2 = CredentialResponse::deserialize(ke2).map_err(|_| Unfinished::NotVerified)?;
        self.stretcher.set(stretching);
        let context = Context::of(stretching, &self.binding);
        let identifiers = identifiers(self.name.as_str().as_bytes());
        let parameters =
            ClientLoginFinishParameters::new(Some(context.bytes()), identifiers, Some(&self.stretcher));
        // With 3DH, nothing is drawn here.
        let finished = self.login.clone().finish(&mut NoRandom, &self.input, ke2, parameters);
        let mut finished = finished.map_err(|error| {
            // With the parameters that a `Stretching` can have, nothing else fails in it.
            let is_unstretched = matches!(error, ProtocolError::LibraryError(InternalError::KsfError));
            if is_unstretched { Unfinished::NoMemory } else { Unfinished::NotVerified }
        })?;
        let mut session = [0; SESSION_KEY_LEN];
        session.copy_from_slice(&finished.session_key);
        finished.session_key.zeroize();
        finished.export_key.zeroize();
        let mut ke3 = [0; KE3_LEN];
        ke3.copy_from_slice(&finished.message.serialize());
        let finish = ClientFinish { ke3, session: SessionKey::new(session) };
        session.zeroize();
        Ok(finish)
    }
}

/// A generator for calls that draw nothing.
struct NoRandom;

impl RngCore for NoRandom {
    fn next_u32(&mut self) -> u32 {
        debug_assert!(false, "KE3 draws nothing");
        0
    }

    fn next_u64(&mut self) -> u64 {
        self.next_u32().into()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        debug_assert!(false, "KE3 draws nothing");
        bytes.fill(0);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), opaque_ke::rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for NoRandom {}

/// A server's half of an exchange: what it says, and what it must know when the client comes back.
pub struct ServerExchange {
    /// KE2, to send.
    pub ke2: [u8; KE2_LEN],
    /// What is left to do.
    pub pending: Pending,
}

/// A login whose KE3 is awaited.
pub struct Pending {
    pub(crate) session: SessionKey,
    pub(crate) expected: Zeroizing<[u8; KE3_LEN]>,
}

/// A user's part of an exchange, or that of the fake record.
pub struct UserPart<'a> {
    /// The name in BEGIN.
    pub name: &'a str,
    /// The RegistrationRecord of RFC 9807, section 5.2.
    pub record: &'a [u8; RECORD_LEN],
    /// What the client is told to stretch the password by.
    pub stretching: &'a [u8; STRETCHING_LEN],
}

/// What has something in it that is no element of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnElement {
    /// The client's message.
    Ke1,
    /// The user's record, which is damaged.
    Record,
}

impl ServerExchange {
    /// Replies to KE1: two thirds of all work of a login by OPAQUE at the server. Allocates nothing.
    ///
    /// # Errors
    /// [`NotAnElement`]
    pub fn new(
        key: &ServerKey,
        user: &UserPart<'_>,
        ke1: &[u8; KE1_LEN],
        binding: &Binding,
        random: &mut (impl CryptoRng + RngCore),
    ) -> Result<Self, NotAnElement> {
        let request = CredentialRequest::deserialize(ke1).map_err(|_| NotAnElement::Ke1)?;
        let record = ServerRegistration::deserialize(user.record).map_err(|_| NotAnElement::Record)?;
        let name = user.name.as_bytes();
        let context = Context::new(user.stretching, binding);
        let parameters =
            ServerLoginParameters { context: Some(context.bytes()), identifiers: identifiers(name) };
        // Without a record the crate would take another path, which takes longer.
        let started =
            ServerLogin::<Suite>::start(random, &key.setup, Some(record), request, name, parameters)
                .map_err(|_| NotAnElement::Ke1)?;
        let mut ke2 = [0; KE2_LEN];
        ke2.copy_from_slice(&started.message.serialize());
        let mut state = started.state.serialize();
        let (session, expected) = state.split_at(SESSION_KEY_LEN);
        let pending = Pending::new(
            session.first_chunk().unwrap_or(&[0; SESSION_KEY_LEN]),
            expected.first_chunk().unwrap_or(&[0; KE3_LEN]),
        );
        state.zeroize();
        Ok(Self { ke2, pending })
    }
}

impl Pending {
    pub(crate) fn new(session: &[u8; SESSION_KEY_LEN], expected: &[u8; KE3_LEN]) -> Self {
        Self { session: SessionKey::new(*session), expected: Zeroizing::new(*expected) }
    }

    /// Whether the client knows the password, in constant time.
    #[must_use]
    pub fn is_right(&self, ke3: &[u8; KE3_LEN]) -> Choice {
        self.expected.ct_eq(ke3)
    }

    /// The key that a client with the right password has, too.
    #[must_use]
    pub fn session(&self) -> &SessionKey {
        &self.session
    }
}
