//! Listening sockets that were open before this process: the service manager's, kept by it from the last
//! run, or handed over by the relay that ran until now. Whoever waits on them loses nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, OwnedFd};

use socket2::Socket;

use super::net;
use super::start::{EX_CONFIG, Refused};

/// One of them.
pub struct GivenSocket {
    /// The address of the configuration that it is for.
    pub asked: SocketAddr,
    /// It listens, on TCP.
    pub socket: Socket,
    /// We had it kept ourselves, and the configuration may have changed since.
    pub ours: bool,
}

/// All of them that nobody has taken yet.
#[derive(Default)]
pub struct Given {
    sockets: Vec<GivenSocket>,
}

impl Given {
    /// What the service manager passes (sd_listen_fds(3)). To be asked once, before anything is opened.
    pub fn by_manager() -> Result<Self, Refused> {
        let passed = sd_notify::listen_fds_with_names().map_err(|error| Refused {
            why: format!("LISTEN_FDS cannot be understood: {error}"),
            exit_code: EX_CONFIG,
        })?;
        let mut given = Self::default();
        for (number, name) in passed {
            // SAFETY: the service manager has opened these descriptors for this process (LISTEN_PID names
            // it), nothing else here knows of them, and this is done once.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            let kept = name.starts_with(KEPT);
            let socket = Socket::from(descriptor);
            match listening_at(&socket) {
                Ok(asked) => given.add(asked, socket, kept),
                // It was shut when the last run ended.
                Err(_) if kept => {}
                Err(error) => {
                    return Err(Refused {
                        why: format!(
                            "the service manager passes something as {name} that is no listening TCP socket: {error}"
                        ),
                        exit_code: EX_CONFIG,
                    });
                }
            }
        }
        Ok(given)
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Adds one that listens for `asked`.
    pub fn add(&mut self, asked: SocketAddr, socket: Socket, ours: bool) {
        self.sockets.push(GivenSocket {
            asked,
            socket,
            ours,
        });
    }

    /// Takes over what somebody else was given.
    pub fn join(&mut self, other: Self) {
        self.sockets.extend(other.sockets);
    }

    /// Those for one address, as our own would be.
    pub fn take(&mut self, asked: SocketAddr) -> io::Result<Vec<Socket>> {
        let (found, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sockets)
            .into_iter()
            .partition(|given| given.asked == asked);
        self.sockets = others;
        let found = found.into_iter().map(|given| given.socket);
        found
            .map(|socket| net::adopt(&socket).map(|()| socket))
            .collect()
    }

    /// The addresses of those that nobody has taken. Ours are closed: their listener is gone. Of the
    /// service manager's each should have been taken.
    pub fn rest(self) -> Result<Vec<SocketAddr>, Refused> {
        match self.sockets.iter().find(|given| !given.ours) {
            None => Ok(self.sockets.iter().map(|given| given.asked).collect()),
            Some(given) => Err(Refused {
                why: format!(
                    "the service manager passes a socket on {}, which no [[listener]] binds: correct the socket unit or the configuration",
                    given.asked
                ),
                exit_code: EX_CONFIG,
            }),
        }
    }
}

/// What the service manager calls a socket that it keeps for us.
#[must_use]
pub fn kept_name(asked: SocketAddr) -> String {
    // A colon ends a name in LISTEN_FDNAMES.
    format!("{KEPT}{}", asked.to_string().replace(':', "_"))
}

fn listening_at(socket: &Socket) -> io::Result<SocketAddr> {
    if !rustix::net::sockopt::socket_acceptconn(socket)? {
        return Err(io::Error::other("it does not listen"));
    }
    net::address(&socket.local_addr()?)
}

/// Each shard's share of the sockets for one address. A shard has several where there were more shards
/// before. Where there are fewer sockets than shards, a `fresh` one beside them is better than a second
/// descriptor of one that another shard waits on: all that wait are woken for each connection. The kernel
/// lets only the user who bound the others do that, and only where they share their port.
pub(super) fn share(
    sockets: Vec<Socket>,
    shards: usize,
    fresh: impl Fn() -> io::Result<Socket>,
) -> io::Result<Vec<Vec<Socket>>> {
    let mut shares: Vec<Vec<Socket>> = (0..shards).map(|_| Vec::new()).collect();
    let many = sockets.len();
    for (at, socket) in sockets.into_iter().enumerate() {
        shares[at % shards].push(socket);
    }
    for without in many..shards {
        let socket = match fresh() {
            Ok(socket) => socket,
            Err(_) => shares[without % many][0].try_clone()?,
        };
        shares[without].push(socket);
    }
    Ok(shares)
}

/// How names of sockets begin that are kept for us.
const KEPT: &str = "kept-";

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const ANYWHERE: &str = "127.0.0.1:0";

