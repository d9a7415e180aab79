//! The path of this program. A primary starts workers of the same program by the path, as Node does by the
//! path of the script.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs, io};

/// The link to the executed file, even after the file was replaced or removed.
const RUNNING: &str = "/proc/self/exe";

/// The kernel's suffix on the path of a removed file.
const DELETED: &str = " (deleted)";

/// The absolute path of this program. The first call determines the path: a later change of the working
/// directory, or a new file at the path, makes no difference. By now the path may lead to another file, or to
/// none.
pub(crate) fn path() -> io::Result<&'static Path> {
    PATH.get_or_init(find).as_deref().ok_or_else(|| io::ErrorKind::NotFound.into())
}

static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Sets the path of an earlier program of this process, before the first call of [`path`]. After a failed
/// upgrade, the path leads to the failed program, and the next upgrade tries the path again.
pub(crate) fn keep_path(path: PathBuf) {
    // An error means that the path is set already.
    let _ = PATH.set(Some(path));
}

/// The version of a file. Another file, or a file with other bytes, has another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion {
    device: u64,
    number: u64,
    /// The time of the last change, in seconds and nanoseconds.
    changed: (i64, i64),
}

impl FileVersion {
    /// The version of the file at a path; `None` without a file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(FileVersion {
            device: file.dev(),
            number: file.ino(),
            changed: (file.mtime(), file.mtime_nsec()),
        })
    }
}

/// The program's name in the arguments, if the name leads to the running file; otherwise the path reported by
/// the kernel. Symbolic links in the name are kept, so new workers follow the links to a new release.
fn find() -> Option<PathBuf> {
    let named = env::args_os().next().and_then(|name| locate(&name));
    match (named, env::current_exe()) {
        (Some(named), Ok(running)) => Some(if is_running(&named) { named } else { undeleted(running) }),
        (None, Ok(running)) => Some(undeleted(running)),
        // Without /proc, only the name is known.
        (named, Err(_)) => named,
    }
}

/// The file of a name, found as by a shell and `execvp`.
fn locate(name: &OsStr) -> Option<PathBuf> {
    if Path::new(name).components().count() > 1 || Path::new(name).is_absolute() {
        return std::path::absolute(name).ok().map(|path| resolve(&path));
    }
    let directories = env::var_os("PATH")?;
    let mut found = env::split_paths(&directories).map(|directory| directory.join(name));
    found.find(|path| path.is_file()).and_then(|path| std::path::absolute(path).ok())
}

/// Resolves `..` at once, as Node's `path.resolve` does: the directory before a `..` may be removed later.
fn resolve(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            resolved.pop();
        } else {
            resolved.push(component);
        }
    }
    resolved
}

fn is_running(path: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    match (file(path), file(Path::new(RUNNING))) {
        (Ok(named), Ok(running)) => named == running,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// The path without the kernel's suffix, if the file was removed.
fn undeleted(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_suffix(DELETED)) {
        Some(before) if !path.exists() => before.into(),
        Some(_) | None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's suffix of a removed file is not part of the path. But the name of an existing file may
    /// end in the same way.
    #[test]
    fn removed_file_has_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let (plain, marked) = (directory.path().join("it"), directory.path().join("it (deleted)"));
        assert_eq!(undeleted(plain.clone()), plain);
        assert_eq!(undeleted(marked.clone()), plain);
        fs::write(&marked, "").expect("a file");
        assert_eq!(undeleted(marked.clone()), marked);
    }

    /// A name without a directory is found in PATH; any other name is resolved from the working directory.
    #[test]
    fn name_is_located_as_in_shell() {
        let shell = locate(OsStr::new("sh")).expect("a shell in PATH");
        let directories = env::var_os("PATH").expect("directories");
        assert!(env::split_paths(&directories).any(|directory| directory.join("sh") == shell));
        assert_eq!(locate(OsStr::new("no such program")), None);
        let here = env::current_dir().expect("a directory");
        assert_eq!(locate(OsStr::new("./a/../b")), Some(here.join("b")));
        assert_eq!(locate(OsStr::new("/a/../b")), Some("/b".into()));
    }

    #[test]
    fn running_file_is_recognized() {
        assert!(is_running(&env::current_exe().expect("a path")));
        assert!(!is_running(Path::new("/dev/null")) && !is_running(Path::new("/no such file")));
    }
}
