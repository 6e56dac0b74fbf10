//! A real line between two namespaces. Takes root, and a machine that does nothing else; so none of it runs by itself.

use std::{net::SocketAddr, time::Duration};

use nix::unistd::geteuid;
use p2ptun_compare::{
    line::{Line, ROUND_TRIP},
    load::{
        bulk::{Bulk, Direction},
        latency, service,
    },
    wire::Condition,
};

/// A line, and where a service answers at its far end.
fn line() -> (Line, SocketAddr) {
    assert!(geteuid().is_root(), "a line takes root");
    let line = Line::lay("cubic").unwrap();
    let (service, _) = service::start(&line.far).unwrap();
    (line, service)
}

#[test]
#[ignore = "takes root and a quiet machine: cargo test --package p2ptun-compare -- --ignored"]
fn a_fresh_connection_takes_two_round_trips() {
    let (line, service) = line();
    let took = line.near.within(|| latency::fresh(service)).unwrap();
    assert!(took >= 2 * ROUND_TRIP, "{took:?}");
    // A lost packet would take TCP a second.
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(line.dropped().unwrap(), 0);
}

#[test]
#[ignore = "takes root and a quiet machine: cargo test --package p2ptun-compare -- --ignored"]
fn a_service_at_the_far_end_can_not_be_reached_but_over_the_line() {
    let (line, service) = line();
    line.far.within(|| latency::fresh(service)).unwrap();
    let elsewhere = std::net::TcpStream::connect_timeout(&service, Duration::from_millis(200));
    assert!(elsewhere.is_err(), "{elsewhere:?}");
}

#[test]
#[ignore = "takes root and a quiet machine: cargo test --package p2ptun-compare -- --ignored"]
fn a_slow_line_carries_what_it_is_to_and_counts_what_it_drops_until_it_is_fast_again() {
    const RATE: f64 = 20e6;
    let (line, service) = line();
    let bits_a_second = || {
        line.near.within(|| {
            let bulk = Bulk::start(service, 2, Direction::Down)?;
            Ok(bulk.measure(Duration::from_millis(500), Duration::from_secs(1), || Ok(Duration::ZERO))?.bits_per_second)
        })
    };
    let spell = line.under(Condition { rate: Some(RATE as u64), buffer: 50_000, loss: 0.0 }).unwrap();
    let slow = bits_a_second().unwrap();
    assert!((RATE / 4.0..RATE * 1.1).contains(&slow), "{slow} bit/s");
    let dropped = line.dropped().unwrap();
    assert!(dropped > 0);
    drop(spell);
    let fast = bits_a_second().unwrap();
    assert!(fast > RATE * 1.5, "{fast} bit/s");
}
