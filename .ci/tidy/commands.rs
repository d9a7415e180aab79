//! Checks whether the commands, paths and names in documents exist.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::documents::{Found, code_spans, commands};
use crate::source::{Kind, Source};
use crate::workspace::{File, files, root};

/// The options of cargo with a name from the workspace: the option, the table of the manifest and the folder
/// with the names.
const OPTIONS: [(&str, &str, &str); 8] = [
    ("-p", "[package]", ""),
    ("--package", "[package]", ""),
    ("--test-package", "[package]", ""),
    ("--bin", "[[bin]]", "bin"),
    ("--example", "[[example]]", "examples"),
    ("--test", "[[test]]", "tests"),
    ("--bench", "[[bench]]", "benches"),
    ("--features", "[features]", ""),
];

/// All known names: targets and packages, the options of the command `conformance`, and every name in code.
pub(crate) struct Known {
    /// Each target and package as a pair: the table of the manifest or the folder of the file, and the name.
    targets: BTreeSet<(String, String)>,
    /// The help texts of `conformance`, by command. The texts are snapshots, kept current by the tests of the
    /// command.
    helps: Vec<(String, String)>,
    names: BTreeSet<String>,
}

impl Known {
    /// `foreign` lists the names of other programs.
    pub(crate) fn new(foreign: &Value) -> Self {
        let sources = files(&["rs"]);
        let manifests = files(&["toml"]);
        let mut targets: BTreeSet<(String, String)> = manifests.iter().flat_map(names_of_manifest).collect();
        targets.extend(sources.iter().filter_map(target_of_file));
        let helps = files(&["snap"]).into_iter().filter_map(|file| {
            let command =
                file.path.strip_prefix("conformance/")?.rsplit('/').next()?.strip_suffix(".snap")?;
            Some((command.strip_prefix("help")?.trim_start_matches('_').to_owned(), file.text.clone()))
        });
        let helps = helps.collect();
        let mut names: BTreeSet<String> = foreign
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        for file in &sources {
            let source = Source::read(&file.text);
            names.extend(source.names().map(str::to_owned));
            for piece in source.pieces.iter().filter(|piece| piece.kind == Kind::Text) {
                names.extend(identifiers(&piece.text));
            }
            names.extend(Path::new(&file.path).iter().map(|part| part.to_string_lossy().into_owned()));
        }
        for file in manifests.iter().chain(&files(&["json", "js", "cjs", "snap", "txt"])) {
            names.extend(identifiers(&file.text));
            names.extend(identifiers(&file.path));
        }
        Known { targets, helps, names }
    }

    /// The mistakes in a document, or in the documentation of a Rust file.
    pub(crate) fn faults_of(&self, file: &File) -> Vec<String> {
        let mut faults = Vec::new();
        let mut add = |line: usize, fault: String| faults.push(format!("{}:{line}: {fault}", file.path));
        if Path::new(&file.path).extension().is_some_and(|extension| extension == "rs") {
            for piece in Source::read(&file.text).pieces.iter().filter(|piece| piece.kind == Kind::Doc) {
                for found in commands(&piece.text) {
                    self.check_line(&found.text, &mut |fault| add(piece.line + found.line - 1, fault));
                }
            }
            return faults;
        }
        for found in commands(&file.text) {
            self.check_line(&found.text, &mut |fault| add(found.line, fault));
        }
        let is_history = file.path == "CHANGELOG.md";
        for found in code_spans(&file.text).iter().filter(|_| !is_history && !file.is_generated()) {
            self.check_name(found, &mut |fault| add(found.line, fault));
            check_path(&file.path, found, &mut |fault| add(found.line, fault));
        }
        faults
    }

    /// Checks every command of a line.
    fn check_line(&self, line: &str, fault: &mut dyn FnMut(String)) {
        let line = line.split(" #").next().unwrap_or_default().replace(['"', '\'', '`'], "");
        for command in line.split("&&") {
            let words: Vec<&str> = command.split_whitespace().collect();
            if let Some(at) = words.iter().position(|word| *word == "cargo") {
                self.check_cargo(&words[at + 1..], fault);
            } else if words.first() == Some(&"conformance") {
                self.check_conformance(&words[1..], fault);
            }
        }
    }

