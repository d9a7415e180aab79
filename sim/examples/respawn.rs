//! A respawn policy of one's own, tested under every schedule and with workers that are killed anywhere.
//!
//! `cargo run -p cluster-sim --example respawn` finds what is wrong with it, and shows the smallest run that does; with
//! `-- run.html` behind it also as a picture for a browser. It is no policy to use: the mistake is planted.

use cluster_core::{Event, Primary, Settings};
use cluster_sim::prop::{Counterexample, check};
use cluster_sim::{Actor, Fault, Faults, Process, Program, World};
use proptest::strategy::Just;

/// There shall be two workers. Whenever one dies, as many are forked as are missing from those that are online.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct KeepTwo {
    online: u32,
}

impl KeepTwo {
    /// What is decided, and how it is done, are two things: a real primary asks the same,
    /// `for _ in 0..policy.missing(&event) { primary.fork()?; }`. Events, ids and settings are the same types there.
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
        primary.fork().expect("nothing impossible was set up");
        primary.fork().expect("nothing impossible was set up");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        let missing = self.missing(&event);
        for _ in 0..missing {
            primary.fork().expect("nothing impossible was set up");
        }
        if missing > 0 {
            process.observe(format!("{missing} are missing"));
        }
    }
}

/// When everything has come to rest, there are two workers, unless the primary is dead.
fn two_live(world: &World<KeepTwo>) -> Result<(), String> {
    let workers = world.running().filter(|actor| *actor != Actor::Primary).count();
    let is_right = workers == 2 || workers == world.running().count();
    if is_right { Ok(()) } else { Err(format!("{workers} workers live, not 2")) }
}

/// What the simulator finds, at most two kills a run.
pub(crate) fn search() -> Result<(), Box<Counterexample<KeepTwo>>> {
    let world = World::new(KeepTwo::default(), Settings::default()).named("respawn");
    check(Just(world.with_faults(Faults::only(&[Fault::Kill]).limit(2))), two_live)
}

fn main() -> std::io::Result<()> {
    let Err(broken) = search() else {
        println!("Nothing was found.");
        return Ok(());
    };
    println!("{broken}");
    if let (Some(file), Some(page)) = (std::env::args_os().nth(1), broken.page()) {
        std::fs::write(file, page)?;
    }
    Ok(())
}
