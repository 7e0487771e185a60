//! `server-udp` and `server-tcp`: one program over two transports.

mod command_line;
mod doors;
mod fits;
mod values;

use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::cli::usage::{Usage, invalid, parse};
use crate::cli::{ExitStatus, print, say};
use server::check;
use server::daemon::{self, Bound};
use server::descriptors;
use server::doors::Door;
use server::error::ServerError;
use server::log::log_to_stderr;
use server::net::passed;
use server::settings::{
    self, AuditTarget, Config, GuessBudgets, Logins, Monitoring, Policy, Reasons, SampleUsers, Service,
    Serving, SmallService, UnknownNames, Verbosity,
};

use command_line::Args;
pub use command_line::command;
use fits::Said;
use proto::small::DatagramService;
use proto::transport::Transport;
use values::{Allowance, ServiceName};
pub use values::{ModeName, parse_log_format, parse_log_level, parse_mode};

pub fn run(transport: Transport) -> Result<ExitStatus, ExitStatus> {
    let program = settings::program(transport);
    // Before any thread.
    let passed = passed::take(transport).map_err(|error| {
        say(format_args!("{program}: {error}"));
        ExitStatus::Usage
    })?;
    let example = format!("{program} 127.0.0.1:8591 --users users.toml");
    let said: Said = parse(command(transport), &Usage::without_password(&example))?;
    said.check(transport).map_err(|reason| invalid(&reason, &example))?;
    let args = said.args;
    log_to_stderr(args.log_format, if args.debug { LevelFilter::DEBUG } else { args.log_level });
    let (tests, shows_limits, checks) = (args.self_test, args.limits, args.check);
    let config = args.config(transport, passed.as_ref()).map_err(|reason| invalid(&reason, &example))?;
    if tests {
        return test_sandbox(program, &config);
    }
    if shows_limits {
        return print_limits(program, &config);
    }
    if checks {
        let settings = check::files(&config).map_err(|error| refused(program, &error))?;
        return print(program, settings.iter().map(|(name, value)| format!("{name:<56} {value}")));
    }
    daemon::run(&config, passed).map(|()| ExitStatus::Done).map_err(|error| refused(program, &error))
}

/// Says why there is no server.
fn refused(program: &str, error: &ServerError) -> ExitStatus {
    say(format_args!("{program}: {error}"));
    match error {
        ServerError::Users(_)
        | ServerError::SampleUser { .. }
        | ServerError::NoUsers(_)
        | ServerError::NoUsersLeft(_) => ExitStatus::Usage,
        ServerError::Bind { .. }
        | ServerError::Http { .. }
        | ServerError::Exchange { .. }
        | ServerError::User { .. }
        | ServerError::Audit { .. }
        | ServerError::System(_) => ExitStatus::Failed,
    }
}

/// A reload of millions of users takes seconds, in which nothing is confirmed.
const STALE_REFUSE_MIN: Duration = Duration::from_secs(60);

impl Args {
    fn config(self, transport: Transport, passed: Option<&Bound>) -> Result<Config, String> {
        self.check_passed(passed)?;
        let door = self.door(transport, passed)?;
        let also = self.also(&door)?;
        self.check_audit()?;
        self.check_stale_refuse()?;
        self.check_exchange()?;
        let (user, sandbox) = (self.user.clone(), self.sandbox.into());
        let service = match self.small_service(transport)? {
            Some(small) => {
                Service::Small(small, if self.quiet { Verbosity::Quiet } else { Verbosity::Lines })
            }
            None => self.logins(also),
        };
        Ok(Config { door, service, user, sandbox })
    }

    /// Lines of the audit would make users, and a broken file.
    fn check_audit(&self) -> Result<(), String> {
        let is_users_file = |audit: &Path| is_same_file(audit, &self.users);
        match &self.audit {
            Some(AuditTarget::File(audit)) if is_users_file(audit) => {
                Err("the audit and the users file are the same file: name another with --audit".to_owned())
            }
            Some(AuditTarget::File(_) | AuditTarget::Stdout) | None => Ok(()),
        }
    }

    /// What is counted together is the failures of users.
    fn check_exchange(&self) -> Result<(), String> {
        if self.exchange.is_some() && self.user_failures.budget().is_none() {
            return Err("--exchange is of no use with --user-failures off: leave out one of them".to_owned());
        }
        Ok(())
    }

