//! The interpreter in the first line of a script (`#!`). The kernel reports a missing interpreter as a
//! missing script.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::ensure;

/// The longest first line that the kernel reads.
const LONGEST_LINE: u64 = 256;

/// Checks the interpreter of a program, as far as the program is a readable script at a path.
///
/// # Errors
/// The interpreter does not exist, or the line has a Windows line ending.
pub(crate) fn check(exec: &Path, directory: &Path) -> anyhow::Result<()> {
    if exec.components().count() < 2 {
        return Ok(());
    }
    let script = directory.join(exec);
    let Some(line) = first_line(&script) else { return Ok(()) };
    let script = script.display();
    ensure!(
        !line.ends_with('\r'),
        "the first line of {script} ends with a carriage return, as on Windows: save the file with line ends of Unix"
    );
    let interpreter = line.split_whitespace().next().unwrap_or_default();
    ensure!(
        Path::new(interpreter).exists(),
        "the first line of {script} names the interpreter `{interpreter}`, which does not exist; correct the line"
    );
    Ok(())
}

/// The rest of the first line, after `#!`. `None`: the file is not a script.
fn first_line(script: &Path) -> Option<String> {
    let mut line = Vec::new();
    BufReader::new(File::open(script).ok()?.take(LONGEST_LINE)).read_until(b'\n', &mut line).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    Some(line.strip_prefix("#!")?.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreter_must_exist() {
        let directory = tempfile::tempdir().expect("a directory");
        let check = |text: &str| {
            std::fs::write(directory.path().join("run"), text).expect("a file");
            check(Path::new("./run"), directory.path()).map_err(|error| error.to_string())
        };
        assert_eq!(check("#!/bin/sh\n"), Ok(()));
        assert_eq!(check("#! /usr/bin/env node\n"), Ok(()));
        assert_eq!(check("no script"), Ok(()));
        let error = check("#!/no/interpreter -x\n").expect_err("no such file");
        assert!(error.contains("names the interpreter `/no/interpreter`"), "{error}");
        let error = check("#!/usr/bin/env node\r\n").expect_err("no such file");
        assert!(error.contains("carriage return"), "{error}");
    }
}
