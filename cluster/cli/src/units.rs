//! Times, sizes and counts as texts: `30s`, `512MiB`, `auto`, `+1`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A time: `500ms`, `30s`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Time)
            .map_err(|error| format!("{error}; a time is written as 500ms, 30s or 1h 30m"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A number of bytes: `512MiB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size: Result<ByteSize, _> = text.parse();
        size.map(|ByteSize(bytes)| Size(bytes))
            .map_err(|error| format!("{error}; a size is written as 512MiB or 2GB"))
    }
}

/// The exact number of bytes, in the unit with the shortest text.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = UNITS.iter().filter(|(_, bytes)| self.0.is_multiple_of(*bytes));
        let texts = texts.map(|(unit, bytes)| format!("{}{unit}", self.0 / bytes));
        f.write_str(&texts.min_by_key(String::len).unwrap_or_default())
    }
}

/// The units of sizes. Every size is a multiple of the first unit.
const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// A number of workers, or one for each core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "TextOrNumber")]
pub(crate) enum Workers {
    Auto,
    Count(u32),
}

impl Workers {
    pub(crate) fn count(self) -> u32 {
        match self {
            Workers::Auto => cluster::cores(),
            Workers::Count(count) => count,
        }
    }
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Workers::Auto);
        }
        text.parse().map(Workers::Count).map_err(|_| format!("`{text}`: expected a number, or `auto`"))
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workers::Auto => f.write_str("auto"),
            Workers::Count(count) => count.fmt(f),
        }
    }
}

/// A new number of workers, or a change of the present number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scale {
    To(u32),
    By(i32),
}

impl Scale {
    /// The new number. The supervisor refuses 0.
    pub(crate) fn applied_to(self, workers: u32) -> u32 {
        match self {
            Scale::To(count) => count,
            Scale::By(change) => workers.saturating_add_signed(change),
        }
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid =
            |_| format!("`{text}`: expected a number of workers such as 4, or a change such as +1 or -1");
        if text.starts_with(['+', '-']) {
            text.parse().map(Scale::By).map_err(invalid)
        } else {
            text.parse().map(Scale::To).map_err(invalid)
        }
    }
}

/// A word of the file: a text, or a number or a truth value without quotes. `drain = 10` has the same error
/// as the flag `--drain 10`.
pub(crate) struct Word(pub(crate) String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(file: D) -> Result<Self, D::Error> {
        file.deserialize_any(WordVisitor)
    }
}

struct WordVisitor;

/// Numbers with a fraction are refused: the text of `1.10` would be `1.1`.
impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number, true or false; write other values in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
        Ok(Word(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Word, E> {
        Ok(Word(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Word, E> {
        Ok(Word(number.to_string()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Word, E> {
        Ok(Word(value.to_string()))
    }
}

/// A list of words in the file.
///
/// # Errors
/// The value is no list of words.
pub(crate) fn words_in_file<'de, D: Deserializer<'de>>(file: D) -> Result<Option<Vec<String>>, D::Error> {
    let words: Option<Vec<Word>> = Option::deserialize(file)?;
    Ok(words.map(|words| words.into_iter().map(|Word(text)| text).collect()))
}

/// A table of words in the file.
///
/// # Errors
/// The value is no table of words.
pub(crate) fn table_in_file<'de, D: Deserializer<'de>>(
    file: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let table: Option<BTreeMap<String, Word>> = Option::deserialize(file)?;
    Ok(table.map(|table| table.into_iter().map(|(key, Word(text))| (key, text)).collect()))
}

/// A number of workers in the file: `workers = 4`, `workers = "auto"`.
#[derive(Serialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(u32),
    Text(String),
}

impl TryFrom<Word> for Workers {
    type Error = String;

    fn try_from(Word(text): Word) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Workers> for TextOrNumber {
    fn from(workers: Workers) -> TextOrNumber {
        match workers {
            Workers::Auto => TextOrNumber::Text("auto".to_owned()),
            Workers::Count(count) => TextOrNumber::Number(count),
        }
    }
}

/// The file has the same texts as the command line. This macro writes the conversions that serde's `try_from`
/// and `into` need.
macro_rules! text_in_file {
    ($($type:ty),+) => {$(
        impl TryFrom<crate::units::Word> for $type {
            type Error = String;

            fn try_from(word: crate::units::Word) -> Result<Self, String> {
                word.0.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    )+};
}
pub(crate) use text_in_file;

text_in_file!(Time, Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read() {
        assert_eq!("1h 30m".parse(), Ok(Time(Duration::from_mins(90))));
        assert_eq!("512MiB".parse(), Ok(Size(512 << 20)));
        assert_eq!("auto".parse(), Ok(Workers::Auto));
        assert_eq!(
            ["4", "+1", "-2"].map(str::parse),
            [Ok(Scale::To(4)), Ok(Scale::By(1)), Ok(Scale::By(-2))]
        );
    }

    #[test]
    fn sizes_have_a_unit() {
        for text in ["512MiB", "2GB", "1GiB", "100B", "7B"] {
            assert_eq!(text.parse::<Size>().expect("a size").to_string(), text);
        }
    }

    #[test]
    fn errors_show_the_form() {
        assert!("30".parse::<Time>().expect_err("no unit").contains("30s"));
        assert!("many".parse::<Size>().expect_err("no number").contains("512MiB"));
        assert!("all".parse::<Workers>().expect_err("no number").contains("auto"));
        assert!("+".parse::<Scale>().expect_err("no number").contains("+1"));
    }

    #[test]
    fn change_never_underflows() {
        assert_eq!(Scale::By(-9).applied_to(4), 0);
    }
}
