//! Least privilege: a server gives up these rights once its sockets are bound.
//!
//! | part | takes away |
//! |---|---|
//! | another user (`--user`) | the rights of root |
//! | no new privileges | programs that would give rights back |
//! | not dumpable, no core files | memory with passwords in it, for debuggers and in files |
//! | Landlock | all files but those in the users file's folder, to read, and in that of the audit, to write; TCP
//! sockets that listen or connect; signals to other processes, and abstract sockets of theirs |
//! | seccomp | all system calls but those in `syscalls` |
//!
//! The gateway (`letmein-http`) may open sockets that connect, since it logs in, and so may letmein-sync, which asks a
//! database, and also keeps the files of a folder.
//!
//! The sandbox holds for the thread that enters it and for those that it starts later, so a server enters before it
//! starts any worker.

pub(crate) mod self_test;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod syscalls;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use nix::unistd::{User, setgid, setgroups, setuid};
use rustix::fs::{Stat, fstat};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use seccompiler::SeccompAction;
use tracing::{info, warn};

/// How the sandbox treats forbidden acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There is no sandbox.
    Off,
    /// The kernel lets forbidden system calls through and logs them; nothing else is restricted.
    Log,
    /// Forbidden acts fail.
    On,
}

/// The Landlock of Linux 6.12. An older kernel enforces the part that it knows.
const LANDLOCK: ABI = ABI::V6;

/// What is allowed in a folder whose files are kept.
const KEEPING: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | MakeReg | RemoveFile});

/// Changes to another user and that user's groups.
///
/// # Errors
/// There is no such user, or the system refuses.
pub(crate) fn become_user(name: &str) -> io::Result<()> {
    let user = find_user(name)?;
    setgroups(&[user.gid])?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}

/// The rights that a program keeps.
#[derive(Debug)]
pub struct Needs {
    /// Folders below which all files may be read.
    pub read: Vec<OwnedFd>,
    /// Folders in which files may be made and written to.
    pub append: Vec<OwnedFd>,
    /// Folders in which files may be made, read, written to, replaced and removed.
    pub keep: Vec<OwnedFd>,
    /// How the program uses sockets.
    pub network: Network,
}

/// How a program uses sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It answers datagrams, each to an address of its own, and perhaps on connections, too.
    Datagrams,
    /// It answers on connections that it has accepted.
    Connections,
    /// It logs in at a server, for which it opens and connects sockets of IPv4 and IPv6.
    Logins,
    /// It asks a database, by IPv4, IPv6 or a Unix socket, and looks its name up.
    Database,
}

impl Needs {
    /// Whether a path is below a folder that is needed.
    pub(crate) fn include(&self, path: &Path) -> bool {
        let is_needed = |folder: &Path| {
            let Ok(folder) = fs::metadata(folder) else { return false };
            let is_same = |stat: Stat| (stat.st_dev, stat.st_ino) == (folder.dev(), folder.ino());
            self.read.iter().chain(&self.append).any(|needed| fstat(needed).is_ok_and(is_same))
        };
        path.canonicalize().is_ok_and(|path| path.ancestors().any(is_needed))
    }
}

/// A user of this machine.
///
/// # Errors
/// There is none of this name.
pub(crate) fn find_user(name: &str) -> io::Result<User> {
    User::from_name(name)?.ok_or_else(|| io::Error::other("there is no user of this name"))
}

/// Gives up all rights but those in `needs`. A part of the sandbox that this kernel lacks is logged and left out.
///
/// # Errors
/// The system refuses a part that every kernel has.
pub fn enter(mode: Mode, needs: &Needs) -> io::Result<()> {
    set_no_new_privs(true)?;
    hide_memory()?;
    match mode {
        Mode::Off => warn!("sandbox: off"),
        Mode::Log => restrict_syscalls(SeccompAction::Log, needs),
        Mode::On => {
            restrict_files(needs);
            // This error means that the kernel lacks the call, so libraries do without or use an older one.
            restrict_syscalls(SeccompAction::Errno(libc::ENOSYS as u32), needs);
        }
    }
    Ok(())
}

/// Keeps the memory of this process from debuggers and core files.
///
/// # Errors
/// The system refuses.
pub fn hide_memory() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

fn restrict_files(needs: &Needs) {
    let forbidden = match needs.network {
        Network::Datagrams | Network::Connections => AccessNet::BindTcp | AccessNet::ConnectTcp,
        Network::Logins | Network::Database => AccessNet::BindTcp.into(),
    };
    let restricted = || -> Result<_, RulesetError> {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(forbidden)?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?
            .add_rules(
                needs
                    .read
                    .iter()
                    .map(|folder| Ok::<_, RulesetError>(PathBeneath::new(folder, AccessFs::ReadFile))),
            )?
            .add_rules(needs.append.iter().map(|folder| {
                Ok::<_, RulesetError>(PathBeneath::new(folder, AccessFs::WriteFile | AccessFs::MakeReg))
            }))?
            .add_rules(
                needs.keep.iter().map(|folder| Ok::<_, RulesetError>(PathBeneath::new(folder, KEEPING))),
            )?
            .restrict_self()
    };
    match restricted().map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(RulesetStatus::PartiallyEnforced) => {
            info!("sandbox: this kernel has only part of Landlock; the rest is not enforced")
        }
        Ok(RulesetStatus::NotEnforced) => warn!("sandbox: this kernel has no Landlock; running without it"),
        Err(error) => warn!("sandbox: Landlock: {error}; running without it"),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
fn restrict_syscalls(otherwise: SeccompAction, needs: &Needs) {
    if let Err(error) = syscalls::allow_only_listed(otherwise, needs) {
        warn!("sandbox: seccomp: {error}; running without it");
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn restrict_syscalls(_: SeccompAction, _: &Needs) {
    warn!("sandbox: no seccomp filter for this kind of processor; running without it");
}
