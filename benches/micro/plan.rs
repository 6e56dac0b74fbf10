//! What a plan costs where a file declares a thousand tunnels.

#![allow(clippy::unwrap_used, reason = "a bench that can't go on has failed")]

mod thousand;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use p2ptun::{plan::plan, spec::Desired};

fn plans(criterion: &mut Criterion) {
    let live = thousand::desired(&thousand::file(""));
    let same = live.clone();
    let mut changed = live.clone();
    let elsewhere = thousand::desired(&thousand::file("other-"));
    if let (Some(mut tunnel), Some(other)) = (changed.tunnels.last_entry(), elsewhere.tunnels.values().last()) {
        tunnel.insert(other.clone());
    }
    let mut group = criterion.benchmark_group("plan of 1,000 tunnels");
    group.sample_size(30).measurement_time(Duration::from_secs(2));
    for (name, from, to, steps) in [
        ("no change", &live, &same, 0),
        ("one change", &live, &changed, 2),
        ("all new", &Desired::default(), &live, 1_000),
        ("all other", &live, &elsewhere, 2_000),
    ] {
        assert_eq!(plan(from, to).len(), steps, "{name}");
        group.bench_function(name, |bench| bench.iter(|| plan(black_box(from), black_box(to))));
    }
}

criterion_group!(benches, plans);
criterion_main!(benches);
