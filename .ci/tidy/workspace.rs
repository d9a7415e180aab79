//! The files of the workspace, found by reading directories, without git or cargo.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories with generated or downloaded files.
const SKIPPED: [&str; 7] = [
    "target",
    "fixtures",
    "node_modules",
    "mutants.out",
    "mutants.out.old",
    "proptest-regressions",
    "corpus",
];

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is in .ci/tidy").to_owned()
}

/// A file, with the path from the root.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every file with one of the extensions, sorted by path.
pub(crate) fn files(extensions: &[&str]) -> Vec<File> {
    let mut paths = Vec::new();
    collect(&root(), extensions, &mut paths);
    paths.sort();
    let file = |path: PathBuf| {
        let from_root = path.strip_prefix(root()).expect("a path below the root");
        let text = fs::read_to_string(&path).expect("a text file");
        File { path: from_root.display().to_string(), text }
    };
    paths.into_iter().map(file).collect()
}

fn collect(directory: &Path, extensions: &[&str], paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if (name == ".ci" || !name.starts_with('.')) && !SKIPPED.contains(&name) {
                collect(&path, extensions, paths);
            }
        } else if path.extension().is_some_and(|of| extensions.iter().any(|wanted| of == *wanted)) {
            paths.push(path);
        }
    }
}

impl File {
    /// The folder of the package of a Rust file.
    pub(crate) fn package(&self) -> &str {
        let inner = ["cluster/cli", "cluster/core", "cluster/services", "conformance/inject", ".ci/tidy"];
        let inner = inner.into_iter().find(|folder| Path::new(&self.path).starts_with(folder));
        inner.unwrap_or_else(|| self.path.split('/').next().unwrap_or_default())
    }

    /// Whether the file holds tests only.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| matches!(part, "tests" | "tests.rs" | "benches.rs"))
    }

    /// Whether a command of the workspace writes the page or the data, from checked sources.
    pub(crate) fn is_generated(&self) -> bool {
        matches!(
            self.path.as_str(),
            "conformance/COVERAGE.md"
                | "conformance/MATRIX.md"
                | "conformance/matrix.json"
                | "sim/MUTANTS.md"
        )
    }
}
