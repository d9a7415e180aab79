use cluster_core::{Event, Primary, Settings};
use cluster_sim::{Fault, Faults, Process, Program, World, prop};
use proptest::strategy::Just;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KeepOne;

impl Program for KeepOne {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("valid settings");
    }

    fn primary_event(&mut self, primary: &mut Primary, _: &mut Process<'_>, event: Event) {
        if let Event::Exit { .. } = event {
            primary.fork().expect("valid settings"); // without this line, the test fails
        }
    }
}

#[test]
fn primary_keeps_a_worker() {
    let kills = Faults::only(&[Fault::Kill]).limit(2); // at most two kills, each at any call of any process
    let world = World::new(KeepOne, Settings::default()).with_faults(kills);
    // At the end of a run: only the primary is left. (A killed primary is not left, either.)
    let is_alone = |world: &World<_>| world.running().count() == 1;
    let property = |world: &World<_>| if is_alone(world) { Err("no worker".to_owned()) } else { Ok(()) };
    prop::check(Just(world), property).unwrap();
}
