//! `exchange`: the client of the small services.

use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};

use crate::cli::usage::{Invalid, Usage, invalid, parse};
use crate::cli::{ExitStatus, failed, parse_time};
use client::host_port::HostPort;
use client::small::{self, FramedClient, FramedError, Md5Client};
use proto::shown::Printable;
use proto::small::DatagramService;
use proto::small::framed::{self, FrameError};

const EXAMPLE: &str = "exchange md5 127.0.0.1:12345 \"Hello, Server! Please hash this message.\"";

/// Send messages to a small service, and print the answers
#[derive(Parser)]
#[command(name = "exchange", version, after_help = SHORT_EXAMPLE, after_long_help = after_long_help())]
pub struct Args {
    /// md5, hello or framed
    #[arg(value_name = "SERVICE", value_parser = parse_service)]
    service: SmallServiceName,
    /// Server; an IPv6 address goes in brackets
    #[arg(value_name = "HOST:PORT")]
    server: HostPort,
    /// Messages to send; - reads lines from standard input
    #[arg(value_name = "MESSAGE")]
    messages: Vec<String>,
    /// Use TCP instead of UDP (md5)
    #[arg(long)]
    tcp: bool,
    /// Send all messages before reading an answer (framed)
    #[arg(long)]
    pipeline: bool,
    /// Bytes to read at a time (framed) [default: 4096]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    buffer_size: Option<u32>,
    /// Longest answer, in bytes (framed) [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    max_message: Option<u32>,
    /// Give up on an answer after this time
    ///
    /// Seconds, or a number with a unit: 500ms, 15s, 2m, 1h. The time of the first answer includes the connection.
    #[arg(long, value_name = "TIME", default_value = "15", value_parser = parse_time, allow_negative_numbers = true)]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SmallServiceName {
    Md5,
    Hello,
    Framed,
}

/// Bytes to read at a time, unless told otherwise.
const BUFFER_SIZE: u32 = 4096;
/// The messages of the specification of MD5 over UDP.
const UDP_MESSAGES: [&str; 1] = ["Hello, Server! Please hash this message."];
/// The messages of the specification of MD5 over TCP.
const TCP_MESSAGES: [&str; 10] = [
    "Hello, server!",
    "How are you today?",
    "It's a nice day for coding.",
    "Python is fun.",
    "I'm learning about networks.",
    "What's your favorite protocol?",
    "TCP is reliable.",
    "UDP is faster.",
    "Have a great day!",
    "Goodbye, server!",
];

const SHORT_EXAMPLE: &str = "Example: exchange md5 127.0.0.1:12345 \"Hello, Server!\"";

fn after_long_help() -> String {
    format!(
        "Examples:\n  \
         {EXAMPLE}\n  \
         exchange md5 --tcp 127.0.0.1:5555        sends ten messages\n  \
         exchange hello 127.0.0.1:5000 \"Hello, server!\"\n  \
         exchange framed 127.0.0.1:4567 \"Four score and seven years ago\"\n  \
         exchange framed --pipeline 127.0.0.1:4567 - < lines.txt\n\n\
         Exit status: 0 done, 2 wrong command line, 3 no answer"
    )
}

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let args: Args = parse(Args::command(), &Usage::without_password(EXAMPLE))?;
    args.check().map_err(|reason| invalid(reason, EXAMPLE))?;
    let done = match (args.service, args.tcp) {
        (SmallServiceName::Md5, false) => args.md5_over_udp(),
        (SmallServiceName::Md5, true) => args.md5_over_tcp(),
        (SmallServiceName::Hello, _) => args.hello(),
        (SmallServiceName::Framed, _) => args.framed(),
    };
    done.map(|()| ExitStatus::Done).map_err(|reason| failed("exchange", reason))
}

/// The result of a program that prints as it goes: why it did not come to the end, in a sentence.
type Done = Result<(), String>;

