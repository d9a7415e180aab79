//! The same work on the simulator of this project and on other simulators, in one run: `cargo run --release`
//! in this folder.
//!
//! Messages: two processes send messages of 8 bytes to each other in turn, one window at a time. The
//! simulator of this project runs twice: as `kernel only` (kernel, channel and schedule), and as `cluster`
//! (with the machines, JSON and every check). Runs: start, 10 messages and end of a whole world.
//!
//! The simulators take turns, and the program prints a table of medians. The time is CPU time: other programs
//! interrupt a measurement, and the interruptions do not count.

mod cluster;
mod other;

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The number of rounds. Each simulator runs once in a round.
const ROUNDS: usize = 11;

type Subject = (&'static str, fn(u64));

const WORKS: [(&str, u64, &[Subject]); 3] = [
    (
        "messages, one at a time",
        10_000,
        &[
            ("madsim", |n| other::madsim_messages(n, 1)),
            ("turmoil", |n| other::turmoil_messages(n, 1)),
            ("kernel only", |n| cluster::kernel_only(n, 1)),
            ("cluster", |n| cluster::messages(n, 1)),
        ],
    ),
    (
        "messages, 64 at a time",
        12_800,
        &[
            ("madsim", |n| other::madsim_messages(n, 64)),
            ("turmoil", |n| other::turmoil_messages(n, 64)),
            ("kernel only", |n| cluster::kernel_only(n, 64)),
            ("cluster", |n| cluster::messages(n, 64)),
        ],
    ),
    (
        "runs with 10 messages",
        500,
        &[
            ("madsim", |n| (0..n).for_each(|_| other::madsim_messages(10, 1))),
            ("turmoil", |n| (0..n).for_each(|_| other::turmoil_messages(10, 1))),
            ("cluster", |n| (0..n).for_each(cluster::run)),
        ],
    ),
];

fn main() {
    println!("| | madsim | turmoil | here, kernel only | here, whole cluster |\n|---|---|---|---|---|");
    for (work, n, subjects) in WORKS {
        eprintln!("{work}");
        let rounds: Vec<Vec<f64>> = (0..ROUNDS).map(|_| round(n, subjects)).collect();
        let mut row = format!("| {work} |");
        for column in ["madsim", "turmoil", "kernel only", "cluster"] {
            row += &match subjects.iter().position(|(name, _)| *name == column) {
                Some(at) => format!(" {:.0}/s |", median(rounds.iter().map(|rates| rates[at]))),
                None => " |".to_owned(),
            };
        }
        println!("{row}");
    }
}

fn round(n: u64, subjects: &[Subject]) -> Vec<f64> {
    let rate = |&(_, work): &Subject| {
        let started = spent();
        work(n);
        n as f64 / (spent() - started).as_secs_f64()
    };
    subjects.iter().map(rate).collect()
}

/// The CPU time of this process.
fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock").into()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
