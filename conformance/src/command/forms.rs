//! `conformance forms`: every form of a call that a Node program may use, under our primary and under Node's.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::progress::Progress;
use super::{CliError, NODE, Outcome, file, interrupt, print};
use crate::arm::node::Runtime;
use crate::exceptions::glob;
use crate::forms::{Forms, Setting, Tally};

/// The limit of printed differences per setting.
const SHOWN: usize = 20;

/// The settings, and the runtimes.
#[derive(Debug, Args)]
pub(super) struct FormsOf {
    /// The Node.js to use; may be given several times. Without: `node`
    #[arg(long = "node", value_name = "PATH")]
    nodes: Vec<PathBuf>,
    /// Only these settings of `forms.json`; `*` matches any text; repeatable
    #[arg(long = "setting", value_name = "NAME")]
    settings: Vec<String>,
    /// Compare nothing; write the families of the forms on which all given versions of Node.js agree, for
    /// random scenarios
    #[arg(long, value_name = "FILE", conflicts_with = "settings")]
    families: Option<PathBuf>,
}

/// One line of the table.
struct Row<'a>(&'a str, &'a Tally);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row(node, Tally { setting, tried, alike, oracle_died, excused, different }) = self;
        let different = different.len();
        writeln!(
            f,
            "{node:<16}  {setting:<20}  {tried:>6}  {alike:>6}  {excused:>7}  {different:>9}  {oracle_died:>11}"
        )
    }
}

impl FormsOf {
    pub(super) fn perform(&self) -> Result<Outcome, CliError> {
        let nodes = if self.nodes.is_empty() { vec![PathBuf::from(NODE)] } else { self.nodes.clone() };
        let nodes = nodes.iter().map(|node| Runtime::find(node)).collect::<Result<Vec<_>, _>>()?;
        let forms = Forms::ours();
        let settings = self.settings(&forms)?;
        let _home = interrupt::listen()?;
        let directory = tempfile::tempdir()?;
        if let Some(path) = &self.families {
            return write_families(&forms, &nodes, directory.path(), path);
        }
        let tallies = compare(&forms, &nodes, &settings, directory.path())?;
        if interrupt::is_stopped() {
            return Ok(Outcome::Interrupted);
        }
        let counts = format!("{:>6}  {:>6}  excused  different  Node's died", "tried", "alike");
        print(format_args!("{:<16}  {:<20}  {counts}\n", "node", "setting"))?;
        for (node, tally) in &tallies {
            print(Row(node, tally))?;
        }
        for (node, tally) in &tallies {
            for difference in tally.different.iter().take(SHOWN) {
                print(format_args!("\n{node}, {}: {difference}", tally.setting))?;
            }
        }
        let differ = tallies.iter().any(|(_, tally)| !tally.different.is_empty());
        Ok(if differ { Outcome::Fails } else { Outcome::Holds })
    }

    fn settings<'a>(&self, forms: &'a Forms) -> Result<Vec<&'a Setting>, CliError> {
        let is_meant = |setting: &&Setting| {
            self.settings.is_empty() || self.settings.iter().any(|pattern| glob(pattern, &setting.name))
        };
        let settings: Vec<_> = forms.settings().iter().filter(is_meant).collect();
        if settings.is_empty() {
            let names: Vec<_> = forms.settings().iter().map(|setting| setting.name.as_str()).collect();
            return Err(CliError(format!("unknown setting; known settings: {}", names.join("; "))));
        }
        Ok(settings)
    }
}

fn write_families(
    forms: &Forms,
    nodes: &[Runtime],
    directory: &Path,
    path: &Path,
) -> Result<Outcome, CliError> {
    let all = nodes.iter().map(|node| forms.families(node, directory)).collect::<Result<Vec<_>, _>>()?;
    let common = all.into_iter().reduce(|one, other| one.common(&other)).unwrap_or_default();
    file::write(path, format!("{}\n", serde_json::to_string_pretty(&common)?).as_bytes())?;
    Ok(Outcome::Holds)
}

fn compare(
    forms: &Forms,
    nodes: &[Runtime],
    settings: &[&Setting],
    directory: &Path,
) -> Result<Vec<(String, Tally)>, CliError> {
    let progress = Progress::new(nodes.len() * settings.len());
    let mut tallies = Vec::new();
    for node in nodes {
        for setting in settings {
            if interrupt::is_stopped() {
                return Ok(tallies);
            }
            tallies.push((node.name(), forms.compare(setting, node, directory)?));
            progress.step(&format!("{}, {}", node.name(), setting.name));
        }
    }
    Ok(tallies)
}
