//! Datagrams in batches: one system call receives many, another sends the replies to them.
//!
//! This is the server's one file with unsafe code, since no safe interface to `recvmmsg(2)`, `sendmmsg(2)` and the
//! packet information of `ip(7)` and `ipv6(7)` does without an allocation for each datagram. All of its memory is made
//! once. Pointers are handed to the kernel only for the length of a call.
#![expect(unsafe_code, reason = "the island of unsafe: system calls that take pointers")]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_int, c_uint, c_void, cmsghdr, iovec, mmsghdr, sockaddr_storage};

/// Room for one control message with the larger kind of packet information, aligned as control messages are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

const CONTROL_LEN: usize = 64;

// SAFETY: CMSG_SPACE only computes.
const _: () =
    assert!(unsafe { libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as c_uint) } as usize <= CONTROL_LEN);
const _: () = assert!(align_of::<Control>() >= align_of::<cmsghdr>());

/// The sizes of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Datagrams that one call may receive.
    pub datagrams: usize,
    /// Bytes kept of a datagram, one more than the longest valid one, so that a truncated datagram is noticed.
    pub datagram_len: usize,
    /// Bytes of the longest reply.
    pub reply_len: usize,
}

impl Shape {
    /// Bytes of memory of a batch.
    pub(crate) fn bytes(self) -> usize {
        let bookkeeping = size_of::<mmsghdr>()
            + size_of::<iovec>()
            + size_of::<sockaddr_storage>()
            + CONTROL_LEN
            + size_of::<Vec<u8>>();
        self.datagrams * (bookkeeping + self.datagram_len + self.reply_len)
    }
}

/// The replies of a batch that could not be sent.
#[derive(Debug)]
pub struct Unsent {
    /// Their number.
    pub replies: u64,
    /// The system's error of the last one.
    pub error: io::Error,
}

/// Room for a batch of datagrams and the replies to them.
pub struct Batch {
    shape: Shape,
    received: usize,
    headers: Vec<mmsghdr>,
    iovecs: Vec<iovec>,
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    datagrams: Vec<u8>,
    replies: Vec<Vec<u8>>,
}

