//! Lists the scenario files, so that the program can embed them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(name));
    let scenarios = variable("CARGO_MANIFEST_DIR")?.join("scenarios");
    println!("cargo::rerun-if-changed={}", scenarios.display());
    let entries = fs::read_dir(&scenarios)?.collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut entries = String::new();
    for path in &paths {
        let [name, path] = [path.file_name(), Some(path.as_os_str())].map(|it| it.and_then(OsStr::to_str));
        let (Some(name), Some(path)) = (name, path) else {
            return Err(io::Error::other("a path is not UTF-8"));
        };
        entries.extend(["(", &format!("{name:?}"), ", include_str!(", &format!("{path:?}"), ")),\n"]);
    }
    fs::write(variable("OUT_DIR")?.join("scenarios.rs"), format!("&[\n{entries}]\n"))
}