impl Args {
    fn check(&self) -> Result<(), &'static str> {
        if self.pipeline && self.service != SmallServiceName::Framed {
            Err("--pipeline is for framed")
        } else if self.buffer_size.is_some() && self.service != SmallServiceName::Framed {
            Err("--buffer-size is for framed")
        } else if self.max_message.is_some() && self.service != SmallServiceName::Framed {
            Err("--max-message is for framed")
        } else if self.tcp && self.service == SmallServiceName::Hello {
            Err("hello is only served over UDP")
        } else if self.messages.is_empty() && self.service != SmallServiceName::Md5 {
            Err("no message: give one, or - for the lines of standard input")
        } else {
            Ok(())
        }
    }

    /// Hands each message to `act`, those of standard input as they come.
    fn each(&self, default: &[&str], mut act: impl FnMut(&str) -> Done) -> Done {
        if self.messages.is_empty() {
            return default.iter().try_for_each(|message| act(message));
        }
        for message in &self.messages {
            if message == "-" {
                for (number, line) in (1..).zip(io::stdin().lock().lines()) {
                    act(&line.map_err(|error| unread(number, &error))?)?;
                }
            } else {
                act(message)?;
            }
        }
        Ok(())
    }

    fn md5_over_udp(&self) -> Done {
        self.each(&UDP_MESSAGES, |message| print_hash(message, &self.ask(DatagramService::Md5, message)?))
    }

    fn md5_over_tcp(&self) -> Done {
        let mut client =
            Md5Client::connect(&self.server, self.timeout).map_err(|error| self.reason(&error))?;
        self.each(&TCP_MESSAGES, |message| {
            print(format_args!("Sending: {message}"))?;
            print_hash(message, &client.ask(message.as_bytes()).map_err(|error| self.reason(&error))?)
        })
    }

    fn hello(&self) -> Done {
        self.each(&[], |message| print(Printable(&self.ask(DatagramService::Hello, message)?)))
    }

    fn ask(&self, service: DatagramService, message: &str) -> Result<String, String> {
        let answer = small::ask(service, &self.server, message.as_bytes(), self.timeout);
        Ok(String::from_utf8_lossy(&answer.map_err(|error| self.reason(&error))?).into_owned())
    }

    fn framed(&self) -> Done {
        let buffer_size = self.buffer_size.unwrap_or(BUFFER_SIZE) as usize;
        let client = FramedClient::connect_within(self.timeout, &self.server, buffer_size);
        let mut client = client.map_err(|error| self.framed_reason(&error))?;
        if let Some(max) = self.max_message {
            client = client.message_max(max as usize);
        }
        if self.pipeline {
            self.pipelined(&mut client)?;
        } else {
            self.each(&[], |message| {
                print(Printable(&client.ask(message).map_err(|error| self.framed_reason(&error))?))
            })?;
        }
        client.shutdown().map_err(|error| self.framed_reason(&error))
    }

    fn pipelined(&self, client: &mut FramedClient) -> Done {
        let mut messages = Vec::new();
        self.each(&[], |message| {
            messages.push(message.to_owned());
            Ok(())
        })?;
        let mut printed = Ok(());
        let answered = client.pipeline(&messages, |answer| {
            if printed.is_ok() {
                printed = print(Printable(&answer));
            }
        });
        answered.map_err(|error| self.framed_reason(&error))?;
        printed
    }

    /// Why the server gave no answer.
    fn reason(&self, error: &io::Error) -> String {
        let server = &self.server;
        if error.kind() == io::ErrorKind::TimedOut {
            return format!("{server}: {error}: {}", self.doubt());
        }
        if error.kind() != io::ErrorKind::ConnectionRefused {
            return format!("{server}: {error}");
        }
        let over = match (self.service, self.tcp) {
            (SmallServiceName::Md5, false) => "UDP: the server may be down, or serve TCP (--tcp)",
            (SmallServiceName::Md5, true) => "TCP: the server may be down, or serve UDP (without --tcp)",
            (SmallServiceName::Hello, _) => "UDP: the server may be down",
            (SmallServiceName::Framed, _) => "TCP: the server may be down",
        };
        format!("nobody listens at {server} over {over}")
    }

    /// What may be wrong where nothing answers in the form of the service.
    fn doubt(&self) -> &'static str {
        match (self.service, self.tcp) {
            (SmallServiceName::Md5, false) => "is md5 served there over UDP? For TCP add --tcp",
            (SmallServiceName::Md5, true) => "is md5 served there over TCP? For UDP leave --tcp out",
            (SmallServiceName::Hello, _) => "is hello served there, over UDP?",
            (SmallServiceName::Framed, _) => "is framed served there, over TCP?",
        }
    }

    fn framed_reason(&self, error: &FramedError) -> String {
        let server = &self.server;
        match error {
            FramedError::Io(error) => self.reason(error),
            FramedError::TimedOut => {
                format!("{server}: no answer in {} s: {}", self.timeout.as_secs_f64(), self.doubt())
            }
            // The length is the beginning of what another service says.
            FramedError::Malformed(FrameError::TooLong { len, .. }) if *len > framed::MESSAGE_MAX => {
                format!("{server}: {error}: is it the framed service?")
            }
            FramedError::Malformed(_)
            | FramedError::Ended
            | FramedError::CutOff { .. }
            | FramedError::Reset => {
                format!("{server}: {error}")
            }
        }
    }
}

fn print_hash(message: &str, hash: &str) -> Done {
    print(format_args!("Original message: {message}\nMD5 Hash received: {}", Printable(hash)))
}

fn print(line: impl Display) -> Done {
    writeln!(io::stdout(), "{line}").map_err(|error| format!("standard output: {error}"))
}

/// Why a line of standard input is no message.
fn unread(number: usize, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::InvalidData {
        format!("standard input: line {number} is not UTF-8")
    } else {
        format!("standard input: {error}")
    }
}

fn parse_service(text: &str) -> Result<SmallServiceName, Invalid> {
    SmallServiceName::from_str(text, false)
        .map_err(|_| Invalid::new("service", text, "choose md5, hello or framed"))
}
