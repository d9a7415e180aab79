//! The file of lines that have failed once: one a line, whatever begins with `#` is for people.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cluster_sim::replay::Line;

use super::super::{Trouble, file};

/// The regressions of this repository.
pub(super) const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions.txt");

const HEAD: &str =
    "# Runs of the simulator that have failed: `conformance explore` tries them before anything else.\n";

/// See the module.
#[derive(Debug)]
pub(super) struct Regressions {
    path: PathBuf,
    text: String,
    lines: Vec<Line>,
}

impl Regressions {
    /// Reads the file; where there is none, nothing has failed yet.
    pub(super) fn load(path: &Path) -> Result<Self, Trouble> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| file::unwritten(path, &error))?,
        };
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| is_run(line)) {
            let wrong = |error| Trouble(format!("{}, line {number}: {error}", path.display()));
            lines.push(line.parse().map_err(wrong)?);
        }
        Ok(Regressions { path: path.to_owned(), text, lines })
    }

    /// Those of this scenario.
    pub(super) fn of(&self, scenario: &str) -> Vec<&Line> {
        self.lines.iter().filter(|line| line.scenario() == scenario).collect()
    }

    /// Keeps a line, if it is not there already.
    pub(super) fn add(&mut self, line: &str) -> Result<bool, Trouble> {
        if self.text.lines().any(|known| known.trim() == line) {
            return Ok(false);
        }
        if self.text.is_empty() {
            self.text.push_str(HEAD);
        } else if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self.text.push('\n');
        file::write(&self.path, self.text.as_bytes())?;
        Ok(true)
    }
}

fn is_run(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}
