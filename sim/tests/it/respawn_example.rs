//! The example finds the planted bug, shrinks the run to the one necessary kill, and explains the run.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster_core::Settings;
use cluster_sim::World;

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
    let again = replay(last);
    let code = again.code.replace("LINE", &format!("{last:?}"));
    assert_eq!(text.lines().nth(1), Some(format!("replay: {code};").as_str()));
    assert_eq!(again.panic.as_deref(), Some(text.as_str()), "the replay fails as the run did");
}

/// The code of a replay as printed, and the text of the failure when a test executes this code.
struct Replay {
    code: &'static str,
    panic: Option<String>,
}

/// Compiles the printed code in a function without a result, as a plain test.
#[expect(clippy::unwrap_used, reason = "as printed")]
fn replay(line: &str) -> Replay {
    macro_rules! printed {
        ($code:expr) => {
            Replay {
                code: stringify!($code),
                panic: catch_unwind(AssertUnwindSafe(|| $code)).err().map(text),
            }
        };
    }
    let world = World::new(respawn::KeepTwo::default(), Settings::default()).named("respawn");
    let property = respawn::has_two_workers;
    #[expect(non_snake_case, reason = "stands for the text of the line")]
    let LINE = line;
    printed!(cluster_sim::prop::replay(LINE, world, property).unwrap())
}

/// The text that follows the words of `unwrap`.
fn text(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast::<String>().expect("a text");
    text.split_once("value: ").map_or_else(String::new, |(_, failure)| failure.to_owned())
}

/// A run without a failure passes; a text that is not a replay line fails.
#[test]
fn replay_judges_line_and_run() {
    let world = World::new(respawn::KeepTwo::default(), Settings::default());
    let mut passed = world.clone();
    passed.run().expect("every check holds");
    let line = passed.replay_line();
    assert!(cluster_sim::prop::replay(&line, world.clone(), respawn::has_two_workers).is_ok());
    let failure = cluster_sim::prop::replay(&line, world.clone(), |_| Err("no".to_owned()));
    assert_eq!(failure.map_err(|failure| failure.what), Err("no".to_owned()));
    let failure = cluster_sim::prop::replay("sim:v2:", world, respawn::has_two_workers);
    let failure = failure.expect_err("another version");
    assert!(failure.run.is_none() && failure.what.contains("sim:v1:"), "{failure}");
}
