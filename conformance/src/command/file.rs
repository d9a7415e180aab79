//! Files that are written for somebody else: there whole, or not at all, unless they have several names or are no files. It
//! knows nothing of what is in them.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use super::CliError;

/// Whether this can be written: whoever cannot have it shall not wait for hours to hear that. Nothing is left behind.
pub(super) fn writable(path: &Path) -> Result<(), CliError> {
    let asked = match replaced(path) {
        Some(permissions) => beside(path, permissions).map(|_| ()),
        // Whoever reads from a pipe would take it for the end.
        None if fs::metadata(path).is_ok_and(|known| known.file_type().is_fifo()) => Ok(()),
        None => fs::OpenOptions::new().write(true).open(path).map(|_| ()),
    };
    asked.map_err(|error| cli_error(path, &error))
}

/// Writes it all: a reader sees what was there before, or this. What has more than one name, a pipe or a device is
/// written to as it is.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let written = match replaced(path) {
        Some(permissions) => replace(path, permissions, bytes),
        None => fs::write(path, bytes),
    };
    written.map_err(|error| cli_error(path, &error))
}

/// What is wrong with a file.
pub(super) fn cli_error(path: &Path, error: &impl fmt::Display) -> CliError {
    CliError(format!("{}: {error}", path.display()))
}

/// Whether another file takes its place, and who may read and write that: whoever could the old one, and a new one, whom the
/// mask lets.
fn replaced(path: &Path) -> Option<Permissions> {
    match fs::metadata(path) {
        Ok(known) => is_alone(&known).then(|| known.permissions()),
        // A link that leads nowhere is not made to lead somewhere.
        Err(_) => fs::symlink_metadata(path).is_err().then(|| Permissions::from_mode(0o666)),
    }
}

fn is_alone(known: &Metadata) -> bool {
    known.is_file() && known.nlink() == 1
}

fn replace(path: &Path, permissions: Permissions, bytes: &[u8]) -> io::Result<()> {
    // What a link leads to is replaced, and the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut file = beside(&path, permissions.clone())?;
    if path.exists() {
        // Whatever the mask takes from new files.
        file.as_file().set_permissions(permissions)?;
    }
    file.write_all(bytes)?;
    file.persist(&path)?;
    Ok(())
}

/// A new file in the same directory.
fn beside(path: &Path, permissions: Permissions) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut builder = Builder::new();
    builder.prefix(".conformance-").permissions(permissions);
    let directory = directory.unwrap_or(Path::new("."));
    // Its own errors name the file that was to be made.
    fs::metadata(directory)?;
    builder.tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_read_a_file_and_how_it_is_called_stays_as_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        fs::write(&one, "old").expect("it can be written");
        for wanted in [0o600, 0o666] {
            fs::set_permissions(&one, Permissions::from_mode(wanted)).expect("it is ours");
            write(&one, b"new").expect("it can be written");
            assert_eq!(mode(&one), wanted);
        }
        fs::hard_link(&one, &other).expect("a second name");
        write(&one, b"newer").expect("it can be written");
        assert_eq!(fs::read(&other).expect("it can be read"), b"newer");
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 2, "nothing else is left");
    }
}