impl Batch {
    /// A batch of this shape, with nothing in it.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        // SAFETY: these are C structures of integers and pointers, for which all zeros is a value.
        let (header, iovec, name) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            shape,
            received: 0,
            headers: vec![header; shape.datagrams],
            iovecs: vec![iovec; shape.datagrams],
            names: vec![name; shape.datagrams],
            controls: vec![Control([0; CONTROL_LEN]); shape.datagrams],
            datagrams: vec![0; shape.datagrams * shape.datagram_len],
            replies: (0..shape.datagrams).map(|_| Vec::with_capacity(shape.reply_len)).collect(),
        }
    }

    /// Receives all datagrams that have arrived, as many as fit. If none has, it waits for one.
    ///
    /// # Errors
    /// The system's; among them `WouldBlock` if none has come at the socket's read timeout.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received = 0;
        let rooms = self.datagrams.chunks_exact_mut(self.shape.datagram_len).zip(&mut self.iovecs);
        let sources = self.names.iter_mut().zip(&mut self.controls);
        for (header, ((room, iovec), (name, control))) in self.headers.iter_mut().zip(rooms.zip(sources)) {
            *iovec = iovec_of(room);
            point(&mut header.msg_hdr, iovec, name, control);
            header.msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
        }
        // SAFETY: every header points to a name, a control buffer and an iovec that live in `self`, are not
        // borrowed elsewhere, and have the lengths given with them.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        self.received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(())
    }

    /// The datagrams in the batch.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let datagrams = self.datagrams.chunks_exact(self.shape.datagram_len).zip(&self.headers);
        let received = datagrams.take(self.received);
        received.map(|(datagram, header)| datagram.get(..header.msg_len as usize).unwrap_or(datagram))
    }

    /// Hands each received datagram to `react`, with its source, and keeps the replies to send. An empty reply is not
    /// sent.
    pub fn react(&mut self, mut react: impl FnMut(Envelope<'_>, &[u8], &mut Vec<u8>)) {
        let datagrams = self.datagrams.chunks_exact(self.shape.datagram_len);
        let envelopes = self.headers.iter().zip(&self.names).zip(&self.controls);
        let envelopes = envelopes.map(|((header, name), control)| Envelope { name, control, header });
        for ((envelope, datagram), reply) in
            envelopes.zip(datagrams).zip(&mut self.replies).take(self.received)
        {
            reply.clear();
            let message = datagram.get(..envelope.header.msg_len as usize).unwrap_or(datagram);
            react(envelope, message, reply);
        }
    }

    /// Sends the replies, each from the address that its datagram was sent to. If one cannot be sent, the others are.
    ///
    /// # Errors
    /// Some replies could not be sent.
    pub fn send(&mut self, socket: &UdpSocket) -> Result<(), Unsent> {
        let mut unsent = self.prepare_replies();
        let (mut replies, mut result) = (0, Ok(()));
        while !unsent.is_empty() {
            // The system call itself, since musl's sendmmsg sends the messages one by one.
            // SAFETY: every header was made by `prepare_replies` just now, and points into `self`. Headers begin as
            // zeros, so the padding of musl's, which the kernel takes for the upper halves of lengths, is zero.
            let sent = unsafe {
                libc::syscall(
                    libc::SYS_sendmmsg,
                    socket.as_raw_fd(),
                    unsent.as_mut_ptr(),
                    unsent.len() as c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            // An error belongs to the first message.
            let done = usize::try_from(sent).unwrap_or_else(|_| {
                replies += 1;
                result = Err(Unsent { replies, error: io::Error::last_os_error() });
                1
            });
            let done = done.max(1);
            unsent = unsent.split_at_mut_checked(done).map_or(&mut [], |(_, rest)| rest);
        }
        result
    }

    /// Turns the headers of datagrams that have a reply into headers of the replies, and packs them at the front.
    fn prepare_replies(&mut self) -> &mut [mmsghdr] {
        let mut outgoing = 0;
        let sources = self.names.iter_mut().zip(&mut self.controls);
        let rooms = self.replies.iter_mut().zip(&mut self.iovecs).zip(sources);
        for (index, ((reply, iovec), (name, control))) in rooms.enumerate().take(self.received) {
            if reply.is_empty() {
                continue;
            }
            self.headers.swap(outgoing, index);
            if let Some(header) = self.headers.get_mut(outgoing) {
                *iovec = iovec_of(reply);
                point(&mut header.msg_hdr, iovec, name, control);
                answer_from_where_it_was_asked(&mut header.msg_hdr);
            }
            outgoing += 1;
        }
        self.headers.get_mut(..outgoing).unwrap_or_default()
    }
}

/// The source of a datagram, in the form that the kernel gave.
#[derive(Clone, Copy)]
pub struct Envelope<'a> {
    name: &'a sockaddr_storage,
    control: &'a Control,
    header: &'a mmsghdr,
}

/// The way back to a peer, for a reply that comes later.
#[derive(Clone, Copy)]
pub struct Route {
    name: sockaddr_storage,
    name_len: libc::socklen_t,
    control: Control,
    control_len: usize,
}

impl Route {
    /// Sends a reply from the address that the datagram was sent to.
    ///
    /// # Errors
    /// The system's.
    pub fn send(mut self, socket: &UdpSocket, reply: &mut [u8]) -> io::Result<()> {
        let mut iovec = iovec_of(reply);
        // SAFETY: this is a C structure of integers and pointers, for which all zeros is a value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        point(&mut header, &mut iovec, &mut self.name, &mut self.control);
        header.msg_namelen = self.name_len;
        header.msg_controllen = self.control_len as _;
        answer_from_where_it_was_asked(&mut header);
        // SAFETY: the header points to a name, a control buffer and an iovec that live until the call returns. The
        // lengths of the first two are those that the kernel gave with them.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Envelope<'_> {
    /// `None` for a family that no socket of ours has.
    pub fn source(self) -> Option<SocketAddr> {
        socket_addr(self.name)
    }

    /// The way back, to be kept.
    pub fn route(self) -> Route {
        let Self { name, control, header: mmsghdr { msg_hdr: header, .. } } = self;
        let (name_len, control_len) = (header.msg_namelen, header.msg_controllen as _);
        Route { name: *name, name_len, control: *control, control_len }
    }
}

/// Points a header at its buffers, for the next system call. The caller sets their lengths.
fn point(header: &mut libc::msghdr, iovec: &mut iovec, name: &mut sockaddr_storage, control: &mut Control) {
    header.msg_name = ptr::from_mut(name).cast();
    header.msg_iov = iovec;
    header.msg_iovlen = 1;
    header.msg_control = ptr::from_mut(control).cast();
}

fn iovec_of(buffer: &mut [u8]) -> iovec {
    iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
}

/// The source of a datagram; `None` for a family that no socket of ours has.
fn socket_addr(name: &sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage has the size and alignment of every address, and the family is IPv4.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, and the family is IPv6.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(address, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Turns the packet information of a datagram into that of its reply: the destination becomes the source, and routing
/// chooses the interface.
fn answer_from_where_it_was_asked(header: &mut libc::msghdr) {
    // SAFETY: the control buffer and its length are what the kernel left there after receiving.
    let control = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: CMSG_FIRSTHDR gives null, or a header that lies whole in the buffer.
    let Some(info) = (unsafe { control.as_ref() }) else {
        return;
    };
    // SAFETY: the kernel wrote a control message of this level and type with its data whole behind it, and the
    // data is aligned as CMSG_DATA gives it.
    unsafe {
        match (info.cmsg_level, info.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                (*libc::CMSG_DATA(control).cast::<libc::in_pktinfo>()).ipi_ifindex = 0;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info = &mut *libc::CMSG_DATA(control).cast::<libc::in6_pktinfo>();
                // A link-local address means nothing without its interface.
                if !Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local() {
                    info.ipi6_ifindex = 0;
                }
            }
            _ => header.msg_controllen = 0,
        }
    }
}

/// Asks the kernel for the destination of each datagram, which is otherwise unknown on a wildcard address.
///
/// # Errors
/// The system's.
pub fn request_destinations(socket: &UdpSocket) -> io::Result<()> {
    let (level, option) = match socket.local_addr()? {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: c_int = 1;
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the option takes an int, and `on` is one.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&on).cast::<c_void>(), len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_that_cannot_be_sent_is_counted() {
        let [socket, peer] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for _ in 0..3 {
            peer.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        }
        let mut batch = Batch::new(Shape { datagrams: 4, datagram_len: 16, reply_len: 16 });
        while let Err(error) = batch.receive(&socket) {
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        }
        // A reply of this length does not fit a datagram.
        batch.react(|_, _, reply| reply.resize(1 << 16, b'x'));
        assert_eq!(batch.send(&socket).unwrap_err().replies, 3);
    }
}
