//! The file of failing replay lines, one per line. Lines that begin with `#` are comments.
//!
//! Several processes may append to the file at once; a lock protects the file.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use cluster_sim::replay::Line;

use super::super::{CliError, file};

/// The name of the file of regressions.
pub(super) const FILE: &str = "regressions.txt";

const HEAD: &str = "# Failing runs of the simulator: `conformance explore` runs them first.\n";

/// A file with more bytes cannot be a file of replay lines.
const MOST_BYTES: u64 = 16 << 20;

/// The known regressions.
#[derive(Debug)]
pub(super) struct Regressions {
    path: PathBuf,
    lines: Vec<Line>,
}

impl Regressions {
    /// Reads the file. A missing file counts as empty. A file without write permission is an error here, and
    /// not only after the search.
    pub(super) fn load(path: &Path) -> Result<Self, CliError> {
        let text = contents(path)?;
        let mut lines: Vec<Line> = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| is_run(line)) {
            let wrong = |error| CliError(format!("{}, line {number}: {error}", path.display()));
            lines.push(line.parse().map_err(wrong)?);
        }
        Ok(Regressions { path: path.to_owned(), lines })
    }

    /// The lines of this scenario, without duplicates.
    pub(super) fn of(&self, scenario: &str) -> Vec<&Line> {
        let mut seen = BTreeSet::new();
        let of_it = self.lines.iter().filter(|line| line.scenario() == scenario);
        of_it.filter(|line| seen.insert(line.to_string())).collect()
    }

    /// Appends a line. Returns false if the file already has the line.
    pub(super) fn add(&self, line: &str) -> Result<bool, CliError> {
        add(&self.path, line).map_err(|error| file::cli_error(&self.path, &error))
    }
}

fn contents(path: &Path) -> Result<String, CliError> {
    let unfit = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return file::writable(path).map(|()| String::new());
        }
        Err(error) => return Err(file::cli_error(path, &error)),
        Ok(known) if !known.is_file() => "not a regular file",
        Ok(known) if known.len() > MOST_BYTES => "too large for a file of replay lines",
        Ok(_) => {
            let text = open(path).and_then(|mut file| read(&mut file));
            return text.map_err(|error| file::cli_error(path, &error));
        }
    };
    Err(file::cli_error(path, &unfit))
}

fn add(path: &Path, line: &str) -> io::Result<bool> {
    let mut file = open(path)?;
    let text = read(&mut file)?;
    if text.lines().any(|known| known.trim() == line) {
        return Ok(false);
    }
    let before = match text.as_str() {
        "" => HEAD,
        text if text.ends_with('\n') => "",
        _ => "\n",
    };
    file.write_all(format!("{before}{line}\n").as_bytes())?;
    Ok(true)
}

/// Opens the file, and holds the lock until the file is closed. Every write appends.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    file.lock()?;
    Ok(file)
}

fn read(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // Some editors write a byte order mark at the start of the file.
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn is_run(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn line(n: usize) -> String {
        format!("sim:v1:hello:3:-:9.{n:016x}.{}", "0000".repeat(9))
    }

    #[test]
    fn regressions_survive_concurrent_appends() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("regressions.txt");
        thread::scope(|scope| {
            for first in 0..4 {
                let regressions = Regressions::load(&path).expect("there is none yet");
                scope.spawn(move || {
                    for n in first..first + 20 {
                        regressions.add(&line(n)).expect("a writable file");
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).expect("a file");
        assert_eq!(text.matches(HEAD).count(), 1, "{text}");
        let mut kept: Vec<&str> = text.lines().filter(|line| is_run(line)).collect();
        kept.sort_unstable();
        assert_eq!(kept, (0..23).map(line).collect::<Vec<_>>());
    }

    #[test]
    fn regressions_reject_other_files() {
        for path in ["/dev/zero", "/dev", "/nowhere/regressions.txt"] {
            assert!(Regressions::load(Path::new(path)).is_err(), "{path}");
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("regressions.txt");
        fs::write(&path, format!("\u{feff}# for people\n{0}\n{0}\n", line(1))).expect("a new file");
        let regressions = Regressions::load(&path).expect("a list of regressions");
        assert_eq!(regressions.of("hello").len(), 1);
        File::create(&path).and_then(|file| file.set_len(MOST_BYTES + 1)).expect("permission");
        assert!(Regressions::load(&path).is_err(), "it is too large");
    }
}
