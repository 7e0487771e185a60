//! Which options of a server fit which services, so that none is without effect and nobody told.

use clap::parser::ValueSource;
use clap::{ArgMatches, Error, FromArgMatches};

use super::command_line::Args;
use super::values::ServiceName;
use proto::transport::Transport;

/// Options that fit the same services, and what the others have instead.
struct Fit {
    options: &'static [&'static str],
    fits: fn(ServiceName, Transport) -> bool,
    services: &'static str,
    others: &'static str,
}

/// All that do not fit every service, but for `users`: the units for systemd name the file whatever is served.
const FITS: [Fit; 11] = [
    Fit { options: &["also"], fits: is_auth, services: "auth", others: "has one address and one transport" },
    Fit {
        options: &["key_file", "stale_after", "stale_refuse", "cluster_key", "mechanisms"],
        fits: is_auth,
        services: "auth",
        others: "has no users",
    },
    Fit { options: &["allow_sample_users"], fits: is_auth, services: "auth", others: "has no users" },
    Fit { options: &["audit"], fits: is_auth, services: "auth", others: "has no logins to write down" },
    Fit {
        options: &["failures", "user_failures", "guesses", "user_guesses", "nodes", "exchange", "trust"],
        fits: is_auth,
        services: "auth",
        others: "has no logins that could fail",
    },
    Fit {
        options: &["http", "http_reasons"],
        fits: is_auth,
        services: "auth",
        others: "has no numbers to show",
    },
    Fit { options: &["log_unknown_names"], fits: is_auth, services: "auth", others: "has no names to log" },
    Fit { options: &["workers"], fits: is_auth, services: "auth", others: "has one thread for each address" },
    Fit {
        options: &["quiet"],
        fits: |service, _| service != ServiceName::Auth,
        services: "md5, hello and framed",
        others: "prints no line for a message in any case",
    },
    Fit {
        options: &["once"],
        fits: |service, transport| match service {
            ServiceName::Md5 | ServiceName::Hello => transport == Transport::Udp,
            ServiceName::Auth | ServiceName::Framed => false,
        },
        services: "md5 and hello over UDP",
        others: "serves until it is stopped",
    },
    Fit {
        options: &["buffer_size", "max_message"],
        fits: |service, _| service == ServiceName::Framed,
        services: "framed",
        others: "has fixed sizes",
    },
];

fn is_auth(service: ServiceName, _: Transport) -> bool {
    service == ServiceName::Auth
}

/// A command line, and those of its options that do not fit every service.
pub(super) struct Said {
    pub(super) args: Args,
    options: Vec<(&'static str, &'static Fit)>,
}

impl FromArgMatches for Said {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut said = Self { args: Args::from_arg_matches(matches)?, options: Vec::new() };
        said.note_options(matches);
        Ok(said)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.args.update_from_arg_matches(matches)?;
        self.note_options(matches);
        Ok(())
    }
}

impl Said {
    fn note_options(&mut self, matches: &ArgMatches) {
        let all = FITS.iter().flat_map(|fit| fit.options.iter().map(move |option| (*option, fit)));
        let is_said = |option| matches.value_source(option) == Some(ValueSource::CommandLine);
        self.options = all.filter(|(option, _)| is_said(option)).collect();
    }

    /// Refuses an option that would be without effect.
    pub(super) fn check(&self, transport: Transport) -> Result<(), String> {
        let service = self.args.service;
        match self.options.iter().find(|(_, fit)| !(fit.fits)(service, transport)) {
            None => Ok(()),
            Some((option, Fit { services, others, .. })) => {
                let (option, service) = (option.replace('_', "-"), service.name());
                Err(format!(
                    "--{option} is for {services}, and --service {service} over {transport} {others}"
                ))
            }
        }
    }
}
