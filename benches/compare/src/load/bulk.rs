//! As many bytes as go through.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use socket2::SockRef;

use super::{
    BUFFER,
    latency::connect,
    service::{BOTH_WAYS, DOWNLOAD},
};
use crate::procfs::Processors;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the service to the client.
    Down,
    /// Both ways at once on each connection.
    Both,
}

/// What a [`Bulk`] was seen to do.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub bits_per_second: f64,
    pub cpu_seconds_per_gib: f64,
    /// The share of all processors' time that nobody had a use for.
    pub idle_percent: f64,
}

/// Connections that move bytes from when this is made until it is dropped.
pub struct Bulk {
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
    moved: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<String>>>,
    over: Arc<AtomicBool>,
}

impl Bulk {
    /// Returns when bytes flow on every connection.
    pub fn start(entrance: SocketAddr, connections: usize, direction: Direction) -> Result<Self> {
        let mut bulk = Self {
            streams: Vec::new(),
            threads: Vec::new(),
            moved: Arc::default(),
            failed: Arc::default(),
            over: Arc::default(),
        };
        for _ in 0..connections {
            let mut stream = connect(entrance)?;
            stream.write_all(&[if direction == Direction::Both { BOTH_WAYS } else { DOWNLOAD }])?;
            stream.read_exact(&mut [0]).context("nothing comes")?;
            bulk.streams.push(stream);
        }
        for stream in &bulk.streams {
            let mut reader = stream.try_clone()?;
            bulk.threads.push(mover(&bulk, move |buffer| reader.read(buffer)));
            if direction == Direction::Both {
                let mut writer = stream.try_clone()?;
                bulk.threads.push(mover(&bulk, move |buffer| writer.write(buffer)));
            }
        }
        Ok(bulk)
    }

    /// The bytes that the clients have read, and written, so far. What differs from what has arrived is what
    /// fits into buffers, and that stays the same while bytes flow.
    fn moved(&self) -> Result<u64> {
        match self.failed.lock().ok().and_then(|failed| failed.clone()) {
            Some(error) => bail!("a connection ended in mid-stream: {error}"),
            None => Ok(self.moved.load(Ordering::Relaxed)),
        }
    }

    /// What `act` comes to, if bytes flow meanwhile.
    pub fn while_it_flows<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.moved()?;
        let done = act()?;
        ensure!(self.moved()? > before, "nothing moved meanwhile");
        Ok(done)
    }

    /// Watches for `window` after `warm_up`. `cpu_time` is what the daemons have taken so far.
    pub fn measure(
        &self,
        warm_up: Duration,
        window: Duration,
        cpu_time: impl Fn() -> Result<Duration>,
    ) -> Result<Flow> {
        thread::sleep(warm_up);
        let (start, bytes, cpu, processors) = (Instant::now(), self.moved()?, cpu_time()?, Processors::now()?);
        thread::sleep(window);
        let (took, bytes, cpu) = (start.elapsed(), self.moved()? - bytes, cpu_time()?.saturating_sub(cpu));
        if bytes == 0 {
            bail!("nothing moved for {took:?}");
        }
        Ok(Flow {
            bits_per_second: 8.0 * bytes as f64 / took.as_secs_f64(),
            cpu_seconds_per_gib: cpu.as_secs_f64() / (bytes as f64 / f64::from(1 << 30)),
            idle_percent: Processors::now()?.idle_since(processors),
        })
    }
}

fn mover(bulk: &Bulk, mut step: impl FnMut(&mut [u8]) -> std::io::Result<usize> + Send + 'static) -> JoinHandle<()> {
    let (moved, failed, over) = (bulk.moved.clone(), bulk.failed.clone(), bulk.over.clone());
    thread::spawn(move || {
        let mut buffer = vec![0x5a; BUFFER];
        let error = loop {
            match step(&mut buffer) {
                _ if over.load(Ordering::Relaxed) => return,
                Ok(0) => break "end of file".to_owned(),
                Ok(length) => moved.fetch_add(length as u64, Ordering::Relaxed),
                Err(error) => break error.to_string(),
            };
        };
        if let Ok(mut failed) = failed.lock() {
            failed.get_or_insert(error);
        }
    })
}

impl Drop for Bulk {
    /// Resets the connections, as a client does that has had enough. While bytes flow, each thread sees soon that it is over.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for stream in &self.streams {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.streams.clear();
    }
}
