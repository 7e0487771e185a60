//! Logs in with the password on standard input: `login HOST:PORT USER < password`. Ends with status 0 if welcome, 1 if
//! refused.

use std::error::Error;
use std::io::{self, BufRead};
use std::process::ExitCode;

use letmein_auth_client::{Login, Password, Verdict};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [server, user] = &words[..] else {
        return Err("usage: login HOST:PORT USER < password".into());
    };
    let mut password = String::new();
    io::stdin().lock().read_line(&mut password)?;
    let password = Password::new(password.trim_end_matches(['\r', '\n']))?;
    let outcome = Login::to(server.parse()?).run(&user.parse()?, &password)?;
    println!("{}", outcome.verdict.sentence());
    Ok(match outcome.verdict {
        Verdict::Welcome => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::FAILURE,
    })
}
