//! What a process costs: proc(5).

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::{CpuSet, Pid, sched_getaffinity};

/// A process of this machine, or a thread of it.
pub(crate) struct Process {
    pid: u32,
    thread: Option<Pid>,
}

impl Process {
    /// The process with this number, if there is one that tells its figures.
    #[must_use]
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let process = Self { pid, thread: None };
        process.cpu().map(|_| process)
    }

    /// A thread of this process.
    pub(super) fn thread(thread: Pid) -> Self {
        Self { pid: std::process::id(), thread: Some(thread) }
    }

    /// The processor time that its threads have used, while there are any.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid));
        let tasks = match self.thread {
            Some(thread) => vec![tasks.join(thread.as_raw_nonzero().to_string())],
            None => fs::read_dir(tasks).ok()?.filter_map(|task| Some(task.ok()?.path())).collect(),
        };
        // A thread may end while others are looked at.
        let used =
            tasks.iter().filter_map(|task| first_number(&fs::read_to_string(task.join("schedstat")).ok()?));
        used.reduce(|sum, ns| sum + ns).map(Duration::from_nanos)
    }

    /// The memory that it has, as far as it is not swapped out. A thread has none of its own.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        if self.thread.is_some() {
            return None;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        first_number(line).map(|kib| kib * 1024)
    }

    /// The processors that it may run on.
    pub(super) fn processors(&self) -> io::Result<CpuSet> {
        Ok(sched_getaffinity(Pid::from_raw(self.pid as i32))?)
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}
