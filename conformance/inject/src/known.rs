//! Known panics of the standard library and of the runtime, each with the reason why the project cannot prevent it.

/// The text of a panic, and the reason.
const KNOWN: [(&str, &str); 5] = [
    ("failed to allocate an alternative stack", "std prepares `main`"),
    ("failed to set up alternative stack guard page", "std prepares `main`"),
    (
        "failed to create UnixStream",
        "tokio's driver for signals needs a socket pair when the runtime is built",
    ),
    ("Bad read on self-pipe", "tokio's driver for signals reads the socket pair"),
    ("the CLOEXEC pipe failed", "std's `spawn` reads the report of a failed `execve`"),
];

/// The unknown panics in the standard error of all processes.
pub(crate) fn unknown_panics(stderr: &str) -> Vec<&str> {
    let is_known = |text: &str| KNOWN.iter().any(|(sign, _)| text.contains(sign));
    let mut lines = stderr.lines().peekable();
    let mut unknown = Vec::new();
    while let Some(line) = lines.next() {
        // The text of a panic is on the next line.
        let is_panic = line.contains("panicked at") && !lines.peek().is_some_and(|text| is_known(text));
        let is_abort =
            line.contains("fatal runtime error") && !ABORTS.iter().any(|known| line.contains(known));
        if is_panic || is_abort {
            unknown.push(line);
        }
    }
    unknown
}

/// The aborts that follow a known panic, before `main` and before the function of a thread.
const ABORTS: [&str; 2] = ["initialization or cleanup bug", "failed to initiate panic"];

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
}
