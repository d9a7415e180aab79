//! The preload: a file of ours that Node.js loads before an unmodified program, by `--require` in `NODE_OPTIONS`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const TEXT: &str = include_str!("preload.cjs");

/// Writes the preload into a directory, and returns the path.
pub(crate) fn write(directory: &Path) -> io::Result<PathBuf> {
    let path = directory.join(concat!("preload-", env!("CARGO_PKG_VERSION"), ".cjs"));
    if fs::read_to_string(&path).is_ok_and(|text| text == TEXT) {
        return Ok(path);
    }
    // A worker that starts now reads the old file or the new one, never a part.
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&draft, TEXT)?;
    fs::rename(&draft, &path)?;
    Ok(path)
}
