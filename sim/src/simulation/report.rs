//! The report of a failed test: a text, and a page for a browser.

use std::panic::Location;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::Futures;
use crate::prop::Counterexample;

/// Panics with the report of a failure.
#[expect(clippy::panic, reason = "a failed test")]
#[track_caller]
pub(super) fn unwrap(outcome: Result<(), Box<Counterexample<Futures>>>, test: &Location<'_>) {
    if let Err(found) = outcome {
        panic!("{}", text(&found, test));
    }
}

fn text(found: &Counterexample<Futures>, test: &Location<'_>) -> String {
    let Some(run) = &found.run else { return found.what.clone() };
    let page = match write_page(found, test) {
        Ok(path) => format!("page: {}", path.display()),
        Err(error) => format!("no page: {error}"),
    };
    let replay = "replay: `replay(LINE, property)` in place of `assert(property)`; LINE is the last line";
    format!("{}\n{page}\n{replay}\n\n{run}", found.what)
}

/// Writes the page into the directory for temporary files, under the name of the test's file and line.
fn write_page(found: &Counterexample<Futures>, test: &Location<'_>) -> io::Result<PathBuf> {
    let directory = env::temp_dir().join("cluster-sim");
    fs::create_dir_all(&directory)?;
    let name = Path::new(test.file()).file_stem().unwrap_or_default().to_string_lossy();
    let path = directory.join(format!("{name}-{}.html", test.line()));
    fs::write(&path, found.page().unwrap_or_default())?;
    Ok(path)
}
