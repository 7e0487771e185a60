//! The second mechanism: OPAQUE-3DH (RFC 9807), by which neither a listener nor a false server can guess passwords.
//!
//! ```text
//! client                                             server
//!   | -- REQUEST --------------------------------------> |
//!   | <------------------------------------- CHALLENGE -- |  shows that the client can receive at its address
//!   | -- BEGIN: challenge, name, KE1 ------------------> |  one guess is reserved
//!   | <--------------- OFFER: stretching, KE2, state --- |  what the server must know later, sealed for itself
//!   | -- FINISH: name, KE3, state ---------------------> |
//!   | <------------------------- VERDICT: verdict, tag -- |  the tag shows that the server knew the user's record
//! ```
//!
//! Any reply of the server but OFFER and VERDICT may be AGAIN, with a new challenge. `docs/PROTOCOL.md` is the
//! specification; [`wire`] has the messages byte by byte. The cryptography is that of the crate `opaque-ke`; what is
//! here fixes the suite, and what goes into it.

pub mod client;
pub mod exchange;
pub mod key;
pub mod record;
pub mod registration;
pub mod session;
pub mod stretching;
mod suite;
pub mod wire;

pub use opaque_ke::rand::{CryptoRng, Error as RandomError, RngCore};
pub use suite::{Binding, BindingTooLong};
