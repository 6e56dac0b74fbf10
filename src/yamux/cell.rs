//! What the two users of a stream share: whoever reads and writes it, and the driver of its connection.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use super::{
    chunk::{self, Chunk},
    frame::Flags,
    hub::Hub,
    queue::{self, Queue},
    window::{self, Window},
};

/// What may still come for a stream that was dropped after it had said all, before that is answered with a reset. Some
/// dialers don't wait for the negotiation's answer, and a reset would have Go's implementation throw away what it has
/// not read of their message.
const LATE_ANSWER: usize = 512;

/// One stream.
pub struct Cell {
    pub hub: Arc<Hub>,
    state: Mutex<State>,
}

pub struct State {
    /// None until the first frame of a stream of our own is sent, so that ids on the wire are in order.
    pub id: Option<u32>,
    /// SYN or ACK, until a frame has carried it.
    pub greeting: Flags,
    /// Ours, and the far end has not said ACK.
    pub unacknowledged: bool,
    /// Waits in the hub for the driver.
    pub scheduled: bool,
    /// Nobody reads or writes the stream any more.
    pub abandoned: bool,

    pub inflow: Inflow,
    pub window: Window,
    /// The far end is to be told that it may send more.
    pub credit_due: bool,
    pub reader: Option<Waker>,
    unread: VecDeque<Chunk>,
    /// Bytes that have come and that nobody will read.
    late: usize,

    pub outflow: Outflow,
    /// What the far end still lets us send.
    pub credit: u32,
    pub writer: Option<Waker>,
    unsent: Queue,
}

/// What is still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inflow {
    Open,
    /// The far end has said all.
    Ended,
    /// It was reset, or the connection was lost.
    Broken,
}

/// What may still be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outflow {
    Open,
    /// The user has said all, and the driver has yet to tell the far end.
    Ending,
    Ended,
    /// The user has gone, and the driver has yet to tell the far end.
    Resetting,
    /// It was reset, or the connection was lost.
    Broken,
}

impl Cell {
    /// A stream of our own.
    pub fn outbound(hub: Arc<Hub>) -> Arc<Self> {
        Self::new(hub, None, Flags::SYN)
    }

    /// A stream that the far end has opened.
    pub fn inbound(hub: Arc<Hub>, id: u32) -> Arc<Self> {
        Self::new(hub, Some(id), Flags::NONE)
    }

    fn new(hub: Arc<Hub>, id: Option<u32>, greeting: Flags) -> Arc<Self> {
        let state = State {
            id,
            greeting,
            unacknowledged: id.is_none(),
            scheduled: false,
            abandoned: false,
            inflow: Inflow::Open,
            window: Window::new(hub.budget.clone()),
            credit_due: false,
            reader: None,
            unread: VecDeque::new(),
            late: 0,
            outflow: Outflow::Open,
            credit: window::INITIAL,
            writer: None,
            unsent: Queue::new(hub.backlog.clone()),
        };
        Arc::new(Self { hub, state: Mutex::new(state) })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the driver look at this stream.
    pub fn schedule(self: &Arc<Self>, state: &mut State) {
        if !state.scheduled {
            state.scheduled = self.hub.schedule(self.clone());
            if !state.scheduled {
                state.break_off();
            }
        }
    }
}

impl State {
    /// The next piece to read. `Ok(None)` is the end; `None` is nothing yet.
    pub fn next_unread(&mut self) -> Option<io::Result<Option<Chunk>>> {
        match (self.unread.pop_front(), self.inflow) {
            (Some(chunk), _) => Some(Ok(Some(chunk))),
            (None, Inflow::Ended) => Some(Ok(None)),
            (None, Inflow::Broken) => Some(Err(io::ErrorKind::ConnectionReset.into())),
            (None, Inflow::Open) => None,
        }
    }

    /// Takes in what has been received.
    pub fn push_unread(&mut self, chunk: Chunk) {
        if self.abandoned {
            self.late += chunk.len();
            return;
        }
        queue::append(&mut self.unread, chunk);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Whether more has come for a stream without a user than a far end would send that knew it. What was written goes
    /// out first.
    pub fn comes_too_late(&self) -> bool {
        self.late > LATE_ANSWER && !matches!(self.outflow, Outflow::Ending | Outflow::Resetting)
    }

    /// How much may be written now; `None` is nothing yet.
    pub fn writable(&self) -> Option<io::Result<usize>> {
        match self.outflow {
            Outflow::Open => {
                let room = self.unsent.room().min(self.credit as usize).min(chunk::MAX);
                (room > 0).then_some(Ok(room))
            }
            Outflow::Ending | Outflow::Ended => Some(Err(io::ErrorKind::BrokenPipe.into())),
            Outflow::Resetting | Outflow::Broken => Some(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// Takes what has been written, as much of it as was [writable](Self::writable).
    pub fn push_unsent(&mut self, chunk: Chunk) {
        // It may have been reset meanwhile.
        if self.outflow == Outflow::Open {
            self.credit -= chunk.len() as u32;
            self.unsent.push(chunk);
        }
    }

    /// The next piece to send. Wakes the writer when there is much room again, not for each piece.
    pub fn next_unsent(&mut self) -> Option<Chunk> {
        let chunk = self.unsent.pop();
        self.wake_writer();
        chunk
    }

    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Wakes who waits to write, where that can go on.
    pub fn wake_writer(&mut self) {
        if self.credit > 0
            && self.unsent.has_much_room()
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
    }

    /// The far end has said all.
    pub fn end_inflow(&mut self) {
        if self.inflow == Inflow::Open {
            self.inflow = Inflow::Ended;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }

    /// Nothing will come or go any more, without an end. What has been received can still be read.
    pub fn break_off(&mut self) {
        if self.inflow == Inflow::Open {
            self.inflow = Inflow::Broken;
        }
        self.outflow = Outflow::Broken;
        self.unsent.clear();
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// The connection is about to end: what has been written to its end still goes out, and nothing else.
    pub fn cut_off(&mut self) {
        match self.outflow {
            Outflow::Ending | Outflow::Ended if self.inflow == Inflow::Open => {
                self.inflow = Inflow::Broken;
                if let Some(reader) = self.reader.take() {
                    reader.wake();
                }
            }
            Outflow::Open => self.break_off(),
            _ => {}
        }
    }

    /// The user has gone.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        (self.reader, self.writer) = (None, None);
        self.late = self.unread.drain(..).map(|chunk| chunk.len()).sum();
        if self.outflow == Outflow::Open {
            // What was written goes first: it may say why.
            self.outflow = Outflow::Resetting;
        }
    }

    /// Whether neither end has anything more to say.
    pub fn is_over(&self) -> bool {
        let said = matches!(self.outflow, Outflow::Ended | Outflow::Broken);
        said && self.inflow != Inflow::Open
    }
}
