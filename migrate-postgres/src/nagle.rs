//! Has small messages sent at once.
//!
//! The driver leaves its sockets as the system makes them: a small message waits until what was sent before is acknowledged, which the
//! server puts off for up to 40 ms while it has nothing to say. That is how a COPY ends, and each batch is one.

/// Sets `TCP_NODELAY` on this process's connections to servers on a port. Where that is not possible they are slower, no more.
///
/// The driver does not hand its sockets out, so that they are looked for among the process's own.
#[cfg(target_os = "linux")]
pub(crate) fn send_at_once(port: u16) {
    use rustix::net::sockopt::{set_tcp_nodelay, tcp_nodelay};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let (Ok(own), Ok(entries)) = (pidfd_open(getpid(), PidfdFlags::empty()), std::fs::read_dir("/proc/self/fd")) else { return };
    for entry in entries.flatten() {
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|_| is_socket) else { continue };
        // A second name for the same socket, which goes away at once.
        let Ok(socket) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        if peer_port(&socket) == Some(port) && tcp_nodelay(&socket) == Ok(false) {
            let _ = set_tcp_nodelay(&socket, true);
        }
    }
}

#[cfg(target_os = "linux")]
fn peer_port(socket: &impl std::os::fd::AsFd) -> Option<u16> {
    let address = rustix::net::getpeername(socket).ok()??;
    std::net::SocketAddr::try_from(address).ok().map(|address| address.port())
}

/// Other systems offer no way to a socket of the driver's.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send_at_once(_port: u16) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::send_at_once;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_to_the_port_and_no_others_send_at_once() {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (server, other) = (listen(), listen());
        let connect = |to: &TcpListener| TcpStream::connect(to.local_addr().expect("its address")).expect("it listens");
        let (ours, theirs) = (connect(&server), connect(&other));
        assert!(!ours.nodelay().expect("an option"));
        send_at_once(server.local_addr().expect("its address").port());
        assert!(ours.nodelay().expect("an option"));
        assert!(!theirs.nodelay().expect("an option"));
    }
}
