//! Lists the scenarios and the recordings, so that the program can embed them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(name));
    let (home, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    let (scenarios, recordings) = (home.join("scenarios"), home.join("../fixtures"));
    fs::write(out.join("scenarios.rs"), list(&scenarios, &entries(&scenarios, "json")?)?)?;
    let mut files = Vec::new();
    for runtime in entries(&recordings, "")?.iter().filter(|path| path.is_dir()) {
        files.extend(entries(runtime, "txt")?);
    }
    fs::write(out.join("recordings.rs"), list(&recordings, &files)?)
}

/// The sorted paths in a directory, with this extension if it is not empty.
fn entries(directory: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    println!("cargo::rerun-if-changed={}", directory.display());
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let is_meant = |path: &PathBuf| extension.is_empty() || path.extension() == Some(OsStr::new(extension));
    let mut paths: Vec<_> = entries.into_iter().filter(is_meant).collect();
    paths.sort();
    Ok(paths)
}

/// A slice of names within the directory, with the text of the files.
fn list(directory: &Path, paths: &[PathBuf]) -> io::Result<String> {
    let mut entries = String::new();
    for path in paths {
        let name = path.strip_prefix(directory).ok().and_then(Path::to_str);
        let (Some(name), Some(path)) = (name, path.to_str()) else {
            return Err(io::Error::other("a path is not UTF-8"));
        };
        entries.extend(["(", &format!("{name:?}"), ", include_str!(", &format!("{path:?}"), ")),\n"]);
    }
    Ok(format!("&[\n{entries}]\n"))
}
