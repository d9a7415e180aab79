//! Keeps the workspace readable: checks words, the size of files, functions and types, names with two
//! meanings, circles of imports, and the links, commands and names in documents. No package of the workspace
//! is a dependency, so the checks run within seconds.
//!
//! `.ci/tidy.json` has the number of violations by group of files and rule. A higher number fails; after a
//! rewrite, `TIDY=update cargo test -p tidy` writes the lower numbers.

mod commands;
mod documents;
mod imports;
mod shape;
mod source;
mod words;
mod workspace;

use std::collections::BTreeMap;
use std::{env, fs};

use serde_json::{Value, json};

use crate::commands::Known;
use crate::words::{Group, groups};
use crate::workspace::{File, files, root};

const COUNTS: &str = ".ci/tidy.json";
const PRONOUNS: &str = "pronouns per 1,000 words";

fn committed() -> Value {
    let text = fs::read_to_string(root().join(COUNTS)).expect("the counts are committed");
    serde_json::from_str(&text).expect("the counts are JSON")
}

fn assert_none(faults: &[String], advice: &str) {
    assert!(faults.is_empty(), "{} faults; {advice}\n  {}", faults.len(), faults.join("\n  "));
}

/// The counts of a group: how often each rule is broken, and the share of pronouns.
fn counts(group: &Group) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::from([(PRONOUNS, group.pronouns_per_1000())]);
    for hit in &group.hits {
        *counts.entry(hit.rule).or_default() += 1;
    }
    counts
}

/// No group of files breaks a rule of CONTRIBUTING.md more often than `.ci/tidy.json` allows.
#[test]
fn rules_are_broken_no_more_often() {
    let committed = committed();
    let mut groups = groups();
    for (package, hits) in shape::hits(&committed) {
        groups.entry(package).or_default().hits.extend(hits);
    }
    if env::var("TIDY").is_ok_and(|mode| mode == "update") {
        return update(committed, &groups);
    }
    let mut faults = Vec::new();
    for (name, group) in &groups {
        for (rule, count) in counts(group) {
            let allowed = committed["counts"][name][rule].as_u64().unwrap_or(0);
            if count > allowed {
                let places = places(group, rule).join("\n    ");
                faults.push(format!("{name}: {rule}: {count}, and {allowed} allowed\n    {places}"));
            } else if count < allowed {
                println!("{name}: {rule}: {allowed} -> {count}; `TIDY=update cargo test -p tidy` lowers it");
            }
        }
    }
    assert_none(&faults, "CONTRIBUTING.md has the rules");
}

/// The places at which a rule is broken. For pronouns: the files with the highest shares.
fn places(group: &Group, rule: &str) -> Vec<String> {
    if rule == PRONOUNS {
        return group.files_by_pronouns();
    }
    group.hits.iter().filter(|hit| hit.rule == rule).map(|hit| hit.place.clone()).collect()
}

fn update(mut committed: Value, groups: &BTreeMap<String, Group>) {
    let counts: BTreeMap<_, _> = groups.iter().map(|(name, group)| (name, counts(group))).collect();
    committed["counts"] = json!(counts);
    let text = serde_json::to_string_pretty(&committed).expect("numbers and texts");
    fs::write(root().join(COUNTS), text + "\n").expect("the counts are writable");
}

/// Every link within the workspace names an existing file and, after a `#`, an existing heading.
#[test]
fn links_lead_to_something() {
    let mut faults = Vec::new();
    for file in files(&["md"]) {
        for link in documents::links(&file.text) {
            if let Some(fault) = fault_of_link(&file, &link.text) {
                faults.push(format!("{}:{}: {}: {fault}", file.path, link.line, link.text));
            }
        }
    }
    assert_none(&faults, "a link is relative to the folder of its document");
}

fn fault_of_link(document: &File, link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let mut target = root().join(&document.path);
    if !path.is_empty() {
        target = target.parent()?.join(path);
    }
    if !target.exists() {
        return Some("no such file".to_owned());
    }
    if anchor.is_empty() {
        return None;
    }
    let text = fs::read_to_string(target).expect("a page with headings");
    (!documents::anchors(&text).iter().any(|heading| heading == anchor)).then(|| "no such heading".to_owned())
}

/// Every command, path and name in a document exists, and so does every command in the documentation of code.
#[test]
fn commands_name_what_exists() {
    let known = Known::new(&committed()["names of other programs"]);
    let faults = files(&["md", "rs"]).iter().flat_map(|file| known.faults_of(file)).collect::<Vec<_>>();
    assert_none(&faults, "correct the document");
}
