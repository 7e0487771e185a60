//! The system calls that a server needs once its sockets are bound.
//!
//! The list was measured on x86_64 with glibc, and completed for musl, which uses some older calls, and for aarch64.
//! On x86_64 the tests of packages try musl; aarch64 is by its manuals.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::process;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use super::{Needs, Network};

/// Calls that are allowed with any arguments.
const ALLOWED: &[c_long] = &[
    // Datagrams, connections, and waiting for them.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
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
    // Open files, such as standard error.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_geteuid,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads of the process. The call that starts one is below.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
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

/// Older calls, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// The ioctl that makes a socket non-blocking. Its type in libc differs between architectures.
const FIONBIO: u64 = 0x5421;

/// The flags that open a file for more than reading, or only its path.
const WRITING: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | libc::O_PATH;

/// A condition on an argument: its index, a mask, and the required bits under the mask.
type Argument = (u8, u64, u64);

/// The flags of calls that open a file for reading, whose index differs.
const fn for_reading(flags: u8) -> Argument {
    (flags, WRITING as u64, libc::O_RDONLY as u64)
}

/// The same for appending.
const fn for_appending(flags: u8) -> Argument {
    let mask = libc::O_ACCMODE | libc::O_TRUNC | libc::O_APPEND | libc::O_PATH;
    (flags, mask as u64, (libc::O_WRONLY | libc::O_APPEND) as u64)
}

/// The same for reading and writing.
const fn for_keeping(flags: u8) -> Argument {
    (flags, libc::O_PATH as u64, 0)
}

/// The mask for all bits of an argument that is an int.
const ALL: u64 = u32::MAX as u64;

/// Forbids to connect a socket by sending.
const fn no_fast_open(flags: u8) -> Argument {
    (flags, libc::MSG_FASTOPEN as u64, 0)
}
const NO_ADDRESS: Argument = (4, u64::MAX, 0);
const NOT_EXECUTABLE: Argument = (2, libc::PROT_EXEC as u64, 0);

/// Calls that are allowed with these arguments. clone3 is missing because its flags are in memory, where no filter sees
/// them, so libraries fall back to clone; newfstatat and statx, because their paths are, and lead to any file.
const ALLOWED_WITH: &[(c_long, &[Argument])] = &[
    (libc::SYS_sendto, &[no_fast_open(3), NO_ADDRESS]),
    (libc::SYS_socketpair, &[(0, ALL, libc::AF_UNIX as u64), (1, SOCKET_KIND, libc::SOCK_STREAM as u64)]),
    (libc::SYS_mmap, &[NOT_EXECUTABLE]),
    (libc::SYS_mprotect, &[NOT_EXECUTABLE]),
    (libc::SYS_clone, &[(0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64)]),
    (libc::SYS_prctl, &[(0, ALL, libc::PR_SET_NAME as u64)]),
    (libc::SYS_prctl, &[(0, ALL, libc::PR_SET_VMA as u64)]),
    (libc::SYS_fcntl, &[(1, ALL, libc::F_GETFD as u64)]),
    (libc::SYS_fcntl, &[(1, ALL, libc::F_GETFL as u64)]),
    (libc::SYS_fcntl, &[(1, ALL, libc::F_DUPFD_CLOEXEC as u64)]),
    (libc::SYS_ioctl, &[(1, ALL, FIONBIO)]),
];

/// The mask for the type of a socket, without its flags.
const SOCKET_KIND: u64 = 0xf;

/// Calls for a server that reloads a file, and for threads of low priority, which make offers and reload.
const READING: &[(c_long, &[Argument])] = &[
    (libc::SYS_openat, &[for_reading(2)]),
    #[cfg(target_arch = "x86_64")] // musl
    (libc::SYS_open, &[for_reading(1)]),
    (libc::SYS_fstatfs, &[]),
    (libc::SYS_setpriority, &[(0, ALL, libc::PRIO_PROCESS as u64), (1, ALL, 0)]),
];

/// Calls for a server that appends to a file.
const APPENDING: &[(c_long, &[Argument])] = &[
    (libc::SYS_openat, &[for_appending(2)]),
    #[cfg(target_arch = "x86_64")] // musl
    (libc::SYS_open, &[for_appending(1)]),
];

/// Calls for a server that answers datagrams. A filter cannot see their addresses, which are in memory. Some libraries
/// send a batch one by one.
const DATAGRAMS: &[(c_long, &[Argument])] = &[
    (libc::SYS_recvmmsg, &[]),
    (libc::SYS_sendmmsg, &[no_fast_open(3)]),
    (libc::SYS_sendmsg, &[no_fast_open(2)]),
];

/// Calls for a program that logs in, with sockets of IPv4 and IPv6 only.
const LOGINS: &[(c_long, &[Argument])] = &[
    (libc::SYS_socket, &[(0, ALL, libc::AF_INET as u64)]),
    (libc::SYS_socket, &[(0, ALL, libc::AF_INET6 as u64)]),
    (libc::SYS_bind, &[]),
    (libc::SYS_connect, &[]),
];

/// Calls for a program that asks a database. Names are looked up by datagrams, which glibc sends by sendmmsg to any
/// address, and musl by sendto.
const DATABASE: &[(c_long, &[Argument])] = &[
    (libc::SYS_socket, &[(0, ALL, libc::AF_INET as u64)]),
    (libc::SYS_socket, &[(0, ALL, libc::AF_INET6 as u64)]),
    (libc::SYS_socket, &[(0, ALL, libc::AF_UNIX as u64)]),
    (libc::SYS_bind, &[]),
    (libc::SYS_connect, &[]),
    (libc::SYS_sendmmsg, &[no_fast_open(3)]),
    (libc::SYS_sendto, &[no_fast_open(3)]),
];

/// Calls for a program that keeps the files of a folder. They are by path: Landlock says which files may be opened,
/// replaced and removed, but not whose status may be seen.
const KEEPING: &[(c_long, &[Argument])] = &[
    (libc::SYS_openat, &[for_keeping(2)]),
    (libc::SYS_newfstatat, &[]),
    (libc::SYS_statx, &[]),
    (libc::SYS_renameat2, &[]),
    (libc::SYS_unlinkat, &[]),
    (libc::SYS_ftruncate, &[]),
    (libc::SYS_fsync, &[]),
    (libc::SYS_fdatasync, &[]),
    (libc::SYS_fchmod, &[]),
    (libc::SYS_fchown, &[]),
    (libc::SYS_utimensat, &[]),
];

/// Older ones of these.
#[cfg(target_arch = "x86_64")]
const KEEPING_OLDER: &[(c_long, &[Argument])] = &[
    (libc::SYS_open, &[for_keeping(1)]),
    (libc::SYS_rename, &[]),
    (libc::SYS_unlink, &[]),
    (libc::SYS_stat, &[]),
    (libc::SYS_lstat, &[]),
];
#[cfg(target_arch = "aarch64")]
const KEEPING_OLDER: &[(c_long, &[Argument])] = &[(libc::SYS_renameat, &[])];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const KEEPING_OLDER: &[(c_long, &[Argument])] = &[];

/// Applies `otherwise` to all calls but those listed, for this thread and those that it starts later.
pub(super) fn allow_only_listed(otherwise: SeccompAction, needs: &Needs) -> Result<(), Error> {
    apply_filter(&filter(otherwise, needs)?)
}

fn filter(otherwise: SeccompAction, needs: &Needs) -> Result<BpfProgram, Error> {
    let own: &[Argument] = &[(0, ALL, process::id().into())];
    let of_network = match needs.network {
        Network::Datagrams => DATAGRAMS,
        Network::Connections => &[],
        Network::Logins => LOGINS,
        Network::Database => DATABASE,
    };
    let reading = if needs.read.is_empty() { &[] } else { READING };
    let appending = if needs.append.is_empty() { &[] } else { APPENDING };
    let keeping = if needs.keep.is_empty() { [&[][..], &[]] } else { [KEEPING, KEEPING_OLDER] };
    let always = ALLOWED.iter().chain(OLDER).map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<_, Vec<_>> = always.collect();
    for (call, arguments) in
        [ALLOWED_WITH, of_network, reading, appending, keeping[0], keeping[1], &[(libc::SYS_tgkill, own)]]
            .concat()
    {
        let rules = rules.entry(call).or_default();
        if !arguments.is_empty() {
            rules.push(rule(arguments)?);
        }
    }
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

fn rule(arguments: &[Argument]) -> Result<SeccompRule, Error> {
    let condition = |(argument, mask, bits): &Argument| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(*mask), *bits)
    };
    Ok(SeccompRule::new(arguments.iter().map(condition).collect::<Result<_, _>>()?)?)
}

#[cfg(test)]
mod tests;
