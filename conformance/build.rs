//! Lists the scenarios, so that the program carries them with it.

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
    let entries: String = paths
        .iter()
        .filter_map(|path| Some(format!("({:?}, include_str!({path:?})),\n", path.file_name()?)))
        .collect();
    fs::write(variable("OUT_DIR")?.join("scenarios.rs"), format!("&[\n{entries}]\n"))
}
