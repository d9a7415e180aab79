//! The small values of a scenario: words of a line, and signals. Each is validated when read.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::text::{is_one_word, read_as_text};

/// A text that can stand in an observation: not empty, no space, no `#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(String);

impl Token {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !is_one_word(text) {
            return Err(format!("`{text}`: expected one word, without spaces and `#`"));
        }
        Ok(Token(text.to_owned()))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

read_as_text!(Token);

/// A signal that kills a process without a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Signal {
    /// Hang up.
    #[serde(rename = "SIGHUP")]
    Hup,
    /// Interrupt.
    #[serde(rename = "SIGINT")]
    Int,
    /// Terminate.
    #[serde(rename = "SIGTERM")]
    Term,
    /// Cannot be handled.
    #[serde(rename = "SIGKILL")]
    Kill,
}

impl Signal {
    /// The name in C.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Hup => "SIGHUP",
            Signal::Int => "SIGINT",
            Signal::Term => "SIGTERM",
            Signal::Kill => "SIGKILL",
        }
    }
}
