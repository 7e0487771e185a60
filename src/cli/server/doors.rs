//! The doors of a server: where it listens, and with how many workers.

use std::num::NonZeroUsize;
use std::thread;

use super::command_line::Args;
use super::values::{ListenAddress, ServiceName};
use proto::transport::Transport;
use server::daemon::Bound;
use server::doors::{Door, Loopbacks};

impl Args {
    /// Refuses sockets that would be without effect.
    pub(super) fn check_passed(&self, passed: Option<&Bound>) -> Result<(), String> {
        match passed.map(|bound| bound.sockets.len()) {
            Some(sockets) if sockets > 1 && self.service != ServiceName::Auth => Err(format!(
                "the service manager passed {sockets} sockets, and only auth has more than one worker: \
                 let the .socket unit have one line"
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// The doors besides the first. A door that is listed twice is refused; port 0 may be listed again.
    pub(super) fn also(&self, first: &Door) -> Result<Vec<Door>, String> {
        let mut also: Vec<Door> = Vec::new();
        for (transport, place) in &self.also {
            let default = self.service.default_address(*transport).ip();
            let door = Door {
                transport: *transport,
                address: place.address(default),
                loopbacks: place.loopbacks(default),
                workers: workers(self.workers, None)?,
            };
            if door.meets(first) || also.iter().any(|other| door.meets(other)) {
                return Err(format!(
                    "--also {}:{}: the server already listens there: leave it out; a port alone is 127.0.0.1 and \
                     [::1]",
                    transport.name(),
                    door.address
                ));
            }
            also.push(door);
        }
        Ok(also)
    }

    /// Where the program itself listens, or the address of the sockets that were passed.
    pub(super) fn door(&self, transport: Transport, passed: Option<&Bound>) -> Result<Door, String> {
        let default = self.service.default_address(transport);
        let place = self.place.clone().unwrap_or(ListenAddress::Port(default.port()));
        let said = self.place.as_ref().map(|place| place.address(default.ip()));
        let address = match (said, passed) {
            (said, None) => said.unwrap_or(default.into()),
            (Some(said), Some(Bound { address, .. })) if said != *address => {
                return Err(format!(
                    "the command line says {said}, and the service manager passed a socket at {address}: \
                     leave the address out, or let them agree"
                ));
            }
            (_, Some(bound)) => bound.address.clone(),
        };
        // Two sockets would answer two messages.
        let is_one = passed.is_some() || self.once;
        let loopbacks = if is_one { Loopbacks::One } else { place.loopbacks(default.ip()) };
        let workers = match self.service {
            ServiceName::Auth => workers(self.workers, passed)?,
            ServiceName::Md5 | ServiceName::Hello | ServiceName::Framed => NonZeroUsize::MIN,
        };
        Ok(Door { transport, address, loopbacks, workers })
    }
}

/// As many as there are sockets, or else processors to run them, if it was not said.
fn workers(said: Option<u16>, passed: Option<&Bound>) -> Result<NonZeroUsize, String> {
    let said = said.and_then(|workers| NonZeroUsize::new(workers.into()));
    let sockets = passed.and_then(|bound| NonZeroUsize::new(bound.sockets.len()));
    match (said, sockets) {
        (Some(workers), Some(sockets)) if workers != sockets => Err(format!(
            "--workers says {workers}, and the service manager passed {sockets} sockets, each for one worker: \
             leave --workers out, or let the .socket unit have as many lines"
        )),
        (said, sockets) => {
            let workers = sockets.or(said).or_else(|| thread::available_parallelism().ok());
            Ok(workers.unwrap_or(NonZeroUsize::MIN))
        }
    }
}