    fn listening() -> (SocketAddr, Socket) {
        let socket = net::bind(ANYWHERE.parse().unwrap()).unwrap();
        (listening_at(&socket).unwrap(), socket)
    }

    #[test]
    fn a_socket_goes_to_the_listener_that_asks_for_its_address_once() {
        let mut given = Given::default();
        let ((one, first), (other, second)) = (listening(), listening());
        given.add(one, first, false);
        given.add(other, second, true);
        assert_eq!(given.take(one).unwrap().len(), 1);
        assert_eq!(given.take(one).unwrap().len(), 0);
        assert_eq!(given.rest().unwrap(), [other], "ours is let go of");
    }

    #[test]
    fn a_socket_of_the_manager_that_nobody_wants_is_a_fault() {
        let mut given = Given::default();
        let (at, socket) = listening();
        given.add(at, socket, false);
        let refused = given.rest().expect_err("nobody serves it");
        assert_eq!(refused.exit_code, 78);
        assert!(refused.why.contains(&at.to_string()), "{refused}");
    }

    #[test]
    fn more_sockets_than_shards_are_all_waited_on() {
        let sockets = (0..5).map(|_| listening().1).collect();
        let shares = share(sockets, 2, || unreachable!("there are enough")).unwrap();
        let counts: Vec<usize> = shares.iter().map(Vec::len).collect();
        assert_eq!(counts, [3, 2]);
    }

    #[test]
    fn shards_without_a_socket_get_one_of_their_own_or_share_one() {
        let (at, socket) = listening();
        let shares = share(vec![socket], 3, || net::reserve(at)).unwrap();
        assert!(shares.iter().all(|share| share.len() == 1));
        let led_to = shares
            .iter()
            .filter(|share| listening_at(&share[0]).is_ok());
        assert_eq!(led_to.count(), 1, "the new ones wait");
        shares
            .iter()
            .for_each(|share| net::listen(&share[0]).unwrap());
        let alone = std::net::TcpListener::bind(ANYWHERE).unwrap();
        let at = alone.local_addr().unwrap();
        let shares = share(vec![alone.into()], 2, || net::reserve(at)).unwrap();
        let places: Vec<SocketAddr> = shares
            .iter()
            .map(|share| listening_at(&share[0]).unwrap())
            .collect();
        assert_eq!(places, [at, at]);
        net::adopt(&shares[1][0]).unwrap();
        TcpStream::connect(at).unwrap();
        shares[1][0].accept().expect("both descriptors accept");
    }

    #[test]
    fn what_does_not_listen_is_no_socket_for_a_listener() {
        let quiet = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        assert!(listening_at(&quiet).is_err());
        let (_, shut) = listening();
        shut.shutdown(std::net::Shutdown::Read).unwrap();
        assert!(listening_at(&shut).is_err(), "nobody can wait there");
    }

    #[test]
    fn names_have_no_colon() {
        let name = kept_name("[::1]:25".parse().unwrap());
        assert_eq!(name, "kept-[__1]_25");
    }
}
