//! One connection's part in the streams: offers the peer what it may see, hands over what it opens, and opens streams
//! of our own in the order in which they were asked for.

use std::{
    cell::Cell,
    convert::Infallible,
    future::Ready,
    iter, mem, option,
    sync::Arc,
    task::{Context, Poll, ready},
};

use libp2p::{
    Stream as Substream,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::time::Instant;

use super::{
    connection::{Connection, Route},
    connections::Connections,
    direct::Direct,
    live::Live,
    muxers::Muxers,
    offers::Offers,
    reception::{INBOUND_TIMEOUT, Reception},
    request::{Handshake, Request, RequestError, Requests},
    stream::Stream,
};
use crate::{node::identify, spec::StreamProtocol};

/// Opens that may be under way on one connection. Those that wait for the muxer are served newest first (by
/// libp2p-swarm), so few are let in at once and the rest wait in our own order.
const MAX_OPENING: usize = 32;

/// Live streams of one connection, both directions together: some fewer than a far end that is p2ptun too lets us open.
const MAX_LIVE: usize = 15_000;
const MAX_LIVE_OVER_QUIC: usize = 3_800;

/// No peer offers this, so a negotiation that ends here says: what stood before it is not offered.
const SENTINEL: StreamProtocol = StreamProtocol::new("/p2ptun/none/1");

/// What the behaviour tells the handler.
#[derive(Debug)]
pub enum ToHandler {
    /// The offers may have changed, or who is known.
    OffersChanged,
    /// A better connection stands beside this one, or an older one: don't hold on to it.
    Superseded,
    /// There is no other any more.
    Needed,
}

pub struct Handler {
    connection: Arc<Connection>,
    offers: Arc<Offers>,
    offered: Arc<[StreamProtocol]>,
    /// Of the offers, when `offered` was asked for.
    version: u64,
    /// A long list is not offered before the handler is first polled: what is offered from the start and what is offered
    /// later are two different changes to those who announce protocols.
    holds_back: bool,
    keep_alive: bool,
    superseded: bool,
    requests: Requests,
    muxers: Arc<Muxers>,
    opening: usize,
    live: Arc<Live>,
    /// When the last stream had ended as of the last look.
    last_end: Instant,
    /// Whether one has ended since the swarm last asked.
    was_in_use: Cell<bool>,
    reception: Arc<Reception>,
}

impl Handler {
    pub(super) fn new(
        connection: Arc<Connection>,
        connections: Arc<Connections>,
        offers: Arc<Offers>,
        muxers: Arc<Muxers>,
        requests: Requests,
    ) -> Self {
        let live = requests.live.clone();
        let reception = Arc::new(Reception::new(connection.clone(), connections, offers.clone(), live.clone()));
        let mut handler = Self {
            connection,
            offers,
            offered: Arc::default(),
            version: 0,
            holds_back: false,
            keep_alive: false,
            superseded: false,
            requests,
            muxers,
            opening: 0,
            last_end: live.last_end(),
            was_in_use: Cell::new(false),
            live,
            reception,
        };
        handler.look_again();
        if !identify::is_short(&handler.offered) {
            handler.holds_back = true;
            handler.offered = Arc::default();
        }
        handler
    }

    fn look_again(&mut self) {
        // Before the list, so that a change between the two makes it out of date.
        self.version = self.offers.version();
        self.offered = self.offers.protocols_for(&self.connection.peer);
        // Both ends must hold on to an idle connection, or the one that doesn't would make the other redial for ever.
        self.keep_alive = !self.superseded && (self.offers.is_known(&self.connection.peer) || !self.offered.is_empty());
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Request> {
        if self.opening >= MAX_OPENING {
            // An open that ends is an event, and the handler is polled after every event.
            return Poll::Pending;
        }
        let max_live = match self.connection.route {
            Route::DirectQuic => MAX_LIVE_OVER_QUIC,
            Route::DirectTcp | Route::Relayed => MAX_LIVE,
        };
        ready!(self.live.poll_below(max_live - self.opening, cx));
        loop {
            match ready!(self.requests.queue.poll_recv(cx)) {
                Some(request) if request.reply.is_closed() => {}
                Some(request) => return Poll::Ready(request),
                None => return Poll::Pending,
            }
        }
    }

    fn stream(&self, substream: Substream) -> Stream {
        Stream::remote(substream, self.live.enter())
    }

    fn hand_over(&self, substream: Substream, protocol: StreamProtocol) {
        // The list that the peer negotiated against may be older than the offers.
        match self.reception.admit(&protocol) {
            Some(sink) => self.reception.hand_over(&sink, self.stream(substream), &protocol),
            None => self.offers.asked_for(&self.connection.peer, &protocol, &self.connection.remote),
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.live.connection_ended();
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offered;
    type OutboundProtocol = Wanted;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Request;

    fn listen_protocol(&self) -> SubstreamProtocol<Offered> {
        // Who has just lost the right must not be told that the protocol is there, only because word of the change is
        // still on its way.
        let offered = match self.holds_back || self.version == self.offers.version() {
            true => self.offered.clone(),
            false => self.offers.protocols_for(&self.connection.peer),
        };
        SubstreamProtocol::new(Offered(offered), ()).with_timeout(INBOUND_TIMEOUT)
    }

    fn connection_keep_alive(&self) -> bool {
        // The swarm counts only the streams that it has opened.
        self.keep_alive || self.live.is_in_use() || self.was_in_use.take()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Wanted, Request, Infallible>> {
        if self.holds_back {
            self.holds_back = false;
            self.look_again();
        }
        if self.requests.direct.get().is_none()
            && let Some(muxer) = self.muxers.take()
        {
            let _ = self.requests.direct.set(Direct::new(muxer.opener, self.live.clone()));
            let _ = muxer.reception.set(self.reception.clone());
        }
        if !self.keep_alive {
            // The swarm counts how long a connection has not been needed, and has not seen the streams that have begun and
            // ended since it last looked.
            self.live.watch(cx);
            let last_end = self.live.last_end();
            if mem::replace(&mut self.last_end, last_end) != last_end && !self.live.is_in_use() {
                self.was_in_use.set(true);
                cx.waker().wake_by_ref();
            }
        }
        let request = ready!(self.poll_request(cx));
        self.opening += 1;
        let wanted = Wanted { protocol: request.protocol.clone(), handshake: request.handshake };
        let time_left = request.deadline.saturating_duration_since(Instant::now());
        let protocol = SubstreamProtocol::new(wanted, request).with_timeout(time_left);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_behaviour_event(&mut self, event: ToHandler) {
        match event {
            ToHandler::OffersChanged => {}
            ToHandler::Superseded => self.superseded = true,
            ToHandler::Needed => self.superseded = false,
        }
        if !self.holds_back {
            self.look_again();
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Offered, Wanted, (), Request>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol), ..
            }) => {
                self.hand_over(stream, protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (stream, chosen), info }) => {
                self.opening -= 1;
                let answer = match chosen == SENTINEL {
                    true => Err(RequestError::NotSupported),
                    false => Ok(self.stream(stream)),
                };
                // Nobody waits for it any more: dropping the stream resets it.
                let _ = info.reply.send(answer);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                self.opening -= 1;
                let error = match error {
                    StreamUpgradeError::NegotiationFailed => RequestError::NotSupported,
                    StreamUpgradeError::Timeout | StreamUpgradeError::Io(_) => RequestError::Failed,
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = info.reply.send(Err(error));
            }
            _ => {}
        }
    }
}

/// The inbound side of the negotiation: everything that this peer may see.
pub struct Offered(Arc<[StreamProtocol]>);

impl UpgradeInfo for Offered {
    type Info = StreamProtocol;
    type InfoIter = OfferedIter;

    fn protocol_info(&self) -> OfferedIter {
        OfferedIter { protocols: self.0.clone(), next: 0 }
    }
}

impl InboundUpgrade<Substream> for Offered {
    type Output = (Substream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, stream: Substream, protocol: StreamProtocol) -> Self::Future {
        std::future::ready(Ok((stream, protocol)))
    }
}

/// Walks a shared list: the swarm asks for it after every event of the connection, so it must cost nothing to begin.
pub struct OfferedIter {
    protocols: Arc<[StreamProtocol]>,
    next: usize,
}

impl Iterator for OfferedIter {
    type Item = StreamProtocol;

    fn next(&mut self) -> Option<StreamProtocol> {
        let protocol = self.protocols.get(self.next)?;
        self.next += 1;
        Some(protocol.clone())
    }
}

/// The outbound side: one protocol, negotiated without a round trip unless a confirmation is asked for.
pub struct Wanted {
    protocol: StreamProtocol,
    handshake: Handshake,
}

impl UpgradeInfo for Wanted {
    type Info = StreamProtocol;
    type InfoIter = iter::Chain<iter::Once<StreamProtocol>, option::IntoIter<StreamProtocol>>;

    fn protocol_info(&self) -> Self::InfoIter {
        // With one protocol on the list, multistream-select's V1Lazy takes it for granted.
        let sentinel = (self.handshake == Handshake::Confirmed).then_some(SENTINEL);
        iter::once(self.protocol.clone()).chain(sentinel)
    }
}

impl OutboundUpgrade<Substream> for Wanted {
    type Output = (Substream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, stream: Substream, protocol: StreamProtocol) -> Self::Future {
        std::future::ready(Ok((stream, protocol)))
    }
}
