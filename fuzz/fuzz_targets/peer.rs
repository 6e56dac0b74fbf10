//! A listener, its user, and a peer that says whatever it likes: nothing panics, what is answered keeps to the protocol,
//! and no more is held than the limits allow.

#![no_main]

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    task::Poll,
};

use arbitrary::Arbitrary;
use futures::{AsyncRead, AsyncWrite};
use libfuzzer_sys::fuzz_target;
use p2ptun_fuzz::{
    amount, run,
    task::{Alarm, Task},
    wire::{Carrier, End, wire},
    yamux::{self, Budget, Config, Connection, Driver, Role, Stream},
};

/// What the specification gives every new stream.
const FIRST_WINDOW: u64 = 256 * 1024;
const LARGEST_FRAME: u32 = 64 * 1024;

// Types and flags of frames.
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const SYN: u8 = 1;
const FIN: u8 = 4;
const RST: u8 = 8;

#[derive(Arbitrary, Debug)]
struct Plan {
    rooms: [u8; 2],
    pieces: [u8; 2],
    max_streams: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// The peer says a frame; of a payload, all or a part.
    Say {
        kind: u8,
        flags: u8,
        stream: u8,
        length: u8,
        payload: u8,
    },
    SayWithLength {
        kind: u8,
        flags: u8,
        stream: u8,
        length: u32,
    },
    SayPayload {
        bytes: u8,
    },
    SayAnything {
        bytes: Vec<u8>,
    },
    Hear {
        bytes: u8,
    },
    End,
    Cut,
    // The listener, and its user.
    Drive {
        turns: u8,
    },
    Accept,
    Open,
    Read {
        stream: u8,
        bytes: u8,
    },
    Write {
        stream: u8,
        bytes: u8,
    },
    CloseStream {
        stream: u8,
    },
    DropStream {
        stream: u8,
    },
    CloseConnection,
    DropConnection,
}

/// What the listener has said, as its peer understands it.
#[derive(Default)]
struct Ear {
    heard: Vec<u8>,
    opened: HashSet<u32>,
    sent: HashMap<u32, u64>,
    pongs: u64,
    /// Streams of which it has said the end, or that it has reset.
    ended: HashSet<u32>,
    reset: HashSet<u32>,
}

/// What the peer has said, where it has said it in frames.
#[derive(Default)]
struct Mouth {
    opened: HashMap<u32, u32>,
    allowed: HashMap<u32, u64>,
    pings: u64,
    /// Bytes of a payload that it has announced and not said.
    owes: u64,
    /// It has said what is no frame, or may be none: what the listener makes of it is its own affair.
    babbles: bool,
}

impl Ear {
    fn hear(&mut self, bytes: &[u8], mouth: &Mouth) {
        self.heard.extend(bytes);
        let mut rest = &self.heard[..];
        while let Some((header, payload)) = rest.split_first_chunk::<12>() {
            let [version, kind, high, flags, s0, s1, s2, s3, l0, l1, l2, l3] = *header;
            let (stream, length) = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([l0, l1, l2, l3]));
            assert!(version == 0 && kind <= 3 && high == 0 && flags <= 15, "no frame: {header:?}");
            let carried = if kind == DATA { length as usize } else { 0 };
            let Some(behind) = payload.get(carried..) else { break };
            rest = behind;
            if kind == PING {
                assert_eq!(stream, 0);
                self.pongs += u64::from(flags & SYN == 0);
                assert!(mouth.babbles || self.pongs <= mouth.pings, "an answer that nobody asked for");
            }
            if kind > WINDOW_UPDATE {
                continue;
            }
            assert!(length <= if kind == DATA { LARGEST_FRAME } else { 16 << 20 });
            if flags & SYN != 0 {
                assert!(stream != 0 && stream % 2 == 0 && self.opened.insert(stream), "stream {stream} opened");
                assert!(stream == 2 || self.opened.contains(&(stream - 2)), "ids are in order");
            }
            // Where the peer uses an id again, nobody can tell which of its streams is meant.
            let once = mouth.opened.get(&stream) == Some(&1) || self.opened.contains(&stream);
            if mouth.babbles || !once {
                assert!(mouth.babbles || mouth.opened.contains_key(&stream), "stream {stream} is not known");
                continue;
            }
            assert!(!self.reset.contains(&stream) || flags & RST != 0, "more after a reset");
            assert!(!self.ended.contains(&stream) || kind != DATA && flags & FIN == 0, "more after the end");
            let sent = self.sent.entry(stream).or_default();
            *sent += carried as u64;
            let allowed = FIRST_WINDOW + mouth.allowed.get(&stream).copied().unwrap_or_default();
            assert!(*sent <= allowed, "more than is allowed");
            if flags & FIN != 0 {
                self.ended.insert(stream);
            }
            if flags & RST != 0 {
                self.reset.insert(stream);
            }
        }
        let left = rest.len();
        self.heard.drain(..self.heard.len() - left);
    }
}

impl Mouth {
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, length: u32) -> Vec<u8> {
        if self.owes > 0 {
            self.babbles = true;
        }
        match kind {
            DATA => self.owes = length.into(),
            WINDOW_UPDATE => *self.allowed.entry(stream).or_default() += u64::from(length),
            PING => self.pings += u64::from(flags & SYN != 0),
            _ => {}
        }
        if kind <= WINDOW_UPDATE && flags & SYN != 0 {
            *self.opened.entry(stream).or_default() += 1;
        }
        let mut frame = vec![0, kind, 0, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame
    }

    fn payload(&mut self, bytes: usize) -> Vec<u8> {
        let bytes = bytes.min(self.owes as usize);
        self.owes -= bytes as u64;
        vec![7; bytes]
    }
}

