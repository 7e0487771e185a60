//! Datagrams in batches, at one socket that has many addresses: each is received with the address of ours that it was
//! sent to, and each is sent from an address of its own.
//!
//! No safe interface to `recvmmsg(2)` and `sendmmsg(2)` sends each datagram of a batch from another address. Pointers
//! are handed to the kernel only for the length of a call.
#![expect(unsafe_code, reason = "system calls that take pointers")]

use std::io;
use std::mem::{self, offset_of};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_uint, cmsghdr, in_addr, in_pktinfo, iovec, mmsghdr, sockaddr_in};

use super::LONGEST_REPLY;
use proto::opaque;
use proto::wire::MESSAGE_MAX;

/// Datagrams of a batch, as many as the server has.
const BATCH_LEN: usize = 64;
/// One byte more than the longest reply has, so that a longer one is seen to be so.
const DATAGRAM_LEN: usize = LONGEST_REPLY + 1;
const _: () = assert!(DATAGRAM_LEN >= MESSAGE_MAX && DATAGRAM_LEN >= opaque::wire::MESSAGE_MAX);

/// A batch of datagrams that were received, or are to be sent.
pub(super) struct MultihomedBatch {
    len: usize,
    datagrams: Vec<Datagram>,
    iovecs: Vec<iovec>,
    headers: Vec<mmsghdr>,
}

/// One datagram, in the structures of the kernel.
#[derive(Clone, Copy)]
struct Datagram {
    peer: sockaddr_in,
    control: PacketInfo,
    bytes: [u8; DATAGRAM_LEN],
    len: usize,
}

/// The control message that tells our address: `IP_PKTINFO` of ip(7).
#[derive(Clone, Copy)]
#[repr(C)]
struct PacketInfo {
    /// The kernel aligns it as a word, and not every C library says so in its `cmsghdr`.
    aligned: [usize; 0],
    head: cmsghdr,
    info: in_pktinfo,
}

const INFO_LEN: c_uint = size_of::<in_pktinfo>() as c_uint;
// SAFETY: these macros only compute.
const CONTROL_LEN: (usize, usize) =
    unsafe { (libc::CMSG_LEN(INFO_LEN) as usize, libc::CMSG_SPACE(INFO_LEN) as usize) };
const _: () = assert!(offset_of!(PacketInfo, info) + size_of::<in_pktinfo>() == CONTROL_LEN.0);
const _: () = assert!(size_of::<PacketInfo>() == CONTROL_LEN.1);

impl MultihomedBatch {
    pub(super) fn new() -> Self {
        // SAFETY: these are C structures of integers and pointers, for which all zeros is a value.
        let (peer, control, iovec, header) =
            unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let datagram = Datagram { peer, control, bytes: [0; DATAGRAM_LEN], len: 0 };
        Self {
            len: 0,
            datagrams: vec![datagram; BATCH_LEN],
            iovecs: vec![iovec; BATCH_LEN],
            headers: vec![header; BATCH_LEN],
        }
    }

