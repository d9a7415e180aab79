//! `conformance list`: the scenarios and their stories.

use super::{End, Places, Trouble, say, width};

/// Where the stories begin.
const INDENT: usize = 4;
/// Longer lines are hard to read, on a wide terminal, too.
const WIDEST: usize = 100;

pub(super) fn perform(places: &Places) -> Result<End, Trouble> {
    for scenario in places.scenarios(&[])? {
        say(format_args!("{}\n", scenario.name))?;
        for line in fold(&scenario.story, width().min(WIDEST) - INDENT) {
            say(format_args!("{:INDENT$}{line}\n", ""))?;
        }
    }
    Ok(End::Holds)
}

fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("it began with one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