struct World {
    connection: Option<Connection>,
    driver: Task<Driver<End>>,
    streams: Vec<Option<Stream>>,
    to_listener: Carrier,
    to_peer: Carrier,
    mouth: Mouth,
    ear: Ear,
    /// The peer's end, which is spoken for; kept, for a dropped one is an end.
    _far: End,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let (io, far, [to_peer, to_listener]) = wire(plan.rooms.map(amount), plan.pieces.map(amount));
        let max = usize::from(plan.max_streams);
        let config = Config { max_inbound_streams: Box::new(move || max), budget: Budget::new(1 << 20) };
        let (connection, driver) = yamux::new(io, Role::Listener, config);
        Self {
            connection: Some(connection),
            driver: Task::new(driver),
            streams: Vec::new(),
            to_listener,
            to_peer,
            mouth: Mouth::default(),
            ear: Ear::default(),
            _far: far,
        }
    }

    fn hear(&mut self, bytes: usize) -> bool {
        let heard = self.to_peer.hear(bytes);
        self.ear.hear(&heard, &self.mouth);
        !heard.is_empty()
    }

    fn stream(&mut self, number: u8) -> Option<&mut Stream> {
        let count = self.streams.len();
        self.streams.get_mut(usize::from(number) % count.max(1))?.as_mut()
    }

    fn accept(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let Poll::Ready(Ok(stream)) = Alarm::default().poll(|cx| connection.poll_inbound(cx)) else { return false };
        self.streams.push(Some(stream));
        true
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Say { kind, flags, stream, length, payload } => {
                let length = if kind % 4 == PING { length.into() } else { amount(length) as u32 };
                let said = self.mouth.frame(kind % 4, flags % 16, u32::from(stream % 16), length);
                self.to_listener.say(&said);
                let said = self.mouth.payload(amount(payload));
                self.to_listener.say(&said);
            }
            Step::SayWithLength { kind, flags, stream, length } => {
                let said = self.mouth.frame(kind % 4, flags % 16, u32::from(stream % 16), length);
                self.to_listener.say(&said);
            }
            Step::SayPayload { bytes } => {
                let said = self.mouth.payload(amount(bytes));
                self.to_listener.say(&said);
            }
            Step::SayAnything { ref bytes } => {
                self.mouth.babbles = true;
                self.to_listener.say(bytes);
            }
            Step::Hear { bytes } => {
                self.hear(amount(bytes));
            }
            Step::End => self.to_listener.close(),
            Step::Cut => {
                self.to_listener.cut();
                self.to_peer.cut();
            }
            Step::Drive { turns } => {
                for _ in 0..turns {
                    self.driver.turn();
                }
            }
            Step::Accept => {
                self.accept();
            }
            Step::Open => {
                let Some(connection) = self.connection.as_mut().filter(|_| self.streams.len() < 400) else { return };
                if let Poll::Ready(Ok(stream)) = Alarm::default().poll(|cx| connection.poll_outbound(cx)) {
                    self.streams.push(Some(stream));
                }
            }
            Step::Read { stream, bytes } => {
                let Some(stream) = self.stream(stream) else { return };
                let mut buffer = vec![0; amount(bytes)];
                let _ = Alarm::default().poll(|cx| Pin::new(stream).poll_read(cx, &mut buffer));
            }
            Step::Write { stream, bytes } => {
                let Some(stream) = self.stream(stream) else { return };
                let _ = Alarm::default().poll(|cx| Pin::new(stream).poll_write(cx, &vec![1; amount(bytes)]));
            }
            Step::CloseStream { stream } => {
                let Some(stream) = self.stream(stream) else { return };
                let _ = Alarm::default().poll(|cx| Pin::new(stream).poll_close(cx));
            }
            Step::DropStream { stream } => {
                let count = self.streams.len().max(1);
                if let Some(stream) = self.streams.get_mut(usize::from(stream) % count) {
                    *stream = None;
                }
            }
            Step::CloseConnection => {
                let Some(connection) = &mut self.connection else { return };
                let _ = Alarm::default().poll(|cx| connection.poll_close(cx));
            }
            Step::DropConnection => self.connection = None,
        }
    }

    /// Hears all, and ends.
    fn finish(&mut self, max_streams: usize) {
        self.to_listener.widen();
        self.to_peer.widen();
        for round in 0.. {
            assert!(round < 1_000_000, "it never comes to rest");
            if !self.driver.turn() && !self.hear(usize::MAX) {
                break;
            }
        }
        let mut waiting = 0;
        while self.accept() {
            waiting += 1;
        }
        assert!(waiting <= max_streams, "{waiting} streams wait");
        self.to_listener.close();
        for _ in 0..1_000 {
            self.driver.turn();
            self.hear(usize::MAX);
        }
        assert!(self.driver.is_over(), "nobody speaks any more, and it goes on");
        let mut buffer = vec![0; 1 << 20];
        for stream in self.streams.iter_mut().flatten() {
            let alarm = Alarm::default();
            loop {
                assert!(alarm.rings(), "the connection has ended, and a reader waits");
                match alarm.poll(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                    Poll::Ready(Ok(1..)) | Poll::Pending => {}
                    Poll::Ready(Ok(0) | Err(_)) => break,
                }
            }
        }
    }
}

fuzz_target!(|plan: Plan| {
    run(async {
        let mut world = World::new(&plan);
        for step in &plan.steps {
            world.step(step);
        }
        world.finish(plan.max_streams.into());
    });
});
