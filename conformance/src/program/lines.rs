//! The bytes of a connection as lines of text. The bytes may be split anywhere.

/// The bytes of an incomplete line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// The lines that these bytes complete, without line endings. Invalid UTF-8 is replaced.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let complete = std::mem::replace(&mut self.partial, rest);
        String::from_utf8_lossy(&complete).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_join_across_any_split() {
        let text = "one\ntwo\nthr\u{e9}e\n".as_bytes();
        for cut in 0..=text.len() {
            let mut lines = Lines::default();
            let mut seen = lines.push(&text[..cut]);
            seen.extend(lines.push(&text[cut..]));
            assert_eq!(seen, ["one", "two", "thr\u{e9}e"], "cut at {cut}");
            assert_eq!(lines, Lines::default());
        }
    }
}
