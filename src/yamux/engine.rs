//! The protocol without the I/O: bytes come in, and what is to be sent is packed.

mod receive;
mod send;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

pub use self::send::Pack;
use super::{
    Config, Error, Role, Violation,
    cell::{Cell, Inflow, Outflow},
    decoder::Decoder,
    frame::{Header, Reason},
    hub::Hub,
};
use receive::Body;

/// Streams that we have closed and dropped, and that the far end keeps open. Beyond, the oldest are reset.
const MAX_FAREWELLS: usize = 4_096;

/// Answers that may wait to be sent. A peer that causes more does not read them.
const MAX_REPLIES: usize = 8_192;

/// One end of a connection.
pub struct Engine {
    role: Role,
    hub: Arc<Hub>,
    max_inbound: Box<dyn Fn() -> usize + Send>,
    cells: HashMap<u32, Arc<Cell>>,
    /// Those of `cells` that the far end has opened.
    inbound: usize,
    /// Streams of which only the far end's side is open, with nobody to hear it; the oldest first. Some have ended.
    farewells: VecDeque<u32>,
    /// `None` when all have been used.
    next_id: Option<u32>,
    decoder: Decoder,
    body: Option<Body>,
    replies: VecDeque<Header>,
    round_trip: RoundTrip,
    closing: bool,
}

impl Engine {
    pub fn new(hub: Arc<Hub>, role: Role, config: Config, now: Instant) -> Self {
        // Now, before payload is in the way.
        let mut round_trip = RoundTrip::default();
        let replies = round_trip.ping(now).into_iter().collect();
        Self {
            role,
            hub,
            max_inbound: config.max_inbound_streams,
            cells: HashMap::new(),
            inbound: 0,
            farewells: VecDeque::new(),
            next_id: Some(if role == Role::Dialer { 1 } else { 2 }),
            decoder: Decoder::default(),
            body: None,
            replies,
            round_trip,
            closing: false,
        }
    }

    /// From here on nothing is opened, and of what is open only what has been written to its end is still sent.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            for cell in self.cells.values() {
                cell.lock().cut_off();
            }
        }
    }

    /// Says goodbye.
    pub fn say_goodbye(&mut self, reason: Reason) {
        self.replies.push_back(Header::go_away(reason));
    }

    /// Has the far end answer, unless it has been asked to just now.
    pub fn ask_for_answer(&mut self, now: Instant) {
        self.replies.extend(self.round_trip.ping(now));
    }

    /// Breaks all streams.
    pub fn end(&mut self) {
        for (_, cell) in self.cells.drain() {
            cell.lock().break_off();
        }
    }

    /// Whether the far end has ended in the midst of a frame.
    pub fn is_within_a_frame(&self) -> bool {
        self.decoder.is_within_a_frame()
    }

    /// Whether the far end opens streams of this id: those who have dialled use the odd ones.
    fn is_inbound(&self, id: u32) -> bool {
        (id % 2 == 1) == (self.role == Role::Listener)
    }

    fn reply(&mut self, header: Header) -> Result<(), Error> {
        if self.replies.len() >= MAX_REPLIES {
            return Err(Violation::Unheard.into());
        }
        self.replies.push_back(header);
        Ok(())
    }

    /// Breaks a stream and tells the far end.
    fn reset(&mut self, id: u32) -> Result<(), Error> {
        self.reply(Header::reset(id))?;
        if let Some(cell) = self.cells.get(&id) {
            cell.lock().break_off();
        }
        self.forget(id);
        Ok(())
    }

    /// Neither end will say anything about this stream any more, or what it says is not heard.
    fn forget(&mut self, id: u32) {
        let Some(cell) = self.cells.remove(&id) else { return };
        self.inbound -= usize::from(self.is_inbound(id));
        if let Some(body) = self.body.as_mut().filter(|body| body.id == id) {
            body.cell = None;
        }
        let unacknowledged = std::mem::take(&mut cell.lock().unacknowledged);
        if unacknowledged {
            self.hub.acknowledged();
        }
    }

    /// Keeps in mind that nobody hears what the far end may still say on a stream.
    fn bid_farewell(&mut self, id: u32) -> Result<(), Error> {
        self.farewells.push_back(id);
        while self.farewells.len() > MAX_FAREWELLS {
            if let Some(oldest) = self.farewells.pop_front()
                && self.cells.contains_key(&oldest)
            {
                self.reset(oldest)?;
            }
        }
        Ok(())
    }
}

/// How often the round-trip time is measured while windows are credited.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// The time that a ping takes: the shortest of late, for the others have waited behind payload.
#[derive(Default)]
struct RoundTrip {
    shortest: Option<Duration>,
    sent: Option<Instant>,
    value: u32,
}

impl RoundTrip {
    /// A ping to send, if it is time for one.
    fn ping(&mut self, now: Instant) -> Option<Header> {
        if self.sent.is_some_and(|sent| now < sent + MEASURE_EVERY) {
            return None;
        }
        self.sent = Some(now);
        self.value = self.value.wrapping_add(1);
        Some(Header::ping(self.value))
    }

    fn pong(&mut self, value: u32, now: Instant) {
        if let Some(sent) = self.sent
            && value == self.value
        {
            // Paths change: an old measurement is worth a little less each time.
            let aged = self.shortest.map_or(Duration::MAX, |shortest| shortest.saturating_add(shortest / 32));
            self.shortest = Some(now.duration_since(sent).min(aged));
        }
    }
}
