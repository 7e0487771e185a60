//! What a process costs: proc(5).

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::{CpuSet, Pid, sched_getaffinity};

/// A process of this machine, or a thread of it.
pub struct Process {
    pid: u32,
    thread: Option<Pid>,
}

impl Process {
    /// The process with this number, if there is one.
    ///
    /// # Errors
    /// The system's.
    pub fn of(pid: u32) -> io::Result<Self> {
        let process = Self { pid, thread: None };
        process.cpu().map(|_| process)
    }

    /// A thread of this process.
    pub(super) fn thread(thread: Pid) -> Self {
        Self { pid: std::process::id(), thread: Some(thread) }
    }

    /// The processor time that its threads have used.
    pub(super) fn cpu(&self) -> io::Result<Duration> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid));
        let one = self.thread.map(|thread| tasks.join(thread.as_raw_nonzero().to_string()));
        let tasks = match one {
            Some(task) => vec![task],
            None => fs::read_dir(tasks)?.map(|task| Ok(task?.path())).collect::<io::Result<_>>()?,
        };
        tasks
            .iter()
            .map(|task| first_number(&fs::read_to_string(task.join("schedstat"))?))
            .sum::<io::Result<u64>>()
            .map(Duration::from_nanos)
    }

    /// The memory that it has, as far as it is not swapped out.
    pub(super) fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.map_or(Ok(0), |line| first_number(line).map(|kib| kib * 1024))
    }

    /// The processors that it may run on.
    pub(super) fn processors(&self) -> io::Result<CpuSet> {
        Ok(sched_getaffinity(Pid::from_raw(self.pid as i32))?)
    }
}

fn first_number(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| io::Error::other("the kernel tells no figures of processes"))
}
