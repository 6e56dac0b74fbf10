//! What reading a file of a thousand tunnels costs, from the file to valid values or to all that is wrong with it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that can't go on has failed")]

mod thousand;

use std::{fs, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use p2ptun::config::{self, Reason};

fn validation(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2ptun.toml");
    let file = thousand::file("");
    let mut group = criterion.benchmark_group("a file of 1,000 tunnels");
    group.sample_size(30).measurement_time(Duration::from_secs(2));

    fs::write(&path, &file).unwrap();
    assert_eq!(thousand::desired(&file).tunnels.len(), 1_000);
    group.bench_function("valid", |bench| bench.iter(|| config::load(&path).unwrap()));

    fs::write(&path, file.replace("\npeer = ", "\npear = ")).unwrap();
    let Err(refused) = config::load(&path) else { panic!("it is valid") };
    assert!(matches!(refused.reason, Reason::Invalid(problems) if problems.len() >= 500));
    group.bench_function("500 mistakes", |bench| bench.iter(|| config::load(&path).unwrap_err()));
}

criterion_group!(benches, validation);
criterion_main!(benches);
