//! Keeps a secret from others on the same machine: out of the process list, and out of core files.
//!
//! Only Linux gives both without unsafe code of ours. Elsewhere a password on the command line can be read there.

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{hide_memory, wipe};
#[cfg(target_os = "linux")]
pub(super) use linux::{hide_memory, wipe};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(crate) use server::sandbox::hide_memory;

    /// Overwrites every word of this process's command line that is `secret`, so that `ps` stops showing it.
    ///
    /// The kernel shows the memory in which it put the arguments, whose place is in `proc_pid_stat(5)`. Nothing in
    /// this program refers to that memory: the standard library has copied it.
    ///
    /// This fails after [`hide_memory`], which makes that memory root's.
    ///
    /// # Errors
    /// The system's; the secret may still be shown then.
    pub(crate) fn wipe(secret: &str) -> io::Result<()> {
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
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;

    pub(crate) fn wipe(_: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn hide_memory() -> io::Result<()> {
        Ok(())
    }
}
