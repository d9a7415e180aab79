//! Known panics of the standard library and of the runtime, each with the reason why the project cannot
//! prevent it.

/// The texts of the panics.
const KNOWN: [&str; 5] = [
    // std prepares `main`.
    "failed to allocate an alternative stack",
    "failed to set up alternative stack guard page",
    // tokio's driver for signals needs a socket pair when the runtime is built, and reads the pair.
    "failed to create UnixStream",
    "Bad read on self-pipe",
    // std's `spawn` reads the report of a failed `execve`.
    "the CLOEXEC pipe failed",
];

/// The aborts that follow a known panic, before `main` and before the function of a thread.
const ABORTS: [&str; 2] = ["initialization or cleanup bug", "failed to initiate panic"];

/// The unknown panics in the standard error of all processes. An abort is known only behind a known panic.
pub(crate) fn unknown_panics(stderr: &str) -> Vec<&str> {
    let contains = |line: &str, texts: &[&str]| texts.iter().any(|text| line.contains(text));
    let mut lines = stderr.lines().peekable();
    let mut unknown = Vec::new();
    let mut has_known = false;
    while let Some(line) = lines.next() {
        has_known |= contains(line, &KNOWN);
        // The text of a panic is on the next line.
        let is_panic =
            line.contains("panicked at") && !lines.peek().is_some_and(|text| contains(text, &KNOWN));
        let is_abort = line.contains("fatal runtime error") && !(has_known && contains(line, &ABORTS));
        if is_panic || is_abort {
            unknown.push(line);
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A known text excuses a single panic.
    #[test]
    fn panics_are_known_by_their_text() {
        let known = "thread 'main' (7) panicked at a.rs:1:2:\nfailed to create UnixStream: EMFILE\n";
        let other = "thread 'main' (7) panicked at b.rs:1:2:\nindex out of bounds\n";
        assert_eq!(unknown_panics(known), [""; 0]);
        assert_eq!(unknown_panics(&format!("{known}{other}")), ["thread 'main' (7) panicked at b.rs:1:2:"]);
        assert_eq!(unknown_panics("the CLOEXEC pipe failed"), [""; 0]);
    }

    /// A known panic excuses only the next abort.
    #[test]
    fn lone_abort_is_unknown() {
        let abort = "fatal runtime error: initialization or cleanup bug, aborting";
        assert_eq!(unknown_panics(abort), [abort]);
        let known = format!(
            "thread 'main' (7) panicked at a.rs:1:2:\nfailed to set up alternative stack guard page\n{abort}"
        );
        assert_eq!(unknown_panics(&known), [""; 0]);
    }
}
