//! The example `tasks`.

use nix::sys::signal::{Signal, killpg};

use super::{Example, TestResult};

/// The tasks of all workers together lead to the right result.
#[test]
fn tasks_count_primes() -> TestResult {
    let rest = Example::start("tasks", &["100000"])?.rest()?;
    assert_eq!(rest.last().map(String::as_str), Some("9592 primes below 100000"), "{rest:?}");
    Ok(())
}

/// A terminal sends ctrl-c to the workers as well. The example cancels the tasks, and every process exits.
#[test]
fn interrupt_ends_tasks() -> TestResult {
    let mut example = Example::start("tasks", &["100000000"])?;
    example.line_with("tasks for")?;
    killpg(example.group()?, Signal::SIGINT)?;
    let rest = example.rest()?;
    assert!(rest.last().is_some_and(|line| line.starts_with("interrupted: ")), "{rest:?}");
    Ok(())
}
