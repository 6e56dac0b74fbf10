//! Our yamux, as the swarm wants a muxer: agreed on without a round trip, kept going by a task of its own, and at an end
//! when it is told to be.

use std::{
    collections::VecDeque,
    io, mem,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
};

use futures::{
    AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt, StreamExt, future::BoxFuture,
    stream::FuturesUnordered,
};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use multistream_select::listener_select_proto;
use tokio::task::JoinSet;

use super::streams::{CLOSE_TIMEOUT, Introduced, MAX_CLOSE, Muxers, multistream::agreement, stuck};
use crate::yamux::{self, Role};

/// Streams of the peer that may wait for the swarm to see to them. What comes beyond waits in the muxer, which counts it
/// among the peer's streams even if it has been reset since.
const MAX_FOR_SWARM: usize = 256;

/// Streams that are received before the connection's other work has its turn.
const RECEIVED_AT_ONCE: usize = 256;

/// What a dialer says to agree on [`yamux::PROTOCOL`], and what it hears where that is agreed.
static NEGOTIATION: LazyLock<Vec<u8>> = LazyLock::new(|| agreement(yamux::PROTOCOL));

/// A connection that carries streams.
pub struct Muxer {
    connection: yamux::Connection,
    /// Its only task. It ends with the connection, which says why.
    driver: JoinSet<yamux::Error>,
    closing: Option<BoxFuture<'static, ()>>,
    muxers: Arc<Muxers>,
    introduced: Option<Introduced>,
    /// Streams of the peer that have yet to say what they are for.
    receiving: FuturesUnordered<BoxFuture<'static, Option<yamux::Stream>>>,
    /// Those that the swarm is to see to.
    for_swarm: VecDeque<yamux::Stream>,
}

impl Muxer {
    /// Agrees with the peer on yamux, and begins. A dialer takes it for granted; if the peer doesn't know yamux, the
    /// connection fails at the first read.
    ///
    /// # Errors
    ///
    /// Where the connection is lost meanwhile, or the peer asks for something else.
    pub async fn begin<C>(mut io: C, role: Role, config: yamux::Config, muxers: Arc<Muxers>) -> io::Result<Self>
    where
        C: AsyncBufRead + AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let awaited = match role {
            Role::Dialer => {
                // It leaves with the first frame.
                io.write_all(&NEGOTIATION).await?;
                &NEGOTIATION[..]
            }
            Role::Listener => {
                listener_select_proto(&mut io, [yamux::PROTOCOL]).await.map_err(io::Error::other)?;
                &[]
            }
        };
        let (connection, driver) = yamux::new(Confirming { io, awaited }, role, config);
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Ok(Self {
            connection,
            driver: tasks,
            closing: None,
            muxers,
            introduced: None,
            receiving: FuturesUnordered::new(),
            for_swarm: VecDeque::new(),
        })
    }

    /// Has the peer's streams received, if there is somebody to do so. The swarm gets the rest.
    fn receive(&mut self, cx: &mut Context<'_>) {
        let Some(reception) = self.introduced.as_ref().and_then(Introduced::reception) else { return };
        for _ in 0..RECEIVED_AT_ONCE {
            // When the swarm has taken one of them, it polls again.
            if self.for_swarm.len() >= MAX_FOR_SWARM {
                return;
            }
            let accepted = match self.connection.poll_inbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    self.receiving.push(reception.clone().receive(stream).boxed());
                    true
                }
                // An end is told elsewhere.
                Poll::Ready(Err(_)) | Poll::Pending => false,
            };
            match self.receiving.poll_next_unpin(cx) {
                Poll::Ready(Some(left)) => self.for_swarm.extend(left),
                Poll::Ready(None) | Poll::Pending if !accepted => return,
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        // Others first.
        cx.waker().wake_by_ref();
    }

    fn connection(self: Pin<&mut Self>) -> &mut yamux::Connection {
        &mut self.get_mut().connection
    }
}

impl StreamMuxer for Muxer {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        let this = self.get_mut();
        match this.for_swarm.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None if this.introduced.as_ref().is_some_and(|introduced| introduced.reception().is_some()) => {
                Poll::Pending
            }
            None => this.connection.poll_inbound(cx).map_err(Into::into),
        }
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection().poll_outbound(cx).map_err(Into::into)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = self.as_mut().connection().poll_close(cx) {
            return Poll::Ready(closed.map_err(Into::into));
        }
        let this = self.get_mut();
        // Whom the swarm hasn't let in has nothing coming.
        let most = if this.introduced.is_some() { MAX_CLOSE } else { CLOSE_TIMEOUT };
        let stuck = || stuck(this.connection.opener(), CLOSE_TIMEOUT, most).boxed();
        this.closing.get_or_insert_with(stuck).poll_unpin(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let this = self.get_mut();
        if this.introduced.is_none() {
            this.introduced = this.muxers.introduce(this.connection.opener());
            // The handler has its turn before the muxer: it shall look again.
            cx.waker().wake_by_ref();
        }
        // Here and not where the swarm asks for streams, which it doesn't while many others are being negotiated.
        this.receive(cx);
        this.connection.poll_ended(cx).map(|error| Err(error.into()))
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        // The swarm drops what nobody has had need for of late, with what has yet to leave. Whoever has waited for the end has
        // waited long enough; whom the swarm hasn't let in has nothing coming.
        if self.closing.is_none() && self.introduced.is_some() {
            self.connection.close_when_dropped();
            self.muxers.see_off(self.connection.opener(), mem::take(&mut self.driver));
        }
    }
}

