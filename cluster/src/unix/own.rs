//! The path of this program: by it, as Node by the path of its script, a primary starts workers that run the same program.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs, io};

/// The file that this process executes, as the kernel names it. Once the file is replaced or removed, it is no path.
const RUNNING: &str = "/proc/self/exe";

/// What a kernel adds to the path of a file that was removed.
const DELETED: &str = " (deleted)";

/// The path by which this program was started, absolute; what is there now may be another file, or none. Decided by the first
/// call, so that neither a later change of the directory nor a new file at the path matters.
pub(crate) fn path() -> io::Result<&'static Path> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    PATH.get_or_init(find).as_deref().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The name by which the program was started, if it leads to the running file: a symbolic link in it is kept, so that
/// workers follow it to a new release. Else the path that the kernel has.
fn find() -> Option<PathBuf> {
    let named = env::args_os().next().and_then(|name| locate(&name));
    match (named, env::current_exe()) {
        (Some(named), Ok(running)) => Some(if is_running(&named) { named } else { undeleted(running) }),
        (None, Ok(running)) => Some(undeleted(running)),
        // Without /proc the name is all there is.
        (named, Err(_)) => named,
    }
}

/// The file that a name means, as a shell and `execvp` find it.
fn locate(name: &OsStr) -> Option<PathBuf> {
    if Path::new(name).components().count() > 1 || Path::new(name).is_absolute() {
        return std::path::absolute(name).ok().map(|path| resolve(&path));
    }
    let directories = env::var_os("PATH")?;
    let mut found = env::split_paths(&directories).map(|directory| directory.join(name));
    found.find(|path| path.is_file()).and_then(|path| std::path::absolute(path).ok())
}

/// Without `..`, as Node's `path.resolve`: the directory that it leaves may be removed later.
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

/// Where a file was that is no longer there.
fn undeleted(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_suffix(DELETED)) {
        Some(before) if !path.exists() => before.into(),
        Some(_) | None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's mark of a removed file is not part of its path; a file may have such a name all the same.
    #[test]
    fn removed_file_has_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let (plain, marked) = (directory.path().join("it"), directory.path().join("it (deleted)"));
        assert_eq!(undeleted(plain.clone()), plain);
        assert_eq!(undeleted(marked.clone()), plain);
        fs::write(&marked, "").expect("a file");
        assert_eq!(undeleted(marked.clone()), marked);
    }
}
