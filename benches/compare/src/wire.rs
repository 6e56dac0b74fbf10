//! A wire between two TUN devices that takes its time: netem in user space, for kernels that have none.

use std::{
    collections::VecDeque,
    io,
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;
use fastrand::Rng;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
    unistd::{gettid, read, write},
};
use tun_rs::{SyncDevice, VIRTIO_NET_HDR_LEN};

/// What becomes of packets that go over a wire, each way alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    /// Bits a second. Without, the wire carries all that comes.
    pub rate: Option<u64>,
    /// How much waits for its turn at the near end of a slow wire. What comes beyond is dropped.
    pub buffer: usize,
    /// The share of packets that vanish.
    pub loss: f64,
}

impl Condition {
    /// Nothing gets lost. The buffer is there so that memory has a bound, and holds more than the windows of TCP.
    pub const CALM: Self = Self { rate: None, buffer: 512 << 20, loss: 0.0 };
}

/// The largest packet that Linux hands to a device, and what stands before it.
const LARGEST: usize = VIRTIO_NET_HDR_LEN + 65_536;
/// The headers of IPv4 and TCP with timestamps, which each segment of a large packet gets on a real wire.
const HEADERS: usize = 52;
/// How many packets are read from one end before the other end has its turn.
const AT_ONCE: usize = 64;
/// The same for every condition that is set, so that all peers lose by the same dice.
const SEED: u64 = 5;

/// The relay between two devices. Ends when dropped.
pub struct Wire {
    shared: Arc<Shared>,
    relay: Option<JoinHandle<()>>,
}

struct Shared {
    /// What holds, and how often it has been set.
    condition: Mutex<(Condition, usize)>,
    over: AtomicBool,
    dropped: AtomicU64,
}

impl Wire {
    /// Devices that don't block, with headers of virtio. Each way takes `delay`.
    pub fn between(ends: [SyncDevice; 2], delay: Duration) -> Result<Self> {
        let shared = Arc::new(Shared {
            condition: Mutex::new((Condition::CALM, 0)),
            over: AtomicBool::default(),
            dropped: AtomicU64::default(),
        });
        let relay = Relay { ends, delay, shared: shared.clone() };
        let relay = thread::Builder::new().name("wire".to_owned()).spawn(move || {
            go_first();
            if let Err(error) = relay.run() {
                eprintln!("the wire broke: {error}");
            }
        })?;
        Ok(Self { shared, relay: Some(relay) })
    }

    pub fn set(&self, condition: Condition) {
        let mut holds = self.shared.condition();
        *holds = (condition, holds.1 + 1);
    }

    /// The packets that did not fit into a buffer, so far. What vanished because it was to vanish is not among them.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// A real wire does not wait for a CPU.
fn go_first() {
    let thread = gettid().to_string();
    match Command::new("renice").args(["-n", "-20", "-p", &thread]).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        failed => eprintln!("the wire takes its turn like everybody else: {failed:?}"),
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(relay) = self.relay.take() {
            let _ = relay.join();
        }
    }
}

impl Shared {
    fn condition(&self) -> MutexGuard<'_, (Condition, usize)> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Relay {
    ends: [SyncDevice; 2],
    delay: Duration,
    shared: Arc<Shared>,
}

