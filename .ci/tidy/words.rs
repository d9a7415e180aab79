//! Words with a plainer replacement, counted by group of files. CONTRIBUTING.md gives the reasons. Code
//! within backticks is not read.

use crate::documents;
use crate::source::{Kind, Source};
use crate::workspace::{File, files};

use std::collections::BTreeMap;

const PERSONS: [&str; 12] = [
    "who",
    "whom",
    "whose",
    "whoever",
    "whomever",
    "somebody",
    "nobody",
    "everybody",
    "someone",
    "anyone",
    "everyone",
    "anybody",
];
const SPEECH: [&str; 9] = ["told", "said", "heard", "hear", "hears", "tell", "tells", "says", "saying"];
const MOTION: [&str; 7] = ["go", "goes", "gone", "going", "come", "comes", "came"];
/// The pronouns other than [`PERSONS`], which are counted separately.
const OTHER_PRONOUNS: [&str; 29] = [
    "it",
    "its",
    "itself",
    "he",
    "she",
    "they",
    "them",
    "their",
    "theirs",
    "one",
    "ones",
    "this",
    "that",
    "these",
    "those",
    "what",
    "which",
    "such",
    "i",
    "you",
    "your",
    "we",
    "our",
    "ours",
    "us",
    "whatever",
    "whichever",
    "something",
    "anything",
];
const AUXILIARIES: [&str; 7] = ["is", "are", "was", "were", "be", "been", "being"];
/// The highest number of pronouns per thousand words in plain comments.
const PLAIN: usize = 60;
/// Phrases of two words that a plain word replaces.
const DIALECT: [[&str; 2]; 3] = [["any", "more"], ["for", "ever"], ["so", "many"]];

/// Words of one comment, text, name or paragraph.
pub(crate) struct Passage {
    pub(crate) kind: PassageKind,
    pub(crate) words: Vec<Word>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PassageKind {
    Comment,
    Doc,
    Text,
    TestName,
    /// Of a document, or a sentence of a JSON file.
    Prose,
}

pub(crate) struct Word {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A place that breaks a rule.
pub(crate) struct Hit {
    pub(crate) rule: &'static str,
    pub(crate) place: String,
}

/// The counts of one group of files.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) hits: Vec<Hit>,
    /// The number of words in each file's comments and prose, and the number of pronouns.
    files: BTreeMap<String, [usize; 2]>,
}

impl Group {
    /// Pronouns for each thousand words of comments and prose, rounded up.
    pub(crate) fn pronouns_per_1000(&self) -> u64 {
        let sum = |at: usize| self.files.values().map(|counts| counts[at]).sum::<usize>();
        (1000 * sum(1)).div_ceil(sum(0).max(1)) as u64
    }

    /// The files with a higher share of pronouns than `PLAIN`, with the highest number first.
    pub(crate) fn files_by_pronouns(&self) -> Vec<String> {
        let mut files: Vec<_> =
            self.files.iter().map(|(path, [words, pronouns])| (*pronouns, words, path)).collect();
        files.retain(|(pronouns, words, _)| 1000 * pronouns > PLAIN * *words);
        files.sort_by(|a, b| b.cmp(a));
        let line = |(pronouns, words, path)| format!("{path}: {pronouns} pronouns in {words} words");
        files.into_iter().map(line).collect()
    }

    fn add(&mut self, path: &str, passage: &Passage) {
        for (rule, at) in hits(passage) {
            let first = at.saturating_sub(3);
            let near: Vec<&str> =
                passage.words[first..].iter().take(8).map(|word| word.text.as_str()).collect();
            let place = format!("{path}:{}: {}", passage.words[at].line, near.join(" "));
            self.hits.push(Hit { rule, place });
        }
        if !matches!(passage.kind, PassageKind::Text | PassageKind::TestName) {
            let [words, pronouns] = self.files.entry(path.to_owned()).or_default();
            *words += passage.words.len();
            *pronouns += passage.words.iter().filter(|word| is_pronoun(word)).count();
        }
    }
}

/// Every group of files by its name: the crates, the documents, and the sentences in JSON files.
pub(crate) fn groups() -> BTreeMap<String, Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for file in files(&["rs"]).iter().filter(|file| file.path != ".ci/tidy/words.rs") {
        let group = groups.entry(file.package().to_owned()).or_default();
        for passage in of_rust(file) {
            group.add(&file.path, &passage);
        }
    }
    for file in files(&["md"]).iter().filter(|file| !file.is_generated()) {
        let group = groups.entry("documents".to_owned()).or_default();
        for passage in documents::prose(&file.text) {
            group.add(&file.path, &passage);
        }
    }
    for file in files(&["json"]).iter().filter(|file| !file.is_generated()) {
        let group = groups.entry("sentences in JSON".to_owned()).or_default();
        for passage in of_json(&file.text) {
            group.add(&file.path, &passage);
        }
    }
    groups
}

