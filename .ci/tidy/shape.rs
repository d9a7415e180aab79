//! The shape of the code: the length of files, functions and comment lines, the methods of a type, names with
//! several definitions, and circles of imports.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::imports;
use crate::source::Source;
use crate::words::Hit;
use crate::workspace::{File, files};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_METHODS: usize = 35;
const MAX_COMMENT_COLUMNS: usize = 110;

/// The violations of each package. `committed` is the content of `.ci/tidy.json`.
pub(crate) fn hits(committed: &Value) -> BTreeMap<String, Vec<Hit>> {
    let sources: Vec<(File, Source)> = files(&["rs"])
        .into_iter()
        .map(|file| {
            let source = Source::read(&file.text);
            (file, source)
        })
        .collect();
    let mut hits = of_files(&sources);
    for ((package, name), places) in definitions(&sources) {
        if places.len() > 1 && !committed["repeated names"][&package][&name].is_string() {
            let places: Vec<String> = places.into_iter().collect();
            let place = format!("{name}: {}", places.join(", "));
            hits.entry(package).or_default().push(Hit { rule: "names with several definitions", place });
        }
    }
    for (package, circle) in imports::hits(own_code(&sources)) {
        hits.entry(package).or_default().push(circle);
    }
    for ((package, name), count) in methods(&sources) {
        if count > MAX_METHODS && !committed["types with many methods"][&package][&name].is_string() {
            let place = format!("{name}: {count} methods");
            hits.entry(package).or_default().push(Hit { rule: "types over 35 methods", place });
        }
    }
    hits
}

fn of_files(sources: &[(File, Source)]) -> BTreeMap<String, Vec<Hit>> {
    let mut hits: BTreeMap<String, Vec<Hit>> = BTreeMap::new();
    for (file, source) in sources {
        let own = hits.entry(file.package().to_owned()).or_default();
        own.extend(long_file(file));
        own.extend(long_functions(file, source));
        own.extend(long_comments(file));
    }
    hits
}

/// The files with code of the packages, without tests.
fn own_code(sources: &[(File, Source)]) -> impl Iterator<Item = &(File, Source)> {
    sources.iter().filter(|(file, _)| file.path.contains("/src/") && !file.is_test())
}

/// The places of each name, by package.
fn definitions(sources: &[(File, Source)]) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut places: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (file, source) in own_code(sources) {
        for (name, line) in source.definitions() {
            let key = (file.package().to_owned(), name.to_owned());
            places.entry(key).or_default().insert(format!("{}:{line}", file.path));
        }
    }
    places
}

/// The number of methods by package and type, over all `impl` blocks. Types with the same name count
/// together.
fn methods(sources: &[(File, Source)]) -> BTreeMap<(String, String), usize> {
    let mut methods = BTreeMap::new();
    for (file, source) in own_code(sources) {
        for (name, count) in source.methods() {
            *methods.entry((file.package().to_owned(), name.to_owned())).or_default() += count;
        }
    }
    methods
}

/// A file with too many lines, except files of tests.
fn long_file(file: &File) -> Option<Hit> {
    let lines = file.text.lines().count();
    let is_long = lines > MAX_FILE_LINES && !file.is_test();
    is_long.then(|| Hit { rule: "files over 500 lines", place: format!("{}: {lines} lines", file.path) })
}

/// The comment lines that rustfmt would wrap, if rustfmt wrapped comments. Tables and code are exempt.
fn long_comments(file: &File) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut is_code = false;
    for (index, line) in file.text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            is_code = false;
            continue;
        };
        let text = comment.trim_start_matches(['/', '!']).trim_start();
        is_code ^= text.starts_with("```");
        if !is_code && !text.starts_with('|') && line.chars().count() > MAX_COMMENT_COLUMNS {
            let place = format!("{}:{}", file.path, index + 1);
            hits.push(Hit { rule: "comments over 110 columns", place });
        }
    }
    hits
}

fn long_functions<'a>(file: &'a File, source: &Source) -> impl Iterator<Item = Hit> + use<'a> {
    source.functions().into_iter().filter_map(|function| {
        let lines = function.last - function.first + 1;
        let place = || format!("{}:{}: {}: {lines} lines", file.path, function.first, function.name);
        (lines > MAX_FUNCTION_LINES).then(|| Hit { rule: "functions over 70 lines", place: place() })
    })
}