    fn check_cargo(&self, words: &[&str], fault: &mut dyn FnMut(String)) {
        let end = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        let (own, rest) = words.split_at(end);
        for (option, value) in own.iter().zip(own.iter().skip(1)) {
            for (_, table, folder) in OPTIONS.iter().filter(|(name, _, _)| name == option) {
                let is_there = |place: &str| self.targets.contains(&(place.to_owned(), (*value).to_owned()));
                if value.chars().any(char::is_lowercase) && !is_there(table) && !is_there(folder) {
                    fault(format!("`cargo {option} {value}`: nothing here has this name"));
                }
            }
            if *option == "-f" && !root().join(value).exists() {
                fault(format!("`cargo {option} {value}`: no such file"));
            }
        }
        let is_other = own.iter().any(|word| matches!(*word, "--example" | "-p" | "--bin"));
        if own.contains(&"run") && !is_other {
            self.check_conformance(rest.get(1..).unwrap_or_default(), fault);
        }
    }

    fn check_conformance(&self, words: &[&str], fault: &mut dyn FnMut(String)) {
        let help =
            |of: &str| self.helps.iter().find(|(command, _)| command == of).map(|(_, help)| help.as_str());
        let Some(whole) = help("") else {
            fault("there is no snapshot of `conformance --help` to compare with".to_owned());
            return;
        };
        let command = words
            .iter()
            .find(|word| !word.starts_with('-'))
            .filter(|word| word.starts_with(char::is_lowercase));
        if let Some(command) = command.filter(|command| !self.is_command(whole, command)) {
            fault(format!("`conformance {command}`: no such command"));
        }
        let Some(own) = help(command.unwrap_or(&"")) else { return };
        for option in words.iter().filter(|word| word.starts_with("--") && **word != "--help") {
            let has =
                |help: &str| help.split(|c: char| c.is_whitespace() || c == '`').any(|word| word == *option);
            if !has(own) && !has(whole) {
                fault(format!("`conformance {} {option}`: no such option", command.unwrap_or(&"")));
            }
        }
        for pair in words.windows(2).filter(|pair| pair[0] == "--scenario") {
            let path = format!("conformance/scenarios/{}.json", pair[1]);
            if pair[1].bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !root().join(path).exists() {
                fault(format!("`--scenario {}`: no such scenario", pair[1]));
            }
        }
    }

    /// Whether the command exists: `help` lists the command or, for a hidden command, an enum in code has a
    /// variant of the name.
    fn is_command(&self, help: &str, name: &str) -> bool {
        let list = help.lines().skip_while(|line| *line != "Commands:").take_while(|line| !line.is_empty());
        let variant = name[..1].to_uppercase() + &name[1..];
        list.filter_map(|line| line.split_whitespace().next()).any(|listed| listed == name)
            || self.names.contains(&variant)
    }

    /// Checks whether a name with an underscore or a `::` occurs in code.
    fn check_name(&self, found: &Found, fault: &mut dyn FnMut(String)) {
        let name = found.text.trim_end_matches("()");
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
        if !name.chars().all(is_plain) || !(name.contains('_') || name.contains("::")) {
            return;
        }
        for part in name.split("::").filter(|part| !part.is_empty() && !self.names.contains(*part)) {
            fault(format!("`{name}`: no code has the name `{part}`"));
        }
    }
}

/// Checks whether a path exists, if the first part is a folder of the root or of the document's folder.
fn check_path(document: &str, found: &Found, fault: &mut dyn FnMut(String)) {
    let path = found.text.trim_end_matches('/');
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let is_example = path.contains("NAME");
    let Some((first, _)) = path.split_once('/').filter(|_| path.chars().all(is_plain) && !is_example) else {
        return;
    };
    let own = root().join(document).parent().unwrap_or(&root()).to_owned();
    let is_here = |place: &Path| !first.is_empty() && place.join(first).is_dir();
    let places: Vec<_> = [root(), own].into_iter().filter(|place| is_here(place)).collect();
    if !places.is_empty() && !places.iter().any(|place| place.join(path).exists()) {
        fault(format!("`{path}`: no such file"));
    }
}

fn identifiers(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|part| !part.is_empty()).map(str::to_owned)
}

/// The names of packages, targets and features in a manifest, each with the table.
fn names_of_manifest(manifest: &File) -> Vec<(String, String)> {
    let mut table = "";
    let mut names = Vec::new();
    for line in manifest.text.lines() {
        if line.starts_with('[') {
            table = line.trim();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let name = if table == "[features]" { key } else { value.trim_matches('"') };
            if key == "name" || table == "[features]" {
                names.push((table.to_owned(), name.to_owned()));
            }
        }
    }
    names
}

/// The target of a file at a place known to cargo: `examples/NAME.rs` or `examples/NAME/main.rs`.
fn target_of_file(file: &File) -> Option<(String, String)> {
    let (rest, name) =
        file.path.strip_suffix("/main.rs").unwrap_or(file.path.strip_suffix(".rs")?).rsplit_once('/')?;
    Some((rest.rsplit('/').next()?.to_owned(), name.to_owned()))
}
