//! `conformance list`: the scenarios and their stories.

use super::{End, Places, Trouble, width};

/// Where the stories begin.
const INDENT: usize = 4;

pub(super) fn perform(places: &Places) -> Result<End, Trouble> {
    for scenario in places.scenarios(&[])? {
        println!("{}", scenario.name);
        fold(&scenario.story, width().min(100) - INDENT)
            .iter()
            .for_each(|line| println!("{:INDENT$}{line}", ""));
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
