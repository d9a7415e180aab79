//! The preload: a JavaScript file of this project. Node.js loads the file before an unmodified program, by
//! `--require` in `NODE_OPTIONS`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const TEXT: &str = include_str!("preload.cjs");

/// Writes the preload into a directory, and returns the path of the file.
pub(crate) fn write(directory: &Path) -> io::Result<PathBuf> {
    // The path must have no symbolic link: Node.js resolves the links in the path that the preload finds.
    let directory = directory.canonicalize()?;
    let path = directory.join(concat!("preload-", env!("CARGO_PKG_VERSION"), ".cjs"));
    if fs::read_to_string(&path).is_ok_and(|text| text == TEXT) {
        return Ok(path);
    }
    // The rename is atomic: a worker that starts now reads the old file or the new file, never a part.
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&draft, TEXT)?;
    fs::rename(&draft, &path)?;
    Ok(path)
}

/// The option that makes Node.js load the preload. The preload removes exactly this text from `NODE_OPTIONS`.
pub(crate) fn node_option(preload: &Path) -> OsString {
    let mut option = b"--require \"".to_vec();
    for &byte in preload.as_os_str().as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            option.push(b'\\');
        }
        option.push(byte);
    }
    option.push(b'"');
    OsString::from_vec(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_quotes_the_path() {
        assert_eq!(node_option(Path::new("/a b/\"c\\")), r#"--require "/a b/\"c\\""#);
    }

    #[test]
    fn written_preload_is_reused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = write(directory.path()).expect("a file");
        let first = fs::metadata(&path).and_then(|file| file.modified()).expect("a time");
        assert_eq!(write(directory.path()).expect("a file"), path);
        assert_eq!(fs::metadata(&path).and_then(|file| file.modified()).expect("a time"), first);
    }
}
