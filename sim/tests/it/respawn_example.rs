//! The example finds the planted bug, shrinks the run to the one necessary kill, and explains the run.

use cluster_core::Settings;
use cluster_sim::World;
use cluster_sim::replay::Line;

#[expect(dead_code, reason = "its `main` is not called here")]
#[path = "../../examples/respawn.rs"]
mod respawn;

#[test]
fn planted_bug_is_found_and_explained() {
    let broken = respawn::search().expect_err("the bug is planted");
    assert_eq!(broken.what, "expected 2 workers, found 3");
    let run = broken.run.as_ref().expect("a run");
    assert_eq!((run.faults(), run.switches()), (1, 0), "{broken}");

    let text = broken.to_string();
    assert!(text.lines().any(|line| line.contains("ends: Signal")), "{text}");
    assert!(text.contains("observes: 2 are missing"), "{text}");
    let page = broken.page().expect("a run");
    for shown in ["expected 2 workers, found 3", "2 are missing", "worker 3", "sim:v1:respawn:"] {
        assert!(page.contains(shown), "{shown}");
    }
    let last = text.lines().last().expect("a last line");
    let code = format!("replay: \"{last}\".parse::<cluster_sim::replay::Line>()?.replay(world)");
    assert_eq!(text.lines().nth(1), Some(code.as_str()), "the code below is the advice");
    let again = last
        .parse::<Line>()
        .expect("a replay line")
        .replay(World::new(respawn::KeepTwo::default(), Settings::default()));
    assert_eq!((again.left, again.world.running().count()), (None, 4), "a primary and three workers");
}
