//! Programs that a test makes up. Another process writes them: a file that this one has open for writing is open in every
//! child, too, that another thread starts at that moment, and to execute it is `ETXTBSY` until that child has gone on.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A new program.
pub(crate) fn write(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = shell.spawn().expect("there is a shell");
    let mut stdin = writer.stdin.take().expect("it was asked for");
    stdin.write_all(text.as_bytes()).expect("the shell reads");
    drop(stdin);
    assert!(writer.wait().expect("our own child").success(), "{} was not written", path.display());
}
