use super::*;
use users::open_folder;

const SERVERS: [Network; 2] = [Network::Datagrams, Network::Connections];
const ALL: [Network; 4] = [Network::Datagrams, Network::Connections, Network::Logins, Network::Database];

/// A server that reads users and writes an audit, a gateway, or a program that keeps users as a database has them.
fn needs(network: Network) -> Needs {
    let folder = || vec![open_folder("/".as_ref()).unwrap()];
    let needs = Needs { read: Vec::new(), append: Vec::new(), keep: Vec::new(), network };
    match network {
        Network::Datagrams | Network::Connections => Needs { read: folder(), append: folder(), ..needs },
        Network::Logins => needs,
        Network::Database => Needs { read: folder(), keep: folder(), ..needs },
    }
}

/// Whether the filter allows a call, computed as the kernel would.
fn is_allowed(network: Network, call: c_long, args: [u64; 6]) -> bool {
    let program = filter(SeccompAction::Trap, &needs(network)).unwrap();
    let arch = match ARCH {
        "x86_64" => 0xc000_003e,
        "aarch64" => 0xc000_00b7_u32,
        _ => 0xc000_00f3,
    };
    let mut data = [(call as u32).to_ne_bytes(), arch.to_ne_bytes(), [0; 4], [0; 4]].concat();
    data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
    let (mut accumulator, mut next) = (0, 0);
    loop {
        let instruction = &program[next];
        let operand = instruction.k;
        let is_true = match instruction.code {
            0x06 => return operand == u32::from(SeccompAction::Allow),
            0x20 => {
                let offset = operand as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
                true
            }
            0x54 => {
                accumulator &= operand;
                true
            }
            0x05 => {
                next += operand as usize;
                true
            }
            0x15 => accumulator == operand,
            0x25 => accumulator > operand,
            0x35 => accumulator >= operand,
            code => panic!("instruction {code:#x}"),
        };
        let is_jump = matches!(instruction.code, 0x15 | 0x25 | 0x35);
        let jump = if is_true { instruction.jt } else { instruction.jf };
        next += 1 + if is_jump { usize::from(jump) } else { 0 };
    }
}

#[test]
fn nothing_is_sent_that_opens_a_connection() {
    for network in ALL {
        for flags in [libc::MSG_FASTOPEN, libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL].map(|flags| flags as u64) {
            assert!(!is_allowed(network, libc::SYS_sendto, [3, 0, 1, flags, 0, 0]), "{network:?}");
            assert!(!is_allowed(network, libc::SYS_sendmsg, [3, 0, flags, 0, 0, 0]), "{network:?}");
            assert!(!is_allowed(network, libc::SYS_sendmmsg, [3, 0, 1, flags, 0, 0]), "{network:?}");
        }
    }
}

#[test]
fn only_replies_to_datagrams_and_questions_for_a_name_say_where_they_go() {
    for network in ALL {
        let flags = libc::MSG_NOSIGNAL as u64;
        assert!(is_allowed(network, libc::SYS_sendto, [3, 0, 1, flags, 0, 0]), "{network:?}");
        let asks_for_names = network == Network::Database;
        for address in [1, 1 << 32] {
            let sent = [3, 0, 1, flags, address, 16];
            assert_eq!(is_allowed(network, libc::SYS_sendto, sent), asks_for_names, "{network:?}");
        }
        let sends_batches = matches!(network, Network::Datagrams | Network::Database);
        let batch = [3, 0, 1, libc::MSG_DONTWAIT as u64, 0, 0];
        assert_eq!(is_allowed(network, libc::SYS_sendmmsg, batch), sends_batches, "{network:?}");
        let answers_datagrams = network == Network::Datagrams;
        assert_eq!(
            is_allowed(network, libc::SYS_sendmsg, [3, 0, 0, 0, 0, 0]),
            answers_datagrams,
            "{network:?}"
        );
    }
    for (kind, allowed) in [(libc::SOCK_STREAM, true), (libc::SOCK_DGRAM, false)] {
        let args = [libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, 0, 0, 0].map(|arg| arg as u64);
        assert_eq!(is_allowed(Network::Datagrams, libc::SYS_socketpair, args), allowed);
    }
}

#[test]
fn signals_reach_no_other_process() {
    let own = u64::from(process::id());
    for network in ALL {
        assert!(is_allowed(network, libc::SYS_tgkill, [own, 1, 6, 0, 0, 0]));
        assert!(!is_allowed(network, libc::SYS_tgkill, [own + 1, own + 1, 9, 0, 0, 0]));
        for call in [libc::SYS_kill, libc::SYS_tkill, libc::SYS_rt_tgsigqueueinfo] {
            assert!(!is_allowed(network, call, [own, 9, 9, 0, 0, 0]));
        }
    }
}

#[test]
fn no_memory_becomes_executable() {
    let (data, code) = ((libc::PROT_READ | libc::PROT_WRITE) as u64, libc::PROT_EXEC as u64);
    for network in ALL {
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            assert!(is_allowed(network, call, [0, 4096, data, 0, 0, 0]));
            for executable in [code, code | data] {
                assert!(!is_allowed(network, call, [0, 4096, executable, 0, 0, 0]));
            }
        }
        assert!(!is_allowed(network, libc::SYS_pkey_mprotect, [0, 4096, code, 0, 0, 0]));
    }
}

#[test]
fn files_are_opened_or_not_there() {
    for network in SERVERS {
        let opens = |flags: i32| is_allowed(network, libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0]);
        assert!(opens(libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK));
        assert!(opens(libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT));
        assert!(!opens(libc::O_PATH) && !opens(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW));
        assert!(!opens(libc::O_PATH | libc::O_WRONLY | libc::O_APPEND));
        assert!(!opens(libc::O_RDWR) && !opens(libc::O_WRONLY | libc::O_TRUNC));
        assert!(is_allowed(network, libc::SYS_fstat, [0; 6]));
        // Even with AT_EMPTY_PATH, the path may be an absolute one, and no filter sees it.
        for call in [libc::SYS_newfstatat, libc::SYS_statx] {
            assert!(!is_allowed(network, call, [0, 0, libc::AT_EMPTY_PATH as u64, 0, 0, 0]));
            assert!(!is_allowed(network, call, [0, 0, 0, libc::AT_EMPTY_PATH as u64, 0, 0]));
        }
    }
}
#[cfg(target_arch = "x86_64")]
#[test]
fn the_older_call_that_opens_a_file_may_do_what_the_newer_one_may() {
    let access = [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR];
    let others = [libc::O_CREAT, libc::O_TRUNC, libc::O_APPEND, libc::O_PATH, libc::O_CLOEXEC];
    for network in ALL {
        for chosen in 0..1 << others.len() {
            let others = others.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
            let others = others.fold(0, |flags, (_, flag)| flags | flag);
            for flags in access.map(|access| (access | others) as u64) {
                let older = is_allowed(network, libc::SYS_open, [0, flags, 0, 0, 0, 0]);
                let newer = is_allowed(network, libc::SYS_openat, [0, 0, flags, 0, 0, 0]);
                assert_eq!(older, newer, "{network:?} {flags:#o}");
            }
        }
        assert_eq!(is_allowed(network, libc::SYS_lstat, [0; 6]), network == Network::Database);
    }
}
