//! Takes a secret out of the process list.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// Overwrites every word of this process's command line that is `secret`, so that `ps` stops showing it.
///
/// The kernel shows the memory in which it put the arguments, whose place is in `proc_pid_stat(5)`. Nothing in
/// this program refers to that memory: the standard library has copied it.
///
/// This fails after [`hide_memory`](server::sandbox::hide_memory), which makes that memory root's.
///
/// # Errors
/// The system's; the secret may still be shown then.
pub(super) fn wipe(secret: &str) -> io::Result<()> {
    let start = arg_start(&fs::read_to_string("/proc/self/stat")?)
        .ok_or_else(|| io::Error::other("the command line has no known place"))?;
    let words = fs::read("/proc/self/cmdline")?;
    let memory = File::options().write(true).open("/proc/self/mem")?;
    let mut offset = 0;
    for word in words.split(|byte| *byte == 0) {
        if !word.is_empty() && word == secret.as_bytes() {
            memory.write_all_at(&vec![b'x'; word.len()], start + offset)?;
        }
        offset += word.len() as u64 + 1;
    }
    Ok(())
}

/// Field 48; the second is a name in parentheses, with anything in it.
fn arg_start(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(48 - 3)?.parse().ok()
}
