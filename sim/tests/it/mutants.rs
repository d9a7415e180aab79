//! The mutants of `mutants.json` fit the sources of the core, and `MUTANTS.md` lists exactly these mutants.
//! `tools/mutants` builds and runs the mutants.
#![expect(clippy::disallowed_methods, reason = "the test reads files")]

use std::fs;

use serde_json::Value;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(format!("{HERE}/{path}")).unwrap_or_else(|error| unreachable!("{path}: {error}"))
}

fn mutants() -> Vec<Value> {
    let suite: Value = serde_json::from_str(&read("mutants.json")).expect("valid JSON");
    suite["mutants"].as_array().cloned().expect("a list of mutants")
}

fn text<'a>(mutant: &'a Value, name: &str) -> &'a str {
    mutant[name].as_str().expect("a text")
}

#[test]
fn mutant_changes_one_place() {
    for mutant in mutants() {
        let source = read(&format!("../cluster/core/src/{}", text(&mutant, "file")));
        let places = source.matches(text(&mutant, "find")).count();
        assert_eq!(places, 1, "{}", text(&mutant, "name"));
        assert_ne!(text(&mutant, "find"), text(&mutant, "replace"));
    }
}

#[test]
fn page_lists_every_mutant() {
    let page = read("MUTANTS.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let mutants = mutants();
    assert!(mutants.len() >= 30);
    assert_eq!(rows.len(), mutants.len());
    for (row, mutant) in rows.iter().zip(&mutants) {
        let [name, killer] = ["name", "killer"].map(|part| text(mutant, part));
        assert!(row.starts_with(&format!("| {name} | {killer} | ")), "{row}: {mutant}");
    }
}

/// A mutant that no check of the simulator finds has a test of the core as its killer, written as
/// `TARGET::MODULE::TEST`.
#[test]
fn killing_test_exists() {
    for mutant in mutants() {
        let killer: Vec<&str> = text(&mutant, "killer").split("::").collect();
        let [target, modules @ .., test] = &killer[..] else { continue };
        let file = match (*target, modules) {
            ("it", [module]) => format!("../cluster/core/tests/it/{module}.rs"),
            ("lib", [modules @ .., "tests"]) => format!("../cluster/core/src/{}.rs", modules.join("/")),
            _ => continue,
        };
        assert!(read(&file).contains(&format!("fn {test}()")), "{file} has no test `{test}`");
    }
}
