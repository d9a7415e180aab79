//! The shape of the code: the length of files and functions, and names with several definitions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::source::Source;
use crate::words::Hit;
use crate::workspace::{File, files};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// The violations of each package. `repeated` has, by package, the names with several definitions on purpose, each with
/// the common meaning.
pub(crate) fn hits(repeated: &Value) -> BTreeMap<String, Vec<Hit>> {
    let mut hits: BTreeMap<String, Vec<Hit>> = BTreeMap::new();
    let mut definitions: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in files(&["rs"]) {
        let package = file.package().to_owned();
        let source = Source::read(&file.text);
        let own = hits.entry(package.clone()).or_default();
        own.extend(long_file(&file));
        own.extend(long_functions(&file, &source));
        if file.path.contains("/src/") && !file.is_test() {
            for (name, line) in source.definitions() {
                let names = definitions.entry(package.clone()).or_default();
                names.entry(name.to_owned()).or_default().insert(format!("{}:{line}", file.path));
            }
        }
    }
    for (package, names) in definitions {
        let twice = names
            .into_iter()
            .filter(|(name, places)| places.len() > 1 && !repeated[&package][name].is_string());
        let hit = |(name, places): (String, BTreeSet<String>)| {
            let places: Vec<String> = places.into_iter().collect();
            Hit { rule: "names with several definitions", place: format!("{name}: {}", places.join(", ")) }
        };
        let twice: Vec<Hit> = twice.map(hit).collect();
        hits.entry(package).or_default().extend(twice);
    }
    hits
}

/// Files of tests may be longer.
fn long_file(file: &File) -> Option<Hit> {
    let lines = file.text.lines().count();
    let is_long = lines > MAX_FILE_LINES && !file.is_test();
    is_long.then(|| Hit { rule: "files over 500 lines", place: format!("{}: {lines} lines", file.path) })
}

fn long_functions<'a>(file: &'a File, source: &Source) -> impl Iterator<Item = Hit> + use<'a> {
    source.functions().into_iter().filter_map(|function| {
        let lines = function.last - function.first + 1;
        let place = || format!("{}:{}: {}: {lines} lines", file.path, function.first, function.name);
        (lines > MAX_FUNCTION_LINES).then(|| Hit { rule: "functions over 70 lines", place: place() })
    })
}
