//! The mutants of `mutants.json` still fit the core, and the page that tells of them tells of these. Building and running
//! them is the work of `examples/mutants`.
#![expect(clippy::disallowed_methods, reason = "it is about files")]

use std::fs;

use serde_json::Value;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(format!("{HERE}/{path}")).unwrap_or_else(|error| unreachable!("{path}: {error}"))
}

fn mutants() -> Vec<Value> {
    let suite: Value = serde_json::from_str(&read("mutants.json")).expect("it is JSON");
    suite["mutants"].as_array().cloned().expect("there is a list of them")
}

fn text<'a>(mutant: &'a Value, name: &str) -> &'a str {
    mutant[name].as_str().expect("each says what it changes")
}

#[test]
fn each_changes_one_place() {
    for mutant in mutants() {
        let source = read(&format!("../cluster/core/src/{}", text(&mutant, "file")));
        let places = source.matches(text(&mutant, "find")).count();
        assert_eq!(places, 1, "{}", text(&mutant, "name"));
        assert_ne!(text(&mutant, "find"), text(&mutant, "replace"));
    }
}

#[test]
fn the_page_tells_of_each_and_of_no_other() {
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
