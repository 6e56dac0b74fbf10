//! A wire in memory: bytes arrive when they are carried, in pieces of any size, and it can be cut.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures::{AsyncBufRead, AsyncRead, AsyncWrite};

/// One way.
#[derive(Default)]
struct Way {
    under_way: VecDeque<u8>,
    arrived: VecDeque<u8>,
    /// How many bytes it takes before the first of them have been carried.
    room: usize,
    /// What is read at once at most.
    piece: usize,
    closed: bool,
    cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a wire.
pub struct End {
    incoming: Rc<RefCell<Way>>,
    outgoing: Rc<RefCell<Way>>,
    read: Vec<u8>,
    consumed: usize,
}

/// Moves what is written on one way of a wire.
#[derive(Clone)]
pub struct Carrier(Rc<RefCell<Way>>);

/// The two ends, and what carries from the first to the second and back.
pub fn wire(rooms: [usize; 2], pieces: [usize; 2]) -> (End, End, [Carrier; 2]) {
    let way = |i: usize| Rc::new(RefCell::new(Way { room: rooms[i], piece: pieces[i], ..Way::default() }));
    let (there, back) = (way(0), way(1));
    let first = End { incoming: back.clone(), outgoing: there.clone(), read: Vec::new(), consumed: 0 };
    let second = End { incoming: there.clone(), outgoing: back.clone(), read: Vec::new(), consumed: 0 };
    (first, second, [Carrier(there), Carrier(back)])
}

impl Carrier {
    /// Returns whether there was anything to carry.
    pub fn carry(&self, bytes: usize) -> bool {
        let way = &mut *self.0.borrow_mut();
        let n = bytes.min(way.under_way.len());
        way.arrived.extend(way.under_way.drain(..n));
        if n > 0 {
            way.wake();
        }
        n > 0
    }

    /// Lets through whatever comes, from now on: byte by byte, the rest would take too long.
    pub fn widen(&self) {
        let way = &mut *self.0.borrow_mut();
        (way.room, way.piece) = (usize::MAX, usize::MAX);
        way.wake();
    }

    /// Has `bytes` arrive, whoever might have written them.
    pub fn say(&self, bytes: &[u8]) {
        let way = &mut *self.0.borrow_mut();
        way.arrived.extend(bytes);
        way.wake();
    }

    /// Takes what has been written off the wire.
    pub fn hear(&self, bytes: usize) -> Vec<u8> {
        let way = &mut *self.0.borrow_mut();
        let n = bytes.min(way.under_way.len());
        let heard = way.under_way.drain(..n).collect();
        way.wake();
        heard
    }

    /// The writer ends it.
    pub fn close(&self) {
        let way = &mut *self.0.borrow_mut();
        way.closed = true;
        way.wake();
    }

    /// Neither end can go on.
    pub fn cut(&self) {
        let way = &mut *self.0.borrow_mut();
        way.cut = true;
        way.wake();
    }
}

impl Way {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for way in [&self.incoming, &self.outgoing] {
            let mut way = way.borrow_mut();
            way.closed = true;
            way.wake();
        }
    }
}

impl AsyncBufRead for End {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.consumed == this.read.len() {
            let mut way = this.incoming.borrow_mut();
            let n = way.piece.min(way.arrived.len());
            if n == 0 {
                if way.cut {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                if !way.closed || !way.under_way.is_empty() {
                    way.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            this.read.clear();
            this.read.extend(way.arrived.drain(..n));
            this.consumed = 0;
        }
        Poll::Ready(Ok(&this.read[this.consumed..]))
    }

    fn consume(mut self: Pin<&mut Self>, n: usize) {
        self.consumed += n;
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        unimplemented!("the multiplexer fills and consumes");
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut way = self.outgoing.borrow_mut();
        if way.cut || way.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = bytes.len().min(way.room.saturating_sub(way.under_way.len()));
        if n == 0 {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        way.under_way.extend(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = self.outgoing.borrow_mut();
        way.closed = true;
        way.wake();
        Poll::Ready(Ok(()))
    }
}