    /// A users file would be refused for ever, and users who are confirmed as usual now and then.
    fn check_stale_refuse(&self) -> Result<(), String> {
        let Some(time) = self.stale_refuse else { return Ok(()) };
        if time < STALE_REFUSE_MIN {
            return Err(format!(
                "--stale-refuse {} s: users are seldom confirmed so often, and all logins would be refused meanwhile: \
                 give {} s or more",
                time.as_secs_f64(),
                STALE_REFUSE_MIN.as_secs()
            ));
        }
        if self.users.is_dir() {
            return Ok(());
        }
        let users = self.users.display();
        Err(format!(
            "--stale-refuse is for users of letmein-sync, and {users} is no folder: a users file has no age"
        ))
    }

    /// The small service that was asked for, if it is one.
    fn small_service(&self, transport: Transport) -> Result<Option<SmallService>, String> {
        let serving = if self.once { Serving::Once } else { Serving::UntilStopped };
        Ok(Some(match (self.service, transport) {
            (ServiceName::Auth, _) => return Ok(None),
            (ServiceName::Md5, Transport::Udp) => SmallService::Datagrams(DatagramService::Md5, serving),
            (ServiceName::Hello, Transport::Udp) => SmallService::Datagrams(DatagramService::Hello, serving),
            (ServiceName::Md5, Transport::Tcp) => SmallService::Md5Stream,
            (ServiceName::Framed, Transport::Tcp) => SmallService::FramedStream {
                buffer_len: self.buffer_size as usize,
                message_max: self.max_message as usize,
            },
            (ServiceName::Hello, Transport::Tcp) => return Err("hello is served over UDP: server-udp".into()),
            (ServiceName::Framed, Transport::Udp) => {
                return Err("framed is served over TCP: server-tcp".into());
            }
        }))
    }

    /// Without any limit on failures there is none on guesses, unless it was asked for.
    fn guess_budgets(&self) -> GuessBudgets {
        let is_any = [self.failures, self.user_failures].iter().any(|allowance| allowance.budget().is_some());
        let default = if is_any { GuessBudgets::default() } else { GuessBudgets::none() };
        let budget = |said: Option<Allowance>, default| said.map_or(default, Allowance::budget);
        GuessBudgets {
            of_source: budget(self.guesses, default.of_source),
            of_user: budget(self.user_guesses, default.of_user),
        }
    }

    fn logins(self, also: Vec<Door>) -> Service {
        let (of_source, of_user) = (self.failures.budget(), self.user_failures.budget());
        let of_guesses = self.guess_budgets();
        let reasons = if self.http_reasons { Reasons::Shown } else { Reasons::Hidden };
        Service::Logins(Logins {
            also,
            users: self.users,
            key_file: self.key_file,
            stale_after: self.stale_after,
            stale_refuse: self.stale_refuse,
            cluster_key: self.cluster_key,
            mechanisms: self.mechanisms,
            limits: Policy { of_source, of_user, of_guesses, trusted: self.trust },
            nodes: self.nodes.unwrap_or(NonZeroU32::MIN),
            exchange: self.exchange,
            unknown_names: if self.log_unknown_names { UnknownNames::Shown } else { UnknownNames::Hashed },
            audit: self.audit,
            sample_users: if self.allow_sample_users { SampleUsers::Allowed } else { SampleUsers::Local },
            http: self.http.map(|address| Monitoring { address, reasons }),
        })
    }
}

/// Whether both paths lead to one file that exists.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    identity(one).is_some_and(|file| identity(other) == Some(file))
}

fn print_limits(program: &str, config: &Config) -> Result<ExitStatus, ExitStatus> {
    descriptors::raise_limit();
    let limits = daemon::limits(config);
    let total: usize = limits.iter().map(|limit| limit.bytes).sum();
    let lines = limits.iter().map(ToString::to_string);
    let name = match config.service {
        Service::Logins(_) => "memory in all, without users",
        Service::Small(..) => "memory in all",
    };
    print(program, lines.chain([format!("{name:<56} {} KiB", total.div_ceil(1024))]))
}

fn test_sandbox(program: &str, config: &Config) -> Result<ExitStatus, ExitStatus> {
    let attempts = check::sandbox(config).map_err(|error| refused(program, &error))?;
    let refused = attempts.iter().filter(|(_, is_refused)| *is_refused).count();
    let holds = refused == attempts.len();
    let verdict = if holds { "the sandbox holds" } else { "the sandbox DOES NOT HOLD" };
    let summary = format!("{refused} of {} refused: {verdict}", attempts.len());
    print(program, attempts.into_iter().map(|(line, _)| line).chain([summary]))?;
    Ok(if holds { ExitStatus::Done } else { ExitStatus::Failed })
}
