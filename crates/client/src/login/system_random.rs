//! The system's random bits, for a generator that cannot fail.

use std::io;

use proto::opaque::{CryptoRng, RandomError, RngCore};
use rand::TryRng;
use rand::rngs::SysRng;

/// Gives zeros once the system has failed, and remembers that.
pub(super) struct SystemRandom {
    failure: Option<io::Error>,
}

impl SystemRandom {
    /// What `make` makes of random bits.
    ///
    /// # Errors
    /// The system's; then all that was made is thrown away.
    pub(super) fn draw<T>(make: impl FnOnce(&mut Self) -> T) -> io::Result<T> {
        let mut random = Self { failure: None };
        let made = make(&mut random);
        random.failure.map_or(Ok(made), Err)
    }
}

impl RngCore for SystemRandom {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        if let Err(error) = SysRng.try_fill_bytes(bytes) {
            bytes.fill(0);
            self.failure = Some(error.into());
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for SystemRandom {}
