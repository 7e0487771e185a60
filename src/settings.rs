//! What a server is set to, for whoever wants to see it before it runs.

use crate::auth::penalty::Budget;
use crate::daemon::{
    Config, Exchange, Mode, Monitoring, Reasons, SampleUsers, Service, Serving, UnknownNames, Verbosity,
};
use crate::exchange::DatagramService;

/// Every setting that is in force, with its name; whatever was not said has its default.
pub(crate) fn of(config: &Config) -> Vec<(&'static str, String)> {
    let mut settings = vec![("address", config.address.to_string())];
    match &config.service {
        Service::Logins { transport, users, workers, limits, unknown_names, audit, sample_users, http } => {
            let trusted: Vec<_> = limits.trusted.iter().map(ToString::to_string).collect();
            settings.extend([
                ("service", format!("logins over {transport}")),
                ("users file", users.display().to_string()),
                ("workers", workers.to_string()),
                ("failed logins of a source that are free", budget(limits.of_source)),
                ("failed logins of a user that are free", budget(limits.of_user)),
                ("networks whose failed logins are all free", or_none(trusted.join(" "))),
                (
                    "names that nobody has, in the log",
                    match unknown_names {
                        UnknownNames::Hashed => "a hash",
                        UnknownNames::Shown => "as they are",
                    }
                    .to_owned(),
                ),
                ("audit", or_none(audit.as_ref().map(ToString::to_string).unwrap_or_default())),
                ("HTTP for monitoring", or_none(http.map(monitoring).unwrap_or_default())),
                (
                    "sample users",
                    match sample_users {
                        SampleUsers::Local => "this machine only",
                        SampleUsers::Allowed => "from everywhere",
                    }
                    .to_owned(),
                ),
            ]);
        }
        Service::Exchange(exchange, verbosity) => {
            let service = match exchange {
                Exchange::Datagrams(DatagramService::Md5, _) => "MD5 over UDP".to_owned(),
                Exchange::Datagrams(DatagramService::Hello, _) => "hello over UDP".to_owned(),
                Exchange::Md5Stream => "MD5 over TCP".to_owned(),
                Exchange::FramedStream { buffer_len, message_max } => {
                    format!("framed over TCP, reads of {buffer_len} bytes, messages of at most {message_max}")
                }
            };
            let is_once = matches!(exchange, Exchange::Datagrams(_, Serving::Once));
            let is_quiet = *verbosity == Verbosity::Quiet;
            settings.extend([
                ("service", service),
                ("messages", if is_once { "one" } else { "all that come" }.to_owned()),
                ("a line for each message", if is_quiet { "no" } else { "yes" }.to_owned()),
            ]);
        }
    }
    let sandbox = match config.sandbox {
        Mode::On => "on",
        Mode::Log => "log",
        Mode::Off => "off",
    };
    settings.extend([
        ("user", config.user.clone().unwrap_or_else(|| "who starts it".to_owned())),
        ("sandbox", sandbox.to_owned()),
    ]);
    settings
}

fn budget(budget: Option<Budget>) -> String {
    budget.map_or_else(
        || "all".to_owned(),
        |Budget { failures, window }| format!("{failures} in {} s", window.as_secs()),
    )
}

fn monitoring(Monitoring { address, reasons }: Monitoring) -> String {
    match reasons {
        Reasons::Kept => address.to_string(),
        Reasons::Told => format!("{address}, with the reasons of refusals"),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}
