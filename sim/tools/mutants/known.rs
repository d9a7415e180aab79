//! The known results of mutants, for unchanged sources: an interrupted command continues where it stopped.

use std::collections::BTreeMap;
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::suite::{Mutant, Suite};

/// The detector of a mutant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kill {
    pub(crate) killer: String,
    pub(crate) what: String,
    /// If a check has detected the mutant: the number of runs, and the smallest failed run.
    pub(crate) found: Option<Found>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) runs: u64,
    pub(crate) steps: u64,
    pub(crate) faults: u64,
    pub(crate) switches: u64,
}

/// The detector of a mutant, if any.
pub(crate) type Fate = Option<Kill>;

pub(crate) struct Known {
    file: PathBuf,
    sources: u64,
    /// The results, by a hash of everything on which a result depends.
    fates: BTreeMap<String, Fate>,
}

impl Known {
    pub(crate) fn load(directory: &Path, sources: &[PathBuf], suite: &Suite) -> Result<Self, Box<dyn Error>> {
        let file = directory.join("known.json");
        let mut hasher = DefaultHasher::new();
        sources.iter().try_for_each(|path| hash(path, &mut hasher))?;
        (suite.runs, &suite.scenarios).hash(&mut hasher);
        let fates = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Known { file, sources: hasher.finish(), fates })
    }

    pub(crate) fn of(&self, mutant: &Mutant) -> Option<&Fate> {
        self.fates.get(&self.key(mutant))
    }

    pub(crate) fn add(&mut self, mutant: &Mutant, fate: Fate) -> Result<(), Box<dyn Error>> {
        self.fates.insert(self.key(mutant), fate);
        Ok(fs::write(&self.file, serde_json::to_string(&self.fates)?)?)
    }

    fn key(&self, Mutant { file, find, replace, killer, .. }: &Mutant) -> String {
        let mut hasher = DefaultHasher::new();
        // The result of a test is valid only for the same test.
        let test = killer.contains("::").then_some(killer);
        (self.sources, file, find, replace, test).hash(&mut hasher);
        hasher.finish().to_string()
    }
}

fn hash(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    if !path.is_dir() {
        fs::read(path)?.hash(hasher);
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    entries.iter().try_for_each(|path| hash(path, hasher))
}
