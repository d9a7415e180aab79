//! Values as text. `FromStr` reads them from files, so an error has the line of its text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use cluster_core::Escaped;
use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a value from a text, within the visitor: only there the deserializer knows the line.
pub(crate) fn read<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    deserializer.deserialize_str(TextVisitor(PhantomData))
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Implements `Deserialize` by `FromStr`.
macro_rules! read_as_text {
    ($($type:ty),+) => { $(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::read(deserializer)
            }
        }
    )+ };
}

/// Implements `Serialize` by `Display`.
macro_rules! write_as_text {
    ($($type:ty),+) => { $(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+ };
}

pub(crate) use {read_as_text, write_as_text};

/// Whether a text can be in a line: not empty, without a space, without `#`, and without a character that has
/// no glyph.
pub(crate) fn is_one_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || Escaped::is_escaped(c) || c == '#')
}

/// Wraps a text at spaces. Each further line begins with the indent.
pub(crate) fn wrapped(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut rows = vec![String::new()];
    for word in text.split(' ') {
        let row = rows.last_mut().expect("rows start with one");
        if row.is_empty() {
            row.push_str(word);
        } else if row.chars().count() + 1 + word.chars().count() <= width {
            row.push(' ');
            row.push_str(word);
        } else {
            rows.push(format!("{indent}{word}"));
        }
    }
    rows
}