fn of_rust(file: &File) -> Vec<Passage> {
    let source = Source::read(&file.text);
    let mut passages = Vec::new();
    for piece in &source.pieces {
        let text = piece.text.trim_matches(|c| c == '"' || c == '#' || c == 'r');
        let kind = match piece.kind {
            Kind::Comment => PassageKind::Comment,
            Kind::Doc => PassageKind::Doc,
            Kind::Text if file.is_test() && is_test_name(text) => PassageKind::TestName,
            Kind::Text if text.trim().contains(' ') => PassageKind::Text,
            Kind::Text | Kind::Char => continue,
        };
        passages.push(Passage { kind, words: words(piece.line, text) });
    }
    for function in source.functions().iter().filter(|function| function.is_test) {
        passages.push(Passage { kind: PassageKind::TestName, words: words(function.first, &function.name) });
    }
    passages
}

/// Whether a text is the name of a test: programs with libtest-mimic name tests by texts.
fn is_test_name(text: &str) -> bool {
    let is_plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.split('_').count() > 2 && text.split('_').all(is_plain)
}

/// A text with at least four words, neither code nor an observation.
fn is_sentence(text: &&str) -> bool {
    let is_observation = text.split_once(": ").is_some_and(|(observer, rest)| {
        ["primary", "worker", "client"].iter().any(|name| observer.starts_with(name)) && rest.contains('=')
    });
    text.split(' ').count() > 3 && !text.contains(['{', ';']) && !is_observation
}

/// The sentences in the members of a JSON file.
fn of_json(text: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let member = line.split_once("\": \"").map_or(line, |(_, value)| value);
        for sentence in member.split('"').filter(is_sentence) {
            passages.push(Passage { kind: PassageKind::Prose, words: words(at + 1, sentence) });
        }
    }
    passages
}

/// The words of a text in lower case, without code in backticks and blocks of code.
pub(crate) fn words(line: usize, text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut is_block = false;
    let mut is_code = false;
    for (at, text) in text.split('\n').enumerate() {
        if text.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            for (part, text) in text.split('`').enumerate() {
                is_code ^= part > 0;
                if !is_code {
                    words.extend(plain_words(text).map(|text| Word { line: line + at, text }));
                }
            }
        }
    }
    words
}

fn plain_words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphabetic() && c != '\'');
    words.map(|word| word.trim_matches('\'').to_lowercase()).filter(|word| !word.is_empty())
}

fn is_in(list: &[&str], word: &Word) -> bool {
    list.contains(&word.text.as_str())
}

fn is_pronoun(word: &Word) -> bool {
    is_in(&PERSONS, word) || is_in(&OTHER_PRONOUNS, word)
}

/// The rules that a passage breaks, each with the place of the word.
fn hits(passage: &Passage) -> Vec<(&'static str, usize)> {
    let words = &passage.words;
    let mut hits = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if is_in(&PERSONS, word) {
            hits.push(("persons", at));
        }
        if is_in(&SPEECH, word) {
            let before = &words[at.saturating_sub(2)..at];
            let is_passive = matches!(word.text.as_str(), "told" | "said" | "heard")
                && before.iter().any(|word| is_in(&AUXILIARIES, word));
            hits.push((if is_passive { "is told" } else { "speech" }, at));
        }
        if is_in(&MOTION, word) {
            hits.push(("motion", at));
        }
        let pair = words.get(at + 1).map(|next| [word.text.as_str(), next.text.as_str()]);
        if word.text == "anew" || pair.is_some_and(|pair| DIALECT.contains(&pair)) {
            hits.push(("dialect", at));
        }
    }
    if passage.kind == PassageKind::Doc && words.first().is_some_and(|word| word.text == "it") {
        hits.push(("docs that begin with `It`", 0));
    }
    if passage.kind == PassageKind::TestName && words.len() > 6 {
        hits.push(("test names over six words", 0));
    }
    hits
}
