//! Resolving the names in addresses, by the machine's resolver configuration as it is at the time of the dial.
//!
//! libp2p's own DNS transport reads `/etc/resolv.conf` once and refuses to start without it. A service that runs for
//! years outlives that file's contents.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::SystemTime,
};

use futures::{FutureExt, TryFutureExt, future, future::BoxFuture};
use libp2p::{
    Transport,
    core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
    dns,
    multiaddr::Protocol,
};

use crate::spec::Multiaddr;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A transport that resolves names before it dials.
pub struct Resolving<O: 'static> {
    inner: Shared<O>,
    resolver: Result<dns::tokio::Transport<Shared<O>>, Arc<str>>,
    configured: Option<SystemTime>,
}

impl<O: Send + 'static> Resolving<O> {
    pub fn new(inner: Boxed<O>) -> Self {
        let inner = Shared(Arc::new(Mutex::new(inner)));
        Self { resolver: resolver(&inner), configured: configured(), inner }
    }

    fn look_again(&mut self) {
        let now = configured();
        if now != self.configured {
            tracing::info!(file = RESOLV_CONF, "resolver configuration has changed");
            self.configured = now;
            self.resolver = resolver(&self.inner);
        }
    }
}

fn configured() -> Option<SystemTime> {
    std::fs::metadata(RESOLV_CONF).and_then(|file| file.modified()).ok()
}

fn resolver<O: Send + 'static>(inner: &Shared<O>) -> Result<dns::tokio::Transport<Shared<O>>, Arc<str>> {
    dns::tokio::Transport::system(inner.clone())
        .map_err(|error| format!("names can't be resolved: {RESOLV_CONF}: {error}").into())
}

fn has_name(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)))
}

impl<O: Send + 'static> Transport for Resolving<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<O> as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<O>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        if !has_name(&address) {
            return self.inner.dial(address, options);
        }
        self.look_again();
        match &mut self.resolver {
            Ok(resolver) => match resolver.dial(address, options) {
                Ok(dial) => Ok(dial.map_err(in_words).boxed()),
                Err(error) => Err(error.map(in_words)),
            },
            Err(reason) => Ok(future::ready(Err(io::Error::other(reason.to_string()))).boxed()),
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// A DNS error wraps the errors of all addresses that the name stood for; a person wants to read those.
fn in_words(error: dns::Error<io::Error>) -> io::Error {
    match error {
        dns::Error::Transport(error) => error,
        dns::Error::Dial(errors) => {
            let words: Vec<_> = errors.into_iter().map(|error| in_words(error).to_string()).collect();
            io::Error::other(words.join("; "))
        }
        dns::Error::ResolveError(error) if error.is_no_records_found() => {
            io::Error::new(io::ErrorKind::NotFound, "the name stands for no address")
        }
        other => io::Error::other(other),
    }
}

/// The same transport, in the hands of the resolver of today and of the one that replaces it.
struct Shared<O>(Arc<Mutex<Boxed<O>>>);

impl<O> Clone for Shared<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<O> Shared<O> {
    fn lock(&self) -> MutexGuard<'_, Boxed<O>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: 'static> Transport for Shared<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<O> as Transport>::ListenerUpgrade;
    type Dial = <Boxed<O> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.lock().listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.lock().remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.lock().dial(address, options)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut *self.lock()).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::{
        Endpoint,
        transport::{PortUse, dummy::DummyTransport},
    };

    use super::*;

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_told_in_words() {
        let nowhere = DummyTransport::<()>::new().map_err(|_| io::Error::other("nowhere"));
        // Nobody is asked for names that end in `invalid`.
        let (config, options) = (dns::ResolverConfig::default(), dns::ResolverOpts::default());
        let mut resolver = dns::tokio::Transport::custom(nowhere, config, options);
        let address = "/dns4/host.invalid/tcp/1".parse().unwrap();
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
        let error = resolver.dial(address, options).unwrap().await.unwrap_err();
        assert_eq!(in_words(error).to_string(), "the name stands for no address");
    }
}