/// A connection on which the peer has yet to say that it knows the protocol.
struct Confirming<C> {
    io: C,
    /// What it is still to say, before anything else.
    awaited: &'static [u8],
}

impl<C: AsyncBufRead + Unpin> AsyncBufRead for Confirming<C> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while !this.awaited.is_empty() {
            let said = ready!(Pin::new(&mut this.io).poll_fill_buf(cx))?;
            if said.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let n = said.len().min(this.awaited.len());
            if said[..n] != this.awaited[..n] {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the peer doesn't know yamux")));
            }
            this.awaited = &this.awaited[n..];
            Pin::new(&mut this.io).consume(n);
        }
        Pin::new(&mut this.io).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, n: usize) {
        Pin::new(&mut self.io).consume(n);
    }
}

impl<C: AsyncBufRead + Unpin> AsyncRead for Confirming<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let said = ready!(self.as_mut().poll_fill_buf(cx))?;
        let n = said.len().min(buffer.len());
        buffer[..n].copy_from_slice(&said[..n]);
        self.consume(n);
        Poll::Ready(Ok(n))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Confirming<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::io::BufReader;
    use libp2p::{core::ConnectedPoint, swarm::ConnectionId};
    use tokio::{io::AsyncReadExt as _, time::sleep};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::{
        node::streams::{Connection, Reception, multistream::HEADER},
        spec::{Multiaddr, PeerId},
        yamux::{Budget, Config},
    };

    const STREAMS: usize = 400;

    /// Both ends of a connection; streams of the first are received by nobody but the swarm of the other.
    async fn ends() -> (Muxer, Muxer) {
        let (one, other) = tokio::io::duplex(64 * 1024);
        let config = || Config { max_inbound_streams: Box::new(|| STREAMS), budget: Budget::new(0) };
        let muxers = Arc::<Muxers>::default();
        let (peer, own) = tokio::join!(
            Muxer::begin(BufReader::new(one.compat()), Role::Dialer, config(), Arc::default()),
            Muxer::begin(BufReader::new(other.compat()), Role::Listener, config(), muxers.clone()),
        );
        let (peer, mut own) = (peer.unwrap(), own.unwrap());
        work(&mut own).await;
        let address = Multiaddr::empty();
        let point = ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address };
        let connection = Connection::new(ConnectionId::new_unchecked(1), PeerId::random(), &point);
        let reception = Reception::new(Arc::new(connection), Arc::default(), Arc::default(), Arc::default());
        assert!(muxers.take().unwrap().reception.set(Arc::new(reception)).is_ok());
        (peer, own)
    }

    /// Runs in a task, as the swarm's connections do: they are known by their ids.
    async fn in_a_task(test: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = JoinSet::new();
        tasks.spawn(test);
        tasks.join_next().await.unwrap().unwrap();
    }

    /// Has a muxer do what there is to do at once.
    async fn work(muxer: &mut Muxer) {
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *muxer).poll(cx).is_pending())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_may_take_its_time_while_it_gets_on_and_no_longer() {
        let test = async {
            for (pause, arrives) in [(CLOSE_TIMEOUT * 9 / 10, true), (CLOSE_TIMEOUT * 11 / 10, false)] {
                let (near, mut far) = tokio::io::duplex(1_024);
                let config = Config { max_inbound_streams: Box::new(|| 0), budget: Budget::new(0) };
                let mut muxer =
                    Muxer::begin(BufReader::new(near.compat()), Role::Dialer, config, Arc::default()).await.unwrap();
                work(&mut muxer).await;
                let mut stream = poll_fn(|cx| Pin::new(&mut muxer).poll_outbound(cx)).await.unwrap();
                stream.write_all(&[7; 20_000]).await.unwrap();
                stream.close().await.unwrap();
                let hearing = async {
                    let (mut heard, mut piece) = (0, [0; 1_000]);
                    while let Ok(n @ 1..) = far.read(&mut piece).await {
                        heard += n;
                        sleep(pause).await;
                    }
                    heard
                };
                let closing = async move {
                    // The far end says nothing, and so doesn't leave.
                    assert!(poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx)).await.is_err());
                };
                let (heard, ()) = tokio::join!(hearing, closing);
                assert_eq!(heard > 20_000, arrives, "{heard} at {pause:?}");
            }
        };
        in_a_task(test).await;
    }

    #[tokio::test]
    async fn only_so_many_streams_wait_for_the_swarm_and_none_is_lost() {
        let test = async {
            let (mut peer, mut own) = ends().await;
            let opened = async {
                let mut streams = Vec::new();
                for _ in 0..STREAMS {
                    let mut stream = poll_fn(|cx| Pin::new(&mut peer).poll_outbound(cx)).await.unwrap();
                    stream.write_all(HEADER).await.unwrap();
                    streams.push(stream);
                }
                streams
            };
            let taken = async {
                poll_fn(|cx| {
                    assert!(Pin::new(&mut own).poll(cx).is_pending());
                    match own.for_swarm.len() {
                        MAX_FOR_SWARM => Poll::Ready(()),
                        _ => Poll::Pending,
                    }
                })
                .await;
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                    work(&mut own).await;
                    assert_eq!(own.for_swarm.len(), MAX_FOR_SWARM);
                }
                for _ in 0..STREAMS {
                    let taken = poll_fn(|cx| {
                        assert!(Pin::new(&mut own).poll(cx).is_pending());
                        Pin::new(&mut own).poll_inbound(cx)
                    });
                    drop(taken.await.unwrap());
                }
            };
            let _ = tokio::join!(opened, taken);
        };
        in_a_task(test).await;
    }
}
