//! Two ends of a connection, and whatever their users do, in whatever order, over a wire that carries as it likes and
//! may be cut: what is read is what was written, it ends as it was ended, and nobody sleeps who should be awake.

#![no_main]

use std::{
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use arbitrary::Arbitrary;
use futures::{AsyncRead, AsyncWrite};
use libfuzzer_sys::fuzz_target;
use p2ptun_fuzz::{
    amount, at, pattern, run,
    task::{Alarm, Task},
    wire::{Carrier, End, wire},
    yamux::{self, Budget, Config, Connection, Driver, Error, Role, Stream},
};

const MAX_STREAMS: usize = 300;

#[derive(Arbitrary, Debug)]
struct Plan {
    rooms: [u8; 2],
    pieces: [u8; 2],
    budget: u32,
    steps: Vec<(bool, Step)>,
}

/// What happens at one of the two ends, which the `bool` beside it says.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Open,
    OpenMany { streams: u8 },
    Write { stream: u8, bytes: u8 },
    Read { stream: u8, bytes: u8 },
    CloseStream { stream: u8 },
    DropStream { stream: u8 },
    Drive { turns: u8 },
    Carry { bytes: u8 },
    CarryAll,
    Wait { milliseconds: u8 },
    Settle,
    Cut,
    CloseConnection,
    DropConnection,
    DropConnectionToClose,
    DropDriver,
}

/// One end of a stream, and what has been done with it.
struct Half {
    stream: Option<Stream>,
    reading: Alarm,
    writing: Alarm,
    written: usize,
    read: usize,
    closed: bool,
    over: Option<Over>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Ended,
    Broken,
}

impl Half {
    fn new(stream: Stream) -> Self {
        let (reading, writing) = Default::default();
        Self { stream: Some(stream), reading, writing, written: 0, read: 0, closed: false, over: None }
    }

    /// The first two bytes on a stream say which one it is: those that the far end never hears of leave gaps.
    fn say_name(&mut self, number: usize) {
        let name = (number as u16).to_be_bytes();
        let stream = self.stream.as_mut().expect("it was just opened");
        let said = self.writing.poll(|cx| Pin::new(stream).poll_write(cx, &name));
        assert!(matches!(said, Poll::Ready(Ok(2) | Err(_))), "{said:?}");
    }

    /// `None` where the stream was broken before.
    fn hear_name(&mut self, name: &mut Vec<u8>) -> Poll<Option<usize>> {
        let stream = self.stream.as_mut().expect("it was just accepted");
        while let [] | [_] = name[..] {
            let mut byte = [0];
            match ready!(self.reading.poll(|cx| Pin::new(&mut *stream).poll_read(cx, &mut byte))) {
                Ok(1) => name.extend(byte),
                Ok(_) => panic!("an end that nobody made"),
                Err(_) => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(u16::from_be_bytes([name[0], name[1]]).into()))
    }

    /// Returns whether that could be done at once.
    fn write(&mut self, bytes: usize) -> bool {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.closed) else { return false };
        let said = pattern(self.written, bytes);
        match self.writing.poll(|cx| Pin::new(stream).poll_write(cx, &said)) {
            Poll::Ready(Ok(n)) => self.written += n,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => return false,
        }
        true
    }

    fn read(&mut self, bytes: usize) -> bool {
        let Some(stream) = self.stream.as_mut().filter(|_| self.over.is_none() && bytes > 0) else { return false };
        let mut buffer = vec![0; bytes];
        match self.reading.poll(|cx| Pin::new(stream).poll_read(cx, &mut buffer)) {
            Poll::Ready(Ok(0)) => self.over = Some(Over::Ended),
            Poll::Ready(Ok(n)) => {
                for byte in &buffer[..n] {
                    assert_eq!(*byte, at(self.read), "what is read is not what was written");
                    self.read += 1;
                }
            }
            Poll::Ready(Err(_)) => self.over = Some(Over::Broken),
            Poll::Pending => return false,
        }
        true
    }

    fn close(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        match self.writing.poll(|cx| Pin::new(stream).poll_close(cx)) {
            Poll::Ready(closed) => self.closed |= closed.is_ok(),
            Poll::Pending => panic!("closing waits for nobody"),
        }
    }

    /// Reads all there is. Returns whether there was anything, and only asks when it was told that there may be.
    fn drain(&mut self) -> bool {
        let mut any = false;
        while self.reading.rings() && self.read(50_000) {
            any = true;
        }
        any
    }

    /// Where nothing moves any more, nothing can be read and nothing written, or somebody was not told.
    fn check_asleep(&mut self) {
        assert!(!self.read(1), "nobody told the reader");
        if !self.writing.rings() {
            assert!(!self.write(1), "nobody told the writer");
        }
    }
}

