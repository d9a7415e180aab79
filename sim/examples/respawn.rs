//! A policy for starting workers again, tested on every kind of schedule, while workers are killed at any
//! moment.
//!
//! `cargo run -p cluster-sim --example respawn` finds a bug of the policy, and prints the smallest run with
//! the bug; `-- run.html` also writes a page for a browser. The bug is planted: do not use the policy.

use cluster_core::{Event, Primary, Settings};
use cluster_sim::prop::{Counterexample, check};
use cluster_sim::{Actor, Fault, Faults, Process, Program, World};
use proptest::strategy::Just;

/// Keeps two workers: when a worker dies, forks as many workers as are missing from two online workers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct KeepTwo {
    online: u32,
}

impl KeepTwo {
    /// The number of workers to fork after an event. A real primary uses the same policy:
    /// `for _ in 0..policy.missing(&event) { primary.fork()?; }`. Events, ids and settings have the same
    /// types there.
    fn missing(&mut self, event: &Event) -> u32 {
        if let Event::Online { .. } = event {
            self.online += 1;
        }
        if let Event::Exit { .. } = event {
            self.online = self.online.saturating_sub(1);
            return 2_u32.saturating_sub(self.online);
        }
        0
    }
}

impl Program for KeepTwo {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        let missing = self.missing(&event);
        for _ in 0..missing {
            primary.fork().expect("the settings are valid");
        }
        if missing > 0 {
            process.observe(format!("{missing} are missing"));
        }
    }
}

/// The property: in the final state there are two workers, unless the primary is dead.
pub(crate) fn has_two_workers(world: &World<KeepTwo>) -> Result<(), String> {
    let workers = world.running().filter(|actor| *actor != Actor::Primary).count();
    let is_right = workers == 2 || workers == world.running().count();
    if is_right { Ok(()) } else { Err(format!("expected 2 workers, found {workers}")) }
}

/// Searches for a run without two workers in the end, with at most two kills a run.
pub(crate) fn search() -> Result<(), Box<Counterexample<KeepTwo>>> {
    let world = World::new(KeepTwo::default(), Settings::default()).named("respawn");
    check(Just(world.with_faults(Faults::only(&[Fault::Kill]).limit(2))), has_two_workers)
}

fn main() -> std::io::Result<()> {
    let Err(broken) = search() else {
        println!("No failure found.");
        return Ok(());
    };
    println!("{broken}");
    if let (Some(file), Some(page)) = (std::env::args_os().nth(1), broken.page()) {
        std::fs::write(file, page)?;
    }
    Ok(())
}