impl Relay {
    fn run(self) -> io::Result<()> {
        /// So that the end of the wire is noticed.
        const LONGEST_SLEEP: Duration = Duration::from_millis(100);
        let mut ways = [Way::new(), Way::new()];
        let mut packet = vec![0; LARGEST];
        while !self.shared.over.load(Ordering::Relaxed) {
            let (condition, version) = *self.shared.condition();
            let now = Instant::now();
            for (way, end) in ways.iter_mut().zip(self.ends.iter().rev()) {
                while let Some(packet) = way.arrived(now) {
                    match write(end, &packet) {
                        Ok(_) => {}
                        // The device is down, or its queue full: on a real wire the packet would be gone as well.
                        Err(_) => self.count_dropped(),
                    }
                }
            }
            let next = ways.iter().filter_map(Way::next).min();
            let sleep = next.map_or(LONGEST_SLEEP, |next| next.saturating_duration_since(Instant::now()));
            let mut polled = self.ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
            match ppoll(&mut polled, Some(TimeSpec::from_duration(sleep.min(LONGEST_SLEEP))), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            for (way, end) in ways.iter_mut().zip(&self.ends) {
                way.obey(condition, version);
                for _ in 0..AT_ONCE {
                    let length = match read(end, &mut packet) {
                        Ok(length) => length,
                        Err(Errno::EAGAIN | Errno::EINTR) => break,
                        Err(error) => return Err(error.into()),
                    };
                    if !way.take(&packet[..length], now, self.delay) {
                        self.count_dropped();
                    }
                }
            }
        }
        Ok(())
    }

    fn count_dropped(&self) {
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is on its way from one end to the other.
struct Way {
    condition: Condition,
    version: usize,
    rng: Rng,
    /// With the time at which each packet arrives. In order.
    packets: VecDeque<(Instant, Vec<u8>)>,
    /// The bytes of `packets`.
    bytes: usize,
    /// When all that came before has left the near end.
    free_at: Instant,
}

impl Way {
    fn new() -> Self {
        Self {
            condition: Condition::CALM,
            version: 0,
            rng: Rng::with_seed(SEED),
            packets: VecDeque::new(),
            bytes: 0,
            free_at: Instant::now(),
        }
    }

    fn obey(&mut self, condition: Condition, version: usize) {
        if self.version != version {
            (self.condition, self.version, self.rng) = (condition, version, Rng::with_seed(SEED));
        }
    }

    /// Takes a packet, or says that it doesn't fit.
    fn take(&mut self, packet: &[u8], now: Instant, delay: Duration) -> bool {
        let on_the_wire = on_the_wire(packet);
        if self.condition.loss > 0.0 && self.rng.f64() < self.condition.loss {
            return true;
        }
        let starts = self.free_at.max(now);
        let leaves = match self.condition.rate {
            None => starts,
            Some(rate) => {
                let waiting = (starts - now).as_secs_f64() * rate as f64 / 8.0;
                if waiting + on_the_wire as f64 > self.condition.buffer as f64 {
                    return false;
                }
                starts + Duration::from_secs_f64(on_the_wire as f64 * 8.0 / rate as f64)
            }
        };
        if self.bytes + packet.len() > Condition::CALM.buffer {
            return false;
        }
        self.free_at = leaves;
        self.bytes += packet.len();
        self.packets.push_back((leaves + delay, packet.to_vec()));
        true
    }

    fn next(&self) -> Option<Instant> {
        self.packets.front().map(|(at, _)| *at)
    }

    fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next().filter(|at| *at <= now)?;
        let (_, packet) = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some(packet)
    }
}

/// The bytes that a packet is on a real wire, where each segment of a large one has headers.
fn on_the_wire(packet: &[u8]) -> usize {
    let length = packet.len().saturating_sub(VIRTIO_NET_HDR_LEN);
    // gso_size in `struct virtio_net_hdr`; zero where the packet is no larger than the device takes.
    let segment = packet.get(4..6).map_or(0, |bytes| usize::from(u16::from_ne_bytes([bytes[0], bytes[1]])));
    match segment {
        0 => length,
        segment => length + (length.saturating_sub(HEADERS).div_ceil(segment).saturating_sub(1)) * HEADERS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(20);

    fn packet(length: usize) -> Vec<u8> {
        vec![0; VIRTIO_NET_HDR_LEN + length]
    }

    #[test]
    fn a_packet_arrives_after_the_delay_and_not_before() {
        let (mut way, now) = (Way::new(), Instant::now());
        assert!(way.take(&packet(100), now, DELAY));
        assert_eq!(way.next(), Some(now + DELAY));
        assert_eq!(way.arrived(now + DELAY - Duration::from_nanos(1)), None);
        assert_eq!(way.arrived(now + DELAY), Some(packet(100)));
        assert_eq!((way.next(), way.bytes), (None, 0));
    }

    #[test]
    fn a_slow_wire_spaces_packets_and_drops_what_its_buffer_does_not_hold() {
        let (mut way, now) = (Way::new(), Instant::now());
        // A packet each millisecond; two wait beside the one that is sent.
        way.obey(Condition { rate: Some(8_000_000), buffer: 3_000, loss: 0.0 }, 1);
        assert_eq!([(); 4].map(|()| way.take(&packet(1000), now, DELAY)), [true, true, true, false]);
        let arrivals: Vec<_> = way.packets.iter().map(|(at, _)| at.duration_since(now).as_micros()).collect();
        assert_eq!(arrivals, [21_000, 22_000, 23_000]);
        assert!(way.take(&packet(1000), now + Duration::from_millis(1), DELAY), "there is room again");
    }

    #[test]
    fn as_many_packets_vanish_as_are_to_and_the_same_ones_each_time() {
        let lossy = Condition { loss: 0.01, ..Condition::CALM };
        let survivors = |version| {
            let (mut way, now) = (Way::new(), Instant::now());
            way.obey(lossy, version);
            let mut survivors = Vec::new();
            for nth in 0..10_000 {
                let before = way.packets.len();
                assert!(way.take(&packet(100), now, DELAY), "what vanishes did fit");
                survivors.extend((way.packets.len() > before).then_some(nth));
            }
            survivors
        };
        let first = survivors(1);
        assert!((9_850..9_950).contains(&first.len()), "{}", first.len());
        assert_eq!(survivors(2), first);
    }

    #[test]
    fn a_large_packet_takes_as_long_as_its_segments() {
        let mut large = packet(52 + 10 * 1448);
        large[4..6].copy_from_slice(&1448_u16.to_ne_bytes());
        assert_eq!(on_the_wire(&large), 10 * 1500);
        assert_eq!(on_the_wire(&packet(1500)), 1500);
    }
}