/// One end of the connection.
struct Side {
    connection: Option<Connection>,
    driver: Task<Driver<End>>,
    accepting: Alarm,
    closing: Option<Alarm>,
    /// Closing has come to its end, as it should.
    has_said_goodbye: bool,
    /// It was dropped, and its driver was left to close it.
    leaves: bool,
    /// Streams that were accepted, and what has been read of their names.
    nameless: Vec<(Half, Vec<u8>)>,
}

impl Side {
    fn new((connection, driver): (Connection, Driver<End>)) -> Self {
        Self {
            connection: Some(connection),
            driver: Task::new(driver),
            accepting: Alarm::default(),
            closing: None,
            has_said_goodbye: false,
            leaves: false,
            nameless: Vec::new(),
        }
    }

    fn poll_close(&mut self) {
        let (Some(connection), Some(alarm)) = (&mut self.connection, &self.closing) else { return };
        if alarm.rings() {
            let closed = alarm.poll(|cx| connection.poll_close(cx));
            // A driver that was dropped has said nothing.
            self.has_said_goodbye |= matches!((closed, &self.driver.result), (Poll::Ready(Ok(())), Some(_)));
        }
    }
}

struct World {
    sides: [Side; 2],
    carriers: [Carrier; 2],
    /// The two ends of each stream, and which side has opened it.
    streams: Vec<([Option<Half>; 2], usize)>,
    /// Somebody has seen to it that the connection ends.
    ends: bool,
    cut: bool,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let (one, other, carriers) = wire(plan.rooms.map(amount), plan.pieces.map(amount));
        let config =
            || Config { max_inbound_streams: Box::new(|| usize::MAX), budget: Budget::new(plan.budget as usize) };
        let dialer = Side::new(yamux::new(one, Role::Dialer, config()));
        let listener = Side::new(yamux::new(other, Role::Listener, config()));
        Self { sides: [dialer, listener], carriers, streams: Vec::new(), ends: false, cut: false }
    }

    fn half(&mut self, stream: u8, side: usize) -> Option<&mut Half> {
        let count = self.streams.len();
        self.streams.get_mut(usize::from(stream) % count.max(1))?.0[side].as_mut()
    }

    fn open(&mut self, side: usize) {
        let Some(connection) = self.sides[side].connection.as_mut().filter(|_| self.streams.len() < MAX_STREAMS) else {
            return;
        };
        if let Poll::Ready(Ok(stream)) = Alarm::default().poll(|cx| connection.poll_outbound(cx)) {
            let mut half = Half::new(stream);
            half.say_name(self.streams.len());
            let mut halves = [None, None];
            halves[side] = Some(half);
            self.streams.push((halves, side));
        }
    }

    /// Accepts what was opened.
    fn accept(&mut self, side: usize) {
        while self.sides[side].accepting.rings() {
            let Side { connection: Some(connection), accepting, .. } = &mut self.sides[side] else { break };
            let Poll::Ready(Ok(stream)) = accepting.poll(|cx| connection.poll_inbound(cx)) else { break };
            self.sides[side].nameless.push((Half::new(stream), Vec::new()));
        }
        for (mut half, mut name) in std::mem::take(&mut self.sides[side].nameless) {
            match half.hear_name(&mut name) {
                Poll::Pending => self.sides[side].nameless.push((half, name)),
                Poll::Ready(Some(number)) => self.streams[number].0[side] = Some(half),
                Poll::Ready(None) => assert!(self.ends, "a stream without a name"),
            }
        }
    }

    fn drive(&mut self, side: usize, turns: usize) -> bool {
        let any = (0..turns).take_while(|_| self.sides[side].driver.turn()).count() > 0;
        self.accept(side);
        self.sides[side].poll_close();
        any
    }

    /// Until nothing moves any more, which it says, or for so many rounds.
    fn settle(&mut self, rounds: usize) -> bool {
        for _ in 0..rounds {
            let mut moved = false;
            for side in 0..2 {
                moved |= self.drive(side, 1);
                moved |= self.carriers[side].carry(usize::MAX);
            }
            if !moved {
                return true;
            }
        }
        false
    }

    async fn step(&mut self, side: usize, step: Step) {
        match step {
            Step::Open => self.open(side),
            Step::OpenMany { streams } => (0..streams).for_each(|_| self.open(side)),
            Step::Write { stream, bytes } => {
                let Some(half) = self.half(stream, side) else { return };
                half.write(amount(bytes));
            }
            Step::Read { stream, bytes } => {
                let Some(half) = self.half(stream, side) else { return };
                half.read(amount(bytes));
            }
            Step::CloseStream { stream } => {
                let Some(half) = self.half(stream, side) else { return };
                half.close();
            }
            Step::DropStream { stream } => {
                let Some(half) = self.half(stream, side) else { return };
                half.stream = None;
            }
            Step::Drive { turns } => {
                self.drive(side, turns.into());
            }
            Step::Carry { bytes } => {
                self.carriers[side].carry(amount(bytes));
            }
            Step::CarryAll => {
                self.carriers[side].carry(usize::MAX);
            }
            Step::Wait { milliseconds } => tokio::time::advance(Duration::from_millis(milliseconds.into())).await,
            Step::Settle => {
                self.settle(10_000);
            }
            Step::Cut => {
                (self.ends, self.cut) = (true, true);
                self.carriers.iter().for_each(Carrier::cut);
            }
            Step::CloseConnection => {
                self.ends = true;
                self.sides[side].closing.get_or_insert_default();
                self.sides[side].poll_close();
            }
            Step::DropConnection => {
                self.ends = true;
                self.sides[side].connection = None;
            }
            Step::DropConnectionToClose => {
                self.ends = true;
                let side = &mut self.sides[side];
                if let Some(mut connection) = side.connection.take() {
                    connection.close_when_dropped();
                    side.leaves = !side.driver.is_over();
                }
            }
            Step::DropDriver => {
                self.ends = true;
                self.sides[side].driver.abort();
            }
        }
    }

    /// Lets everything come to its end, and looks at it.
    fn finish(&mut self) {
        self.carriers.iter().for_each(Carrier::widen);
        loop {
            assert!(self.settle(100_000), "it never comes to rest");
            let mut moved = false;
            for half in self.streams.iter_mut().flat_map(|(halves, _)| halves).flatten() {
                moved |= half.drain();
            }
            if !moved {
                break;
            }
        }
        for half in self.streams.iter_mut().flat_map(|(halves, _)| halves).flatten() {
            half.check_asleep();
        }
        for side in &self.sides {
            assert!(self.ends || side.nameless.is_empty(), "the name never came");
            assert!(self.ends || side.driver.result.is_none(), "it has ended: {:?}", side.driver.result);
            assert!(!matches!(side.driver.result, Some(Error::Protocol(_))), "{:?}", side.driver.result);
            assert!(side.closing.is_none() || side.connection.is_none() || side.driver.is_over(), "it never closes");
            assert!(!side.leaves || side.driver.is_over(), "it never leaves");
        }
        for (halves, opener) in &self.streams {
            for reader in 0..2 {
                match [&halves[reader], &halves[1 - reader]] {
                    [Some(reads), Some(writes)] => self.check(reader, reads, writes),
                    [Some(reads), None] => assert!(reads.over != Some(Over::Ended), "an end that nobody made"),
                    [None, _] => assert!(reader != *opener),
                }
            }
        }
    }

    /// What `reader` has come to must be what `writer` did.
    fn check(&self, side: usize, reader: &Half, writer: &Half) {
        assert!(reader.read <= writer.written);
        let writer_has_gone = writer.stream.is_none();
        // What was closed arrives, if the writer's side has taken the time to say goodbye, and the reader's to listen.
        let arrives = !self.ends || self.has_said_all(1 - side) && self.is_listening(side);
        match reader.over {
            Some(Over::Ended) => {
                assert!(writer.closed && reader.read == writer.written, "an end that nobody made");
            }
            Some(Over::Broken) if self.ends => assert!(!(arrives && writer.closed), "what was closed is broken"),
            Some(Over::Broken) => {
                assert!(writer_has_gone && !writer.closed, "a break that nobody made");
                assert_eq!(reader.read, writer.written, "the last words were lost");
            }
            None if reader.stream.is_none() => {}
            None => {
                assert!(!self.ends, "the connection has ended, and the reader was not told");
                assert!(!writer.closed, "the end never came");
                assert!(!writer_has_gone, "the reset never came");
                assert_eq!(reader.read, writer.written, "bytes never came");
            }
        }
    }

    /// The connection was closed from this side, and its driver has seen to it.
    fn has_said_all(&self, side: usize) -> bool {
        let Side { has_said_goodbye, leaves, driver, .. } = &self.sides[side];
        *has_said_goodbye || *leaves && matches!(driver.result, Some(Error::Closed))
    }

    /// Nothing on this side has cut short what came.
    fn is_listening(&self, side: usize) -> bool {
        let side = &self.sides[side];
        !self.cut && side.connection.is_some() && side.closing.is_none() && side.driver.result.is_some()
    }
}

fuzz_target!(|plan: Plan| {
    run(async {
        let mut world = World::new(&plan);
        for (side, step) in &plan.steps {
            world.step(usize::from(*side), *step).await;
        }
        world.finish();
    });
});
