//! What is sent to the far end.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::yamux::{chunk::Chunk, frame::Flags};

/// Payload up to this size is put among the headers, to be sent with other frames at once.
const SMALL: usize = 4 * 1024;

/// A connection that has come to this id is worn: whoever opens streams has 2^30 of them to find another.
const WORN: u32 = 1 << 31;

/// Headers and small payloads that are sent at once.
const PACK: usize = 16 * 1024;

/// What is to be sent: frames, and the payload of the last of them where it is not worth to copy it.
#[derive(Default)]
pub struct Pack {
    pub frames: Vec<u8>,
    pub payload: Option<Chunk>,
}

impl Pack {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn clear(&mut self) {
        self.frames.clear();
        self.payload = None;
    }

    /// What is left after `sent` bytes.
    pub fn after(&self, sent: usize) -> (&[u8], &[u8]) {
        let payload = self.payload.as_ref().map_or(&[][..], Chunk::as_slice);
        match sent.checked_sub(self.frames.len()) {
            None => (&self.frames[sent..], payload),
            Some(sent) => (&[], &payload[sent..]),
        }
    }

    fn add(&mut self, header: Header) {
        self.frames.extend_from_slice(&header.encode());
    }

    fn is_full(&self) -> bool {
        self.payload.is_some() || self.frames.len() >= PACK
    }
}

impl Engine {
    /// Whether there may be something to pack.
    pub fn has_something_to_send(&self) -> bool {
        !self.replies.is_empty() || self.hub.has_ready()
    }

    /// Packs what is to be sent next, as much as goes into one pack: of each stream in turn one frame with payload.
    ///
    /// # Errors
    ///
    /// Where the far end hears no answers, or all ids have been used.
    pub fn pack(&mut self, pack: &mut Pack, now: Instant) -> Result<(), Error> {
        while !pack.is_full() {
            if let Some(reply) = self.replies.pop_front() {
                pack.add(reply);
            } else if let Some(cell) = self.hub.next_ready() {
                self.pack_stream(&cell, pack, now)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn pack_stream(&mut self, cell: &Arc<Cell>, pack: &mut Pack, now: Instant) -> Result<(), Error> {
        let mut state = cell.lock();
        state.scheduled = false;
        if self.closing {
            state.cut_off();
        }
        let id = match (state.id, state.outflow) {
            (Some(id), _) if self.cells.get(&id).is_some_and(|held| Arc::ptr_eq(held, cell)) => id,
            // It was over, and all that is left is what its user reads; the far end may have used its id again.
            (Some(_), _) => return Ok(()),
            (None, outflow) if outflow == Outflow::Broken || outflow == Outflow::Resetting && !state.has_unsent() => {
                // The far end has never heard of it.
                if std::mem::take(&mut state.unacknowledged) {
                    self.hub.acknowledged();
                }
                return Ok(());
            }
            (None, _) => {
                let Some(id) = self.next_id else {
                    // It stands in no table, so nobody else would tell its user.
                    state.break_off();
                    return Err(Error::OutOfIds);
                };
                self.next_id = id.checked_add(2);
                if id > WORN {
                    self.hub.worn.store(true, Relaxed);
                }
                state.id = Some(id);
                self.cells.insert(id, cell.clone());
                id
            }
        };
        if state.outflow == Outflow::Broken {
            return Ok(());
        }
        let mut greeting = std::mem::take(&mut state.greeting);
        if std::mem::take(&mut state.credit_due) && state.inflow == Inflow::Open {
            let credit = state.window.credit(now, self.round_trip.shortest);
            if let Some(ping) = self.round_trip.ping(now) {
                pack.add(ping);
            }
            pack.add(Header::window_update(id, std::mem::take(&mut greeting), credit));
        }
        if let Some(chunk) = state.next_unsent() {
            pack.add(Header::data(id, std::mem::take(&mut greeting), chunk.len() as u32));
            match chunk.len() <= SMALL {
                true => pack.frames.extend_from_slice(chunk.as_slice()),
                false => pack.payload = Some(chunk),
            }
        }
        if greeting != Flags::NONE {
            pack.add(Header::window_update(id, greeting, 0));
        }
        let last_words = matches!(state.outflow, Outflow::Ending | Outflow::Resetting);
        if state.has_unsent() || pack.payload.is_some() && last_words {
            // Behind the others.
            state.scheduled = true;
            self.hub.schedule_again(cell.clone());
            return Ok(());
        }
        match state.outflow {
            Outflow::Ending => {
                state.outflow = Outflow::Ended;
                pack.add(Header::fin(id));
            }
            Outflow::Resetting => {
                state.break_off();
                pack.add(Header::reset(id));
            }
            Outflow::Open | Outflow::Ended | Outflow::Broken => {}
        }
        let (over, nobody_hears) = (state.is_over(), state.abandoned && state.outflow == Outflow::Ended);
        let too_late = state.comes_too_late();
        drop(state);
        if over {
            self.forget(id);
        } else if nobody_hears && too_late {
            self.reset(id)?;
        } else if nobody_hears {
            self.bid_farewell(id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yamux::Budget;

    /// One that takes one stream at a time, now.
    fn engine(role: Role) -> (Arc<Hub>, Engine, Instant) {
        let (budget, now) = (Budget::new(0), Instant::now());
        let hub = Hub::new(budget.clone());
        let config = Config { max_inbound_streams: Box::new(|| 1), budget };
        (hub.clone(), Engine::new(hub, role, config, now), now)
    }

    #[test]
    fn a_connection_is_worn_long_before_its_ids_are_used_up() {
        let (hub, mut engine, now) = engine(Role::Dialer);
        for (id, worn) in [(1, false), (WORN - 1, false), (WORN + 1, true)] {
            engine.next_id = Some(id);
            let cell = Cell::outbound(hub.clone());
            cell.schedule(&mut cell.lock());
            engine.pack(&mut Pack::default(), now).unwrap();
            assert_eq!(hub.worn.load(Relaxed), worn, "{id}");
        }
    }

    #[test]
    fn a_stream_that_is_over_does_not_end_another_to_which_the_far_end_gives_its_id() {
        let (hub, mut engine, now) = engine(Role::Listener);
        let open = Header::window_update(1, Flags::SYN, 0).encode();
        engine.receive(&open, now).unwrap();
        let first = engine.cells[&1].clone();
        first.lock().outflow = Outflow::Ended;
        engine.receive(&Header::fin(1).encode(), now).unwrap();
        assert!(engine.cells.is_empty(), "both ends have said all");

        let _still_reading = hub.front().inbound.pop_front();
        engine.receive(&open, now).unwrap();
        first.schedule(&mut first.lock());
        engine.pack(&mut Pack::default(), now).unwrap();
        assert_eq!((engine.cells.len(), engine.inbound), (1, 1));
    }

    #[test]
    fn the_stream_for_which_no_id_is_left_is_broken_and_not_forgotten() {
        let (hub, mut engine, now) = engine(Role::Dialer);
        engine.next_id = None;
        let cell = Cell::outbound(hub);
        cell.schedule(&mut cell.lock());
        let packed = engine.pack(&mut Pack::default(), now);
        assert!(matches!(packed, Err(Error::OutOfIds)), "{packed:?}");
        assert_eq!(cell.lock().inflow, Inflow::Broken);
    }
}