    /// Takes the datagrams that are there, up to a batch of them.
    ///
    /// # Errors
    /// The system's; among them `WouldBlock` if there are none.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        for datagram in &mut self.datagrams {
            datagram.len = DATAGRAM_LEN;
            // It stays so if the kernel does not tell our address.
            datagram.control.head.cmsg_type = 0;
        }
        self.len = 0;
        self.point_headers();
        let (fd, headers, len) =
            (socket.as_raw_fd(), self.headers.as_mut_ptr(), self.headers.len() as c_uint);
        // SAFETY: every header points to parts of `self` that nothing else borrows, and has their lengths.
        let received = unsafe { libc::recvmmsg(fd, headers, len, libc::MSG_DONTWAIT as _, ptr::null_mut()) };
        self.len = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (datagram, header) in self.datagrams.iter_mut().zip(&self.headers).take(self.len) {
            datagram.len = header.msg_len as usize;
        }
        Ok(())
    }

    /// The datagrams in the batch: who sent them, to which address of ours, and their bytes.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (SocketAddrV4, Ipv4Addr, &[u8])> {
        self.datagrams.iter().take(self.len).filter_map(|datagram| {
            let bytes = datagram.bytes.get(..datagram.len)?;
            Some((datagram.peer(), datagram.local()?, bytes))
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == BATCH_LEN
    }

    /// Adds a datagram from an address of ours to `peer`. A full batch has no place for it, and it is lost.
    pub(super) fn push(&mut self, local: Ipv4Addr, peer: SocketAddrV4, message: &[u8]) {
        if let Some(datagram) = self.datagrams.get_mut(self.len)
            && let Some(bytes) = datagram.bytes.get_mut(..message.len())
        {
            bytes.copy_from_slice(message);
            datagram.len = message.len();
            datagram.address(local, peer);
            self.len += 1;
        }
    }

    /// Sends the datagrams, and empties the batch. Those that cannot be sent are lost, as others are on the way.
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        self.point_headers();
        let mut done = 0;
        while let Some(unsent) = self.headers.get_mut(done..self.len).filter(|unsent| !unsent.is_empty()) {
            let (fd, headers, len) = (socket.as_raw_fd(), unsent.as_mut_ptr(), unsent.len() as c_uint);
            // SAFETY: every header points to parts of `self` that nothing else borrows, and has their lengths.
            let sent = unsafe { libc::sendmmsg(fd, headers, len, libc::MSG_DONTWAIT as _) };
            // An error is that of the first datagram.
            done += usize::try_from(sent).unwrap_or(1).max(1);
        }
        self.len = 0;
    }

    /// Points each header at its datagram, for the next call to the kernel.
    fn point_headers(&mut self) {
        let parts = self.datagrams.iter_mut().zip(&mut self.iovecs);
        for (header, (datagram, piece)) in self.headers.iter_mut().zip(parts) {
            *piece = iovec { iov_base: datagram.bytes.as_mut_ptr().cast(), iov_len: datagram.len };
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(&mut datagram.peer).cast();
            header.msg_namelen = size_of::<sockaddr_in>() as libc::socklen_t;
            header.msg_iov = piece;
            header.msg_iovlen = 1;
            header.msg_control = ptr::from_mut(&mut datagram.control).cast();
            header.msg_controllen = size_of::<PacketInfo>() as _;
        }
    }
}

impl Datagram {
    fn peer(&self) -> SocketAddrV4 {
        let address = Ipv4Addr::from(u32::from_be(self.peer.sin_addr.s_addr));
        SocketAddrV4::new(address, u16::from_be(self.peer.sin_port))
    }

    /// The address of ours that it was sent to, if the kernel told it.
    fn local(&self) -> Option<Ipv4Addr> {
        let PacketInfo { head, info, .. } = &self.control;
        let is_told = (head.cmsg_level, head.cmsg_type) == (libc::IPPROTO_IP, libc::IP_PKTINFO);
        is_told.then(|| Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
    }

    /// Makes it one from an address of ours to `peer`.
    fn address(&mut self, local: Ipv4Addr, peer: SocketAddrV4) {
        self.peer.sin_family = libc::AF_INET as libc::sa_family_t;
        self.peer.sin_port = peer.port().to_be();
        self.peer.sin_addr.s_addr = u32::from(*peer.ip()).to_be();
        let address = in_addr { s_addr: u32::from(local).to_be() };
        self.control.head.cmsg_len = CONTROL_LEN.0 as _;
        self.control.head.cmsg_level = libc::IPPROTO_IP;
        self.control.head.cmsg_type = libc::IP_PKTINFO;
        self.control.info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: address };
    }
}

#[cfg(test)]
mod tests {
    use server::net::batch::request_destinations;

    use super::*;

    #[test]
    fn a_datagram_goes_from_its_own_address_and_is_received_with_the_one_that_it_was_sent_to() {
        let [ours, peer] = ["0.0.0.0:0", "127.0.0.1:0"].map(|address| UdpSocket::bind(address).unwrap());
        request_destinations(&ours).unwrap();
        let peer_address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, peer.local_addr().unwrap().port());
        let mut batch = MultihomedBatch::new();
        let locals = [2, 3, 4].map(|host| Ipv4Addr::new(127, 1, 0, host));
        for local in locals {
            batch.push(local, peer_address, &local.octets());
        }
        batch.send(&ours);
        for _ in locals {
            let mut message = [0; 8];
            let (len, source) = peer.recv_from(&mut message).unwrap();
            peer.send_to(&message[..len], source).unwrap();
        }
        batch.receive(&ours).unwrap();
        let received: Vec<_> = batch.datagrams().collect();
        let octets = locals.map(|local| local.octets());
        let expected: Vec<_> = locals
            .into_iter()
            .zip(&octets)
            .map(|(local, octets)| (peer_address, local, &octets[..]))
            .collect();
        assert_eq!(received, expected);
    }
}
