//! The example finds its planted mistake, shrinks it to the one kill that it takes, and explains it.

use cluster_core::Settings;
use cluster_sim::World;
use cluster_sim::replay::Line;

#[expect(dead_code, reason = "its main is not called here")]
#[path = "../../examples/respawn.rs"]
mod respawn;

#[test]
fn the_mistake_is_found_shrunk_and_explained() {
    let broken = respawn::search().expect_err("it is planted");
    assert_eq!(broken.what, "3 workers live, not 2");
    let run = broken.run.as_ref().expect("there is a run");
    assert_eq!((run.faults(), run.switches()), (1, 0), "{broken}");

    let text = broken.to_string();
    assert!(text.lines().any(|line| line.contains("ends: Signal")), "{text}");
    assert!(text.contains("writes down: 2 are missing"), "{text}");
    let page = broken.page().expect("there is a run");
    for shown in ["3 workers live, not 2", "2 are missing", "worker 3", "sim:v1:respawn:"] {
        assert!(page.contains(shown), "{shown}");
    }
    let line: Line = text.lines().last().expect("it is not empty").parse().expect("the last line replays it");
    let again = line.replay(World::new(respawn::KeepTwo::default(), Settings::default()));
    assert_eq!((again.left, again.world.running().count()), (None, 4), "a primary and three workers");
}
