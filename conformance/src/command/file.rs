//! Output files: written whole or not at all, unless a file has several names or is no regular file.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use super::CliError;

/// Whether the path can be written. Checked before a long run; the check leaves no file behind.
pub(super) fn writable(path: &Path) -> Result<(), CliError> {
    let asked = match replaced(path) {
        Some(permissions) => beside(path, permissions).map(|_| ()),
        // Opening a pipe would end the stream of its reader.
        None if fs::metadata(path).is_ok_and(|known| known.file_type().is_fifo()) => Ok(()),
        None => fs::OpenOptions::new().write(true).open(path).map(|_| ()),
    };
    asked.map_err(|error| cli_error(path, &error))
}

/// Writes the whole file: a reader finds the old or the new content. A file with several names, a pipe or a
/// device is written in place.
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

/// The permissions of the new file, if a new file replaces the path: the permissions of the old file, or the
/// default under the mask.
fn replaced(path: &Path) -> Option<Permissions> {
    match fs::metadata(path) {
        Ok(known) => is_alone(&known).then(|| known.permissions()),
        // A dangling link is not followed.
        Err(_) => fs::symlink_metadata(path).is_err().then(|| Permissions::from_mode(0o666)),
    }
}

fn is_alone(known: &Metadata) -> bool {
    known.is_file() && known.nlink() == 1
}

fn replace(path: &Path, permissions: Permissions, bytes: &[u8]) -> io::Result<()> {
    // The target of a link is replaced; the link stays.
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
    // The builder's error would name the temporary file.
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
