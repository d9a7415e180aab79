//! Writes JSON objects. The names and most values of internal messages need no escape, so only other texts
//! are searched for characters to escape.

use alloc::vec::Vec;

/// The room for most messages, in bytes.
const USUAL: usize = 128;

/// The JSON text of objects, written field by field.
pub(super) struct ObjectWriter(Vec<u8>);

impl ObjectWriter {
    pub(super) fn new() -> Self {
        ObjectWriter(Vec::with_capacity(USUAL))
    }

    /// Begins an object, and writes its `cmd`.
    pub(super) fn begin(&mut self, cmd: &'static str) {
        self.open();
        self.plain("cmd", cmd);
    }

    pub(super) fn open(&mut self) {
        self.0.push(b'{');
    }

    pub(super) fn end(&mut self) {
        self.0.push(b'}');
    }

    /// Writes the name of the next field, which needs no escape. The caller appends the value.
    pub(super) fn name(&mut self, name: &'static str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.quoted(name);
        self.0.push(b':');
    }

    /// Writes a value that is JSON already.
    pub(super) fn json(&mut self, json: &[u8]) {
        self.0.extend_from_slice(json);
    }

    /// Writes a field with a text that needs no escape.
    pub(super) fn plain(&mut self, name: &'static str, text: &'static str) {
        self.name(name);
        self.quoted(text);
    }

    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        if text.bytes().all(is_plain) {
            self.quoted(text);
        } else {
            self.0.extend(serde_json::to_vec(text).expect("a text has JSON"));
        }
    }

    pub(super) fn null(&mut self, name: &'static str) {
        self.name(name);
        self.json(b"null");
    }

    pub(super) fn bool(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.json(if value { b"true" } else { b"false" });
    }

    pub(super) fn number(&mut self, name: &'static str, number: impl itoa::Integer) {
        self.name(name);
        self.json(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn quoted(&mut self, text: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
    }
}

/// Whether JSON writes a byte without an escape.
fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text is written in the same way as by `serde_json`.
    #[test]
    fn texts_are_escaped() {
        let all: alloc::string::String = (0..0x300).filter_map(char::from_u32).collect();
        for text in all.char_indices().map(|(at, char)| &all[at..at + char.len_utf8()]).chain(["", &all]) {
            let mut object = ObjectWriter::new();
            object.begin("NODE_CLUSTER");
            object.text("key", text);
            object.number("seq", -7);
            object.end();
            let wanted = serde_json::json!({ "cmd": "NODE_CLUSTER", "key": text, "seq": -7 });
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&object.into_bytes()).ok(), Some(wanted));
        }
    }
}
