//! Where the node listens: the configured addresses, each opened alone, retried when it fails, and shown.

use std::{io, time::Duration};

use libp2p::{
    Swarm,
    core::transport::{ListenerId, TransportError},
    multiaddr::Protocol,
    swarm::NetworkBehaviour,
};
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    log::{Limits, Repeats},
    spec::Multiaddr,
    status::{Due, ListenerStatus, State, Time},
};

const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Reasons for failures that the log tells apart.
const REASONS: Limits = Limits { kinds: 4, burst: 1 };

/// The configured listen addresses and what became of each.
#[derive(Default)]
pub struct Listeners(Vec<Listener>);

struct Listener {
    address: Multiaddr,
    state: Listening,
    retries: Backoff,
    /// For the log: each new reason is news.
    failures: Repeats<String>,
}

enum Listening {
    /// The concrete addresses, once known.
    Open {
        id: ListenerId,
        addresses: Vec<Multiaddr>,
    },
    Failed {
        error: String,
        at: Time,
        retry: Due,
    },
}

impl Listeners {
    /// Opens what is new in `wanted` and closes what is gone from it.
    pub fn configure<B: NetworkBehaviour>(&mut self, wanted: &[Multiaddr], swarm: &mut Swarm<B>, now: Instant) {
        self.0.retain(|listener| {
            let keep = wanted.contains(&listener.address);
            if let (false, Listening::Open { id, .. }) = (keep, &listener.state) {
                swarm.remove_listener(*id);
            }
            keep
        });
        for address in wanted {
            if !self.0.iter().any(|listener| listener.address == *address) {
                let (mut retries, mut failures) = (RETRIES, Repeats::new(REASONS));
                let state = open(address, swarm, &mut retries, &mut failures, now);
                self.0.push(Listener { address: address.clone(), state, retries, failures });
            }
        }
    }

    /// When [`Listeners::retry`] is to be called next.
    pub fn next_retry(&self) -> Option<Instant> {
        let retries = self.0.iter().filter_map(|listener| match listener.state {
            Listening::Failed { retry, .. } => Some(retry.at),
            Listening::Open { .. } => None,
        });
        retries.min()
    }

    /// Tries the failed addresses whose time has come.
    pub fn retry<B: NetworkBehaviour>(&mut self, swarm: &mut Swarm<B>, now: Instant) {
        for listener in &mut self.0 {
            if matches!(listener.state, Listening::Failed { retry, .. } if retry.at <= now) {
                listener.state = open(&listener.address, swarm, &mut listener.retries, &mut listener.failures, now);
            }
        }
    }

    /// A listener has a concrete address.
    pub fn new_address(&mut self, id: ListenerId, address: Multiaddr) {
        if let Some(Listener { state: Listening::Open { addresses, .. }, retries, .. }) = self.find(id) {
            retries.reset();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }

    pub fn expired_address(&mut self, id: ListenerId, address: &Multiaddr) {
        if let Some(Listener { state: Listening::Open { addresses, .. }, .. }) = self.find(id) {
            addresses.retain(|known| known != address);
        }
    }

    /// A listener has ended by itself.
    pub fn closed(&mut self, id: ListenerId, reason: Result<(), io::Error>, now: Instant) {
        if let Some(listener) = self.find(id) {
            let error = reason.err().map_or_else(|| "closed".to_owned(), |error| error.to_string());
            if let Some(told) = listener.failures.seen(error.clone(), (), now) {
                tracing::warn!(address = %listener.address, error, repeated = told.repeated(), "listener ended; trying again");
            }
            listener.state = Listening::failed(error, &mut listener.retries, now);
        }
    }

    pub fn status(&self) -> Vec<ListenerStatus> {
        let status = |listener: &Listener| {
            let address = listener.address.clone();
            let state = match &listener.state {
                Listening::Open { addresses, .. } if addresses.is_empty() => State::Starting,
                Listening::Open { .. } => State::Ready,
                Listening::Failed { error, at, retry } => {
                    let (error, error_at, retry_at) = (Some(error.clone()), Some(*at), Some(retry.time));
                    return ListenerStatus { address, state: State::Failed, error, error_at, retry_at };
                }
            };
            ListenerStatus { address, state, error: None, error_at: None, retry_at: None }
        };
        self.0.iter().map(status).collect()
    }

    /// Every concrete address.
    pub fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.0.iter().flat_map(|listener| match &listener.state {
            Listening::Open { addresses, .. } => addresses.as_slice(),
            Listening::Failed { .. } => &[],
        })
    }

    fn find(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.0.iter_mut().find(|listener| matches!(listener.state, Listening::Open { id: own, .. } if own == id))
    }
}

impl Listening {
    fn failed(error: String, retries: &mut Backoff, now: Instant) -> Self {
        Self::Failed { error, at: Time::now(), retry: Due::at(now + retries.pause(), now) }
    }
}

fn open<B: NetworkBehaviour>(
    address: &Multiaddr,
    swarm: &mut Swarm<B>,
    retries: &mut Backoff,
    failures: &mut Repeats<String>,
    now: Instant,
) -> Listening {
    let opened = probe(address).and_then(|()| {
        swarm.listen_on(address.clone()).map_err(|error| match error {
            TransportError::Other(error) => error,
            TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
        })
    });
    match opened {
        Ok(id) => Listening::Open { id, addresses: Vec::new() },
        Err(error) => {
            let error = error.to_string();
            if let Some(told) = failures.seen(error.clone(), (), now) {
                tracing::warn!(%address, error, repeated = told.repeated(), "listener not up; trying again");
            }
            Listening::failed(error, retries, now)
        }
    }
}

/// libp2p's TCP listeners share their port with anyone who asks (SO_REUSEPORT), so two daemons could serve one port
/// unnoticed, each getting half of the connections. A bind without that option finds the other one.
fn probe(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => std::net::IpAddr::from(ip),
        _ => return Ok(()),
    };
    let Some(Protocol::Tcp(port @ 1..)) = parts.next() else { return Ok(()) };
    let socket = Socket::new(if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }, Type::STREAM, None)?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::new(ip, port).into())?;
    // With SO_REUSEADDR the bind alone may pass over another one's listener; listening may not.
    socket.listen(1)
}

/// Whether this machine has IPv6 at all.
pub fn has_ipv6() -> bool {
    let wildcard = std::net::SocketAddr::from(([0u16; 8], 0));
    Socket::new(Domain::IPV6, Type::STREAM, None).and_then(|socket| socket.bind(&wildcard.into())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_shares_out_by_so_reuseport_counts_as_taken() {
        let theirs = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        theirs.set_reuse_address(true).unwrap();
        theirs.set_reuse_port(true).unwrap();
        theirs.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        theirs.listen(1).unwrap();
        let port = theirs.local_addr().unwrap().as_socket().unwrap().port();
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        assert_eq!(probe(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(theirs);
        probe(&address).unwrap();
        probe(&"/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap()).unwrap();
    }
}
