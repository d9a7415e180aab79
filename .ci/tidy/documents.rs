//! Reads the prose, headings, links and code of a document.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::words::{Passage, PassageKind, words};

/// A link, a command or a name, with the line number.
pub(crate) struct Found {
    pub(crate) line: usize,
    pub(crate) text: String,
}

fn events(text: &str) -> impl Iterator<Item = (Event<'_>, Range<usize>)> {
    Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter()
}

fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The sentences of a document: every paragraph, heading and cell.
pub(crate) fn prose(text: &str) -> Vec<Passage> {
    let mut passages = vec![Passage { kind: PassageKind::Prose, words: Vec::new() }];
    let mut is_code = false;
    for (event, range) in events(text) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => is_code = true,
            Event::End(TagEnd::CodeBlock) => is_code = false,
            Event::Text(prose) if !is_code => {
                let last = passages.last_mut().expect("the first is there");
                last.words.extend(words(line(text, range.start), &prose));
            }
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::TableCell | TagEnd::Item) => {
                passages.push(Passage { kind: PassageKind::Prose, words: Vec::new() });
            }
            _ => {}
        }
    }
    passages
}

/// The anchors of the headings, in GitHub's form.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut heading: Option<String> = None;
    for (event, _) in events(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => anchors.extend(heading.take().map(|heading| anchor(&heading))),
            _ => {}
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The targets of links within the workspace.
pub(crate) fn links(text: &str) -> Vec<Found> {
    let links = events(text).filter_map(|(event, range)| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(Found { line: line(text, range.start), text: dest_url.into_string() })
        }
        _ => None,
    });
    links.filter(|link| !link.text.contains("://")).collect()
}

/// Code in backticks.
pub(crate) fn code_spans(text: &str) -> Vec<Found> {
    let spans = events(text).filter_map(|(event, range)| match event {
        Event::Code(code) => Some(Found { line: line(text, range.start), text: code.into_string() }),
        _ => None,
    });
    spans.collect()
}

/// Lines for a shell: code in backticks, and the lines of code blocks in the language of a shell or in no
/// named language.
pub(crate) fn commands(text: &str) -> Vec<Found> {
    let mut commands = code_spans(text);
    let mut is_shell = false;
    for (event, range) in events(text) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                is_shell = matches!(&*language, "" | "sh" | "yaml" | "console");
            }
            Event::End(TagEnd::CodeBlock) => is_shell = false,
            Event::Text(block) if is_shell => {
                let first = line(text, range.start);
                let lines = block.lines().enumerate();
                commands.extend(lines.map(|(at, text)| Found { line: first + at, text: text.to_owned() }));
            }
            _ => {}
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        let anchors = anchors("# The `Call` enum, in short\n\n## What it is not yet\n");
        assert_eq!(anchors, ["the-call-enum-in-short", "what-it-is-not-yet"]);
    }

    #[test]
    fn prose_has_no_code() {
        let passages = prose("One `two` three.\n\n```\nfour\n```\n| five |\n|---|\n| six |\n");
        let words: Vec<_> =
            passages.iter().flat_map(|passage| &passage.words).map(|word| (word.line, &*word.text)).collect();
        assert_eq!(words, [(1, "one"), (1, "three"), (6, "five"), (8, "six")]);
    }
}
