//! Forms of calls: every way in which a Node program may call `listen`, `bind` and `send`. Each form is tried
//! in a worker under the Rust primary, and under Node's own primary as the oracle. `forms/forms.json` has the
//! forms, and `forms/forms.cjs` tries them.
//!
//! A form passes if both primaries lead to the same result. A form that ends Node's primary proves nothing,
//! and is counted apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::arm::node::Runtime;
use crate::families::Families;

mod attempt;

pub use attempt::FormsError;
use attempt::{Attempt, Primary};

const FORMS: &str = include_str!("../forms/forms.json");

/// How often a form with different results is tried again: another process may have taken its port.
const AGAIN: usize = 2;

/// All forms, and the settings under which they are tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forms {
    settings: Vec<Setting>,
    /// Deliberate differences from Node: the form, and the reason.
    excused: BTreeMap<String, String>,
    listen: Vec<Family>,
    send: Vec<String>,
}

/// The settings of a primary before the fork.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Setting {
    /// The name in the table.
    pub name: String,
    policy: Policy,
    #[serde(default)]
    serialization: Option<String>,
    #[serde(default)]
    silent: bool,
    #[serde(default)]
    exec_argv: Vec<String>,
    #[serde(default)]
    stdio: Vec<String>,
    /// Only every n-th form is tried.
    #[serde(default = "one")]
    every: usize,
}

fn one() -> usize {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Policy {
    RoundRobin,
    Shared,
}

/// Forms of one call. `args` has the alternatives of each argument, where `null` omits the argument. Further
/// forms have an object with `options` and one member of `vary`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    on: String,
    #[serde(default)]
    args: Vec<Vec<Option<String>>>,
    #[serde(default)]
    options: BTreeMap<String, String>,
    #[serde(default)]
    vary: BTreeMap<String, Vec<String>>,
}

/// The kind of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Listen,
    Send,
}

/// One form of a call, in JavaScript.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
struct Form {
    kind: Kind,
    code: String,
}

impl Family {
    fn forms(&self) -> Vec<String> {
        let mut rows: Vec<Vec<String>> = vec![Vec::new()];
        for alternatives in &self.args {
            rows =
                rows.iter().flat_map(|row| alternatives.iter().map(|one| with(row, one.as_ref()))).collect();
        }
        if !self.options.is_empty() {
            rows = self.variations().iter().map(|options| vec![object(options)]).collect();
        }
        rows.iter().map(|args| format!("{}({})", self.on, args.join(", "))).collect()
    }

    fn variations(&self) -> Vec<BTreeMap<String, String>> {
        let mut all = vec![self.options.clone()];
        for (name, values) in &self.vary {
            for value in values {
                let mut options = self.options.clone();
                options.insert(name.clone(), value.clone());
                all.push(options);
            }
        }
        all
    }
}

fn with(row: &[String], one: Option<&String>) -> Vec<String> {
    row.iter().chain(one).cloned().collect()
}

fn object(options: &BTreeMap<String, String>) -> String {
    let members: Vec<_> = options.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{{ {} }}", members.join(", "))
}

/// The results of the forms under one setting.
#[derive(Debug, Default)]
pub struct Tally {
    /// The setting.
    pub setting: String,
    /// The number of tried forms.
    pub tried: usize,
    /// The number of forms with equal results.
    pub alike: usize,
    /// Forms that ended Node's own primary, and prove nothing.
    pub oracle_died: usize,
    /// The number of deliberate differences: `forms.json` has the reasons.
    pub excused: usize,
    /// Forms with different results.
    pub different: Vec<Difference>,
}

/// A form that ends differently under the two primaries.
#[derive(Debug)]
pub struct Difference {
    code: String,
    ours: Value,
    nodes: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.code)?;
        writeln!(f, "    here {}", self.ours)?;
        writeln!(f, "    Node {}", self.nodes)
    }
}

impl Forms {
    /// The forms of this suite.
    pub fn ours() -> Self {
        serde_json::from_str(FORMS).expect("forms.json is part of the program")
    }

    /// The settings.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Every form, without duplicates.
    fn all(&self) -> Vec<Form> {
        let listen = self.listen.iter().flat_map(Family::forms).map(|code| Form { kind: Kind::Listen, code });
        let send = self.send.iter().map(|code| Form { kind: Kind::Send, code: code.clone() });
        let mut seen = BTreeSet::new();
        listen.chain(send).filter(|form| seen.insert(form.clone())).collect()
    }

    /// The families of all forms, according to the results under Node's primary with the first setting.
    ///
    /// # Errors
    ///
    /// As [`compare`](Forms::compare).
    pub fn families(&self, node: &Runtime, directory: &Path) -> Result<Families, FormsError> {
        let (forms, mut families) = (self.all(), Families::default());
        let attempt =
            Attempt { setting: &self.settings[0], node, directory, primary: Primary::Node, ends: true };
        for (form, end) in forms.iter().zip(attempt.run(&forms)?) {
            if let Some(end) = end {
                families.add(&form.code, &end);
            }
        }
        Ok(families)
    }

    /// Tries the forms under one setting, under both primaries.
    ///
    /// # Errors
    ///
    /// Node cannot be executed, or a file cannot be written.
    pub fn compare(&self, setting: &Setting, node: &Runtime, directory: &Path) -> Result<Tally, FormsError> {
        let forms: Vec<Form> = self.all().into_iter().step_by(setting.every).collect();
        let attempt =
            |forms: &[Form], primary| Attempt { setting, node, directory, primary, ends: false }.run(forms);
        let mut tally = Tally { setting: setting.name.clone(), tried: forms.len(), ..Tally::default() };
        let mut open = forms;
        for again in 0..=AGAIN {
            let (ours, nodes) = (attempt(&open, Primary::Ours)?, attempt(&open, Primary::Node)?);
            let ended: Vec<_> = open.into_iter().zip(ours.into_iter().zip(nodes)).collect();
            open = Vec::new();
            for (form, (ours, nodes)) in ended {
                match (ours, nodes) {
                    (_, None) => tally.oracle_died += 1,
                    (Some(ours), Some(nodes)) if ours == nodes => tally.alike += 1,
                    (_, Some(_)) if self.excused.contains_key(&form.code) => tally.excused += 1,
                    (ours, Some(nodes)) if again == AGAIN => {
                        let ours = ours.unwrap_or("our primary has exited".into());
                        tally.different.push(Difference { code: form.code, ours, nodes });
                    }
                    (_, Some(_)) => open.push(form),
                }
            }
            if open.is_empty() {
                break;
            }
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All combinations of arguments are tried, options vary one at a time, and no form is tried twice.
    #[test]
    fn forms_expand_once_each() {
        let family = r#"{ "on": "f", "args": [["1", "2"], [null, "3"]] }"#;
        let family: Family = serde_json::from_str(family).expect("a family");
        assert_eq!(family.forms(), ["f(1)", "f(1, 3)", "f(2)", "f(2, 3)"]);
        let family = r#"{ "on": "f", "options": { "a": "1" }, "vary": { "a": ["2"], "b": ["3"] } }"#;
        let family: Family = serde_json::from_str(family).expect("a family");
        assert_eq!(family.forms(), ["f({ a: 1 })", "f({ a: 2 })", "f({ a: 1, b: 3 })"]);
        let all = Forms::ours().all();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.len() > 700, "{}", all.len());
        for excused in Forms::ours().excused.keys() {
            assert!(all.iter().any(|form| form.code == *excused), "no form is {excused}");
        }
    }
}
