//! The system calls that a server needs once its sockets are bound.
//!
//! Measured on x86_64 with glibc; for aarch64, and for musl, which uses some older ones, written by their manuals.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use super::Files;

/// Whatever their arguments.
const ALLOWED: &[c_long] = &[
    // Datagrams, connections, and waiting for them.
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_socketpair,
    // What is open, such as standard error.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_lseek,
    libc::SYS_geteuid,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads of its own; to start one is below.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals, time, randomness.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
];

/// Older ones, which newer machines do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// The request to make a socket non-blocking; libc has it in types that differ.
const FIONBIO: u64 = 0x5421;

/// What opens a file for more than to read it.
const WRITING: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;

/// With these bits in an argument: the call, which of its arguments, the bits that are looked at, and how they are to
/// be. clone3 has its flags in memory, where no filter sees them, so libraries have to do with clone.
const ALLOWED_WITH: &[(c_long, u8, u64, u64)] = &[
    (libc::SYS_clone, 0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64),
    (libc::SYS_prctl, 0, u32::MAX as u64, libc::PR_SET_NAME as u64),
    (libc::SYS_prctl, 0, u32::MAX as u64, libc::PR_SET_VMA as u64),
    (libc::SYS_fcntl, 1, u32::MAX as u64, libc::F_GETFD as u64),
    (libc::SYS_fcntl, 1, u32::MAX as u64, libc::F_GETFL as u64),
    (libc::SYS_fcntl, 1, u32::MAX as u64, libc::F_DUPFD_CLOEXEC as u64),
    (libc::SYS_ioctl, 1, u32::MAX as u64, FIONBIO),
];

/// Where there is a file that is read again; whoever does that steps back for others.
const READING: &[(c_long, u8, u64, u64)] = &[
    (libc::SYS_openat, 2, WRITING as u64, libc::O_RDONLY as u64),
    (libc::SYS_sched_setscheduler, 1, u32::MAX as u64, libc::SCHED_IDLE as u64),
    (libc::SYS_setpriority, 0, u32::MAX as u64, libc::PRIO_PROCESS as u64),
];

/// Where there is a file to append to.
const APPENDING: &[(c_long, u8, u64, u64)] = &[(
    libc::SYS_openat,
    2,
    (libc::O_ACCMODE | libc::O_TRUNC | libc::O_APPEND) as u64,
    (libc::O_WRONLY | libc::O_APPEND) as u64,
)];

/// Where logins are made: sockets of IPv4 and IPv6, and no others.
const CONNECTING: &[(c_long, u8, u64, u64)] = &[
    (libc::SYS_socket, 0, u32::MAX as u64, libc::AF_INET as u64),
    (libc::SYS_socket, 0, u32::MAX as u64, libc::AF_INET6 as u64),
];

/// To be used with them.
const CONNECTING_WITH_ANY: &[c_long] = &[libc::SYS_bind, libc::SYS_connect];

/// Makes all calls but those listed come to `otherwise`, for this thread and those that it starts later.
pub(super) fn allow_only_listed(otherwise: SeccompAction, files: &Files) -> Result<(), Error> {
    let always = ALLOWED.iter().chain(OLDER).map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<_, _> = always.collect();
    if files.connect {
        rules.extend(CONNECTING_WITH_ANY.iter().map(|call| (*call, Vec::new())));
    }
    let connecting = if files.connect { CONNECTING } else { &[] };
    let reading = if files.read.is_empty() { &[] } else { READING };
    let appending = if files.append.is_empty() { &[] } else { APPENDING };
    for (call, argument, mask, bits) in ALLOWED_WITH.iter().chain(reading).chain(appending).chain(connecting)
    {
        let with = SeccompCmpOp::MaskedEq(*mask);
        let condition = SeccompCondition::new(*argument, SeccompCmpArgLen::Qword, with, *bits)?;
        rules.entry(*call).or_default().push(SeccompRule::new(vec![condition])?);
    }
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    apply_filter(&program)
}
