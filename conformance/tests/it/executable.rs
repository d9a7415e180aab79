//! Programs that a test writes. Another process writes the file. If this process wrote the file, a child that
//! another thread starts at that moment would inherit the descriptor for writing, and the file could not be
//! executed (`ETXTBSY`).

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A new program.
pub(crate) fn write(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = shell.spawn().expect("there is a shell");
    let mut stdin = writer.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("the shell reads");
    drop(stdin);
    assert!(writer.wait().expect("our own child").success(), "{} was not written", path.display());
}
