//! What the driver of a connection, its streams, and whoever opens and accepts them have in common.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    task::{Context, Poll, Waker},
};

use futures::task::AtomicWaker;
use tokio::{sync::Semaphore, time::Instant};

use super::{Error, budget::Budget, cell::Cell, queue::Backlog, stream::Stream};

/// Streams of our own that the far end may not have acknowledged yet. Go's implementation turns away what goes beyond,
/// and that of rust-libp2p expects to be spared it.
const MAX_UNACKNOWLEDGED: usize = 256;

pub struct Hub {
    /// How far all windows together may grow.
    pub budget: Arc<Budget>,
    pub backlog: Arc<Backlog>,
    /// A permit for each stream of our own that the far end need not have acknowledged. Closed with the connection.
    pub unacknowledged: Arc<Semaphore>,
    driver: AtomicWaker,
    /// Half of the ids for streams of our own have been used.
    pub worn: AtomicBool,
    ready: Mutex<Ready>,
    front: Mutex<Front>,
}

/// Streams that the driver has something to send of, in the order in which they had.
#[derive(Default)]
struct Ready {
    cells: VecDeque<Arc<Cell>>,
    ended: bool,
}

/// What is done with the connection as a whole.
#[derive(Default)]
pub struct Front {
    /// Streams of the far end that nobody has accepted yet.
    pub inbound: VecDeque<Stream>,
    pub acceptor: Option<Waker>,
    pub watcher: Option<Waker>,
    pub wish: Wish,
    /// When bytes last left and came, since the connection was to be closed.
    pub last_departure: Option<Instant>,
    pub last_arrival: Option<Instant>,
    pub ended: Option<Error>,
}

/// What is to become of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    #[default]
    Stay,
    /// Send what has been written, say goodbye, and end.
    Close,
    /// End.
    Drop,
}

impl Hub {
    pub fn new(budget: Arc<Budget>) -> Arc<Self> {
        let (driver, ready, front) = (AtomicWaker::new(), Mutex::default(), Mutex::default());
        let (backlog, worn) = (Arc::default(), AtomicBool::new(false));
        let unacknowledged = Arc::new(Semaphore::new(MAX_UNACKNOWLEDGED));
        Arc::new(Self { budget, backlog, unacknowledged, driver, worn, ready, front })
    }

    /// Hands a stream to the driver. Returns whether there still is one.
    pub fn schedule(&self, cell: Arc<Cell>) -> bool {
        let mut ready = self.ready();
        if ready.ended {
            return false;
        }
        ready.cells.push_back(cell);
        drop(ready);
        self.driver.wake();
        true
    }

    /// Puts a stream behind the others, where it is the driver that does so.
    pub fn schedule_again(&self, cell: Arc<Cell>) {
        self.ready().cells.push_back(cell);
    }

    pub fn next_ready(&self) -> Option<Arc<Cell>> {
        self.ready().cells.pop_front()
    }

    pub fn has_ready(&self) -> bool {
        !self.ready().cells.is_empty()
    }

    /// Offers a stream of the far end to whoever accepts.
    pub fn offer(&self, stream: Stream) {
        let mut front = self.front();
        front.inbound.push_back(stream);
        let acceptor = front.acceptor.take();
        drop(front);
        acceptor.into_iter().for_each(Waker::wake);
    }

    /// How many streams of the far end nobody has accepted yet.
    pub fn offered(&self) -> usize {
        self.front().inbound.len()
    }

    /// The far end knows one more of our streams, or need not know it any more.
    pub fn acknowledged(&self) {
        self.unacknowledged.add_permits(1);
    }

    pub fn register_driver(&self, cx: &Context<'_>) {
        self.driver.register(cx.waker());
    }

    /// Has the driver end the connection.
    pub fn wish(&self, wish: Wish) {
        self.front().wish = wish;
        self.driver.wake();
    }

    /// The driver has gone. The first reason counts.
    pub fn end(&self, error: Error) {
        let mut ready = self.ready();
        if ready.ended {
            return;
        }
        ready.ended = true;
        let cells = std::mem::take(&mut ready.cells);
        drop(ready);
        for cell in cells {
            cell.lock().break_off();
        }
        let mut front = self.front();
        front.ended = Some(error);
        let inbound = std::mem::take(&mut front.inbound);
        let wakers = [front.acceptor.take(), front.watcher.take()];
        drop(front);
        self.unacknowledged.close();
        drop(inbound);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub fn front(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front {
    /// Why the connection has ended.
    pub fn ended(&self) -> Error {
        self.ended.clone().unwrap_or(Error::Closed)
    }

    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match &self.ended {
            Some(error) => Poll::Ready(error.clone()),
            None => {
                self.watcher = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
