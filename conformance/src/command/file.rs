//! Output files. A file is written completely or not at all, unless it has several names or is not a regular
//! file.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use super::CliError;

/// Checks that the path can be written, before a long run. The check leaves no file behind.
pub(super) fn writable(path: &Path) -> Result<(), CliError> {
    let asked = match replaced(path) {
        Some(permissions) => beside(path, permissions).map(|_| ()),
        // Not opened: opening and closing a pipe would end the input of its reader.
        None if fs::metadata(path).is_ok_and(|known| known.file_type().is_fifo()) => Ok(()),
        None => fs::OpenOptions::new().write(true).open(path).map(|_| ()),
    };
    asked.map_err(|error| cli_error(path, &error))
}

/// Writes the whole file: a reader finds either the old or the new content. A file with several names, a pipe
/// and a device are written in place instead.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let written = match replaced(path) {
        Some(permissions) => replace(path, permissions, bytes),
        None => fs::write(path, bytes),
    };
    written.map_err(|error| cli_error(path, &error))
}

/// An error with the path of its file.
pub(super) fn cli_error(path: &Path, error: &impl fmt::Display) -> CliError {
    CliError(format!("{}: {error}", path.display()))
}

/// The permissions for a new file that replaces the path: those of the old file, or the default. `None`: the
/// path is written in place.
fn replaced(path: &Path) -> Option<Permissions> {
    match fs::metadata(path) {
        Ok(known) => is_alone(&known).then(|| known.permissions()),
        // A link to a missing file is written in place.
        Err(_) => fs::symlink_metadata(path).is_err().then(|| Permissions::from_mode(0o666)),
    }
}

fn is_alone(known: &Metadata) -> bool {
    known.is_file() && known.nlink() == 1
}

fn replace(path: &Path, permissions: Permissions, bytes: &[u8]) -> io::Result<()> {
    // Replaces the target of a link, and keeps the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut file = beside(&path, permissions.clone())?;
    if path.exists() {
        // Set explicitly, because the mask applies to new files.
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
    // Fails first if the directory is missing: the error of the builder would name the temporary file.
    fs::metadata(directory)?;
    builder.tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_keeps_mode_and_links() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        let mode = |path: &Path| fs::metadata(path).expect("an existing path").permissions().mode() & 0o777;
        fs::write(&one, "old").expect("a writable file");
        for wanted in [0o600, 0o666] {
            fs::set_permissions(&one, Permissions::from_mode(wanted)).expect("permission");
            write(&one, b"new").expect("a writable file");
            assert_eq!(mode(&one), wanted);
        }
        fs::hard_link(&one, &other).expect("a second name");
        write(&one, b"newer").expect("a writable file");
        assert_eq!(fs::read(&other).expect("a readable file"), b"newer");
        assert_eq!(
            fs::read_dir(directory.path()).expect("an existing path").count(),
            2,
            "nothing else is left"
        );
    }
}
