//! What the far end sends.

use super::*;
use crate::yamux::{
    chunk::Chunk,
    decoder::Part,
    frame::{Flags, Kind},
    stream::Stream,
};

/// The payload that is being received.
pub struct Body {
    pub id: u32,
    /// `None` where nobody wants it.
    pub cell: Option<Arc<Cell>>,
    chunk: Option<Chunk>,
    ends_stream: bool,
}

impl Engine {
    /// Takes in what has been received.
    ///
    /// # Errors
    ///
    /// Where the far end breaks the protocol.
    pub fn receive(&mut self, mut input: &[u8], now: Instant) -> Result<(), Error> {
        while let Some(part) = self.decoder.next(&mut input)? {
            match part {
                Part::Header(header) => self.receive_header(header, now)?,
                Part::Payload { bytes, left } => self.receive_payload(bytes, left)?,
            }
        }
        Ok(())
    }

    /// Hands what has come of an unfinished frame to its reader.
    pub fn hand_over(&mut self) -> Result<(), Error> {
        if let Some(Body { cell: Some(cell), chunk, id, .. }) = &mut self.body
            && let Some(chunk) = chunk.take()
        {
            let (id, late) = (*id, push(cell, chunk));
            if late {
                self.reset(id)?;
            }
        }
        Ok(())
    }

    fn receive_header(&mut self, header: Header, now: Instant) -> Result<(), Error> {
        match header.kind {
            Kind::Data | Kind::WindowUpdate => self.receive_for_stream(header),
            Kind::Ping if header.flags.contain(Flags::SYN) => self.reply(Header::pong(header.length)),
            Kind::Ping => {
                self.round_trip.pong(header.length, now);
                Ok(())
            }
            // It opens no more streams, wants none opened, and closes the connection when it is done.
            Kind::GoAway => Ok(()),
        }
    }

    fn receive_for_stream(&mut self, header: Header) -> Result<(), Error> {
        let Header { kind, flags, stream: id, length } = header;
        let cell = match flags.contain(Flags::SYN) {
            true => self.open_inbound(id)?,
            false => self.cells.get(&id).cloned(),
        };
        let payload = kind == Kind::Data && length > 0;
        let mut wanted = None;
        if let Some(cell) = cell {
            let mut state = cell.lock();
            if flags.contain(Flags::ACK) && std::mem::take(&mut state.unacknowledged) {
                self.hub.acknowledged();
            }
            let mut breaks = flags.contain(Flags::RST);
            if breaks {
                state.break_off();
            } else if payload && state.inflow == Inflow::Open {
                state.window.receive(length).map_err(|_| Violation::Window(id))?;
                wanted = Some(cell.clone());
            } else if payload && state.inflow == Inflow::Ended {
                // It had said all. The rest of its streams may be in better order.
                self.reply(Header::reset(id))?;
                state.break_off();
                breaks = true;
            } else if !payload {
                if kind == Kind::WindowUpdate {
                    state.credit = state.credit.checked_add(length).ok_or(Violation::Credit(id))?;
                    state.wake_writer();
                }
                if flags.contain(Flags::FIN) {
                    state.end_inflow();
                }
            }
            let over = breaks || state.is_over();
            drop(state);
            if over {
                self.forget(id);
            }
        }
        if payload {
            self.body = Some(Body { id, cell: wanted, chunk: None, ends_stream: flags.contain(Flags::FIN) });
        }
        Ok(())
    }

    fn receive_payload(&mut self, mut bytes: &[u8], left: u32) -> Result<(), Error> {
        let Some(Body { id, cell: Some(cell), chunk, ends_stream }) = &mut self.body else {
            return Ok(());
        };
        let (id, mut late) = (*id, false);
        while !bytes.is_empty() {
            let filling = chunk.get_or_insert_with(|| Chunk::for_bytes(bytes.len() + left as usize));
            bytes = &bytes[filling.fill(bytes)..];
            if (filling.room() == 0 || left == 0 && bytes.is_empty())
                && let Some(full) = chunk.take()
            {
                late |= push(cell, full);
            }
        }
        if left == 0 {
            let mut state = cell.lock();
            if *ends_stream {
                state.end_inflow();
            }
            let over = state.is_over();
            drop(state);
            self.body = None;
            if over {
                self.forget(id);
            }
        }
        if late {
            self.reset(id)?;
        }
        Ok(())
    }

    /// `None` where it was refused.
    fn open_inbound(&mut self, id: u32) -> Result<Option<Arc<Cell>>, Error> {
        if id == 0 || !self.is_inbound(id) {
            return Err(Violation::ForeignId(id).into());
        }
        if self.cells.contains_key(&id) {
            return Err(Violation::ReusedId(id).into());
        }
        // Those that have been reset and that nobody has accepted yet are held as well.
        let held = self.inbound.max(self.hub.offered());
        if self.closing || held >= (self.max_inbound)() {
            self.reply(Header::reset(id))?;
            return Ok(None);
        }
        let cell = Cell::inbound(self.hub.clone(), id);
        self.cells.insert(id, cell.clone());
        self.inbound += 1;
        self.hub.offer(Stream::new(cell.clone()));
        Ok(Some(cell))
    }
}

/// Hands a piece to its reader. Returns whether there is none, and the far end is to hear of it.
fn push(cell: &Cell, chunk: Chunk) -> bool {
    let mut state = cell.lock();
    state.push_unread(chunk);
    state.comes_too_late()
}
