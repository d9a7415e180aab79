//! Files that are written for somebody else: there whole, or not at all. It knows nothing of what is in them.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use super::Trouble;

/// Whether this can be written: whoever cannot have it shall not wait for hours to hear that. Nothing is left behind.
pub(super) fn writable(path: &Path) -> Result<(), Trouble> {
    let asked = if is_replaced(path) {
        beside(path).map(|_| ())
    } else {
        fs::OpenOptions::new().write(true).open(path).map(|_| ())
    };
    asked.map_err(|error| unwritten(path, &error))
}

/// Writes it all: a reader sees what was there before, or this. A pipe or a device is written to as it is.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    let written = if is_replaced(path) { replace(path, bytes) } else { fs::write(path, bytes) };
    written.map_err(|error| unwritten(path, &error))
}

pub(super) fn unwritten(path: &Path, error: &impl fmt::Display) -> Trouble {
    Trouble(format!("{}: {error}", path.display()))
}

/// Whether another file takes its place.
fn is_replaced(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|known| known.is_file()) || fs::symlink_metadata(path).is_err()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a link leads to is replaced, and the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut file = beside(&path)?;
    file.write_all(bytes)?;
    file.persist(&path)?;
    Ok(())
}

/// A new file in the same directory, as anybody may read it whom the mask lets.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut builder = Builder::new();
    builder.prefix(".conformance-").permissions(Permissions::from_mode(0o666));
    builder.tempfile_in(directory.unwrap_or(Path::new(".")))
}
