//! The small values of a scenario: words of a line, names, workers and signals. Each value is validated when
//! it is read.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::Deserialize;

use crate::text::{is_one_word, read_as_text};
use crate::vocabulary::ServerAddress;

/// A text that can be in an observation: not empty, without a space and without `#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(String);

impl Token {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Replaces a variable by a value, which must be a single word.
    pub(crate) fn fill(&mut self, variable: &str, value: &str) {
        self.0 = self.0.replace(variable, value);
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

/// A text in which `$worker` is the id of the worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Text(Token);

impl Text {
    /// Replaces `$worker`.
    pub(crate) fn fill(&mut self, worker: u64) {
        self.0.fill("$worker", &worker.to_string());
    }
}

impl Deref for Text {
    type Target = Token;

    fn deref(&self) -> &Token {
        &self.0
    }
}

/// A server that another action opens, and what the process has observed of the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "Token")]
pub struct ServerName {
    name: Token,
    /// The address of the server. `None`: not known yet.
    pub address: Option<ServerAddress>,
    /// The descriptor of the server in the primary, if the primary has opened the server.
    pub fd: Option<u32>,
}

impl ServerName {
    /// The port. 0: the port is not known yet.
    pub fn port(&self) -> u16 {
        if let Some(ServerAddress::Port(port)) = self.address { port } else { 0 }
    }
}

impl From<Token> for ServerName {
    fn from(name: Token) -> Self {
        ServerName { name, address: None, fd: None }
    }
}

impl Deref for ServerName {
    type Target = Token;

    fn deref(&self) -> &Token {
        &self.name
    }
}

/// The worker of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The worker with an id.
    Id(u64),
    /// The worker of the matched line: `"same"`.
    Same,
}

impl Target {
    /// The id.
    ///
    /// # Panics
    ///
    /// For `"same"`: [`crate::program`] must have replaced `"same"` by an id.
    pub fn id(self) -> u64 {
        if let Target::Id(id) = self { Some(id) } else { None }.expect("`same` is replaced by an id")
    }
}

/// A signal. A process without a handler is killed by the signal.
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
    /// Kill, which no process can handle.
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
