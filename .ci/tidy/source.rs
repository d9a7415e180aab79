//! Divides a Rust file into comments, string literals and code. Reads only tokens and braces: rustc and
//! clippy check the rest.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::CharIndices;

/// A comment or a string literal, with the number of the first line.
pub(crate) struct Piece {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Comment,
    Doc,
    Text,
    /// A character literal, never a piece.
    Char,
}

/// A function, with the lines of the `fn` and of the last brace.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) is_test: bool,
}

pub(crate) struct Source {
    pub(crate) pieces: Vec<Piece>,
    /// The file with blanks instead of comments and literals. Offsets and lines are the same as in the file.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn read(file: &str) -> Self {
        let mut source = Source { pieces: Vec::new(), code: String::with_capacity(file.len()) };
        let mut line = 1;
        let mut rest = file;
        while !rest.is_empty() {
            let (kind, length) = token(rest, &source.code);
            let (text, after) = rest.split_at(length);
            match kind {
                Some(kind) => {
                    source.add(kind, line, text);
                    source.code.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                }
                None => source.code.push_str(text),
            }
            line += text.matches('\n').count();
            rest = after;
        }
        source
    }

    /// Adds a piece. A line comment continues a comment of the same kind on the line above.
    fn add(&mut self, kind: Kind, line: usize, text: &str) {
        let text = match kind {
            Kind::Char => return,
            Kind::Text => text,
            Kind::Comment | Kind::Doc => text.trim_start_matches(['/', '!', '*']).trim(),
        };
        if let Some(last) = self.pieces.last_mut()
            && kind != Kind::Text
            && last.kind == kind
            && last.line + last.text.matches('\n').count() + 1 == line
        {
            last.text.push('\n');
            last.text.push_str(text);
        } else {
            self.pieces.push(Piece { line, text: text.to_owned(), kind });
        }
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let tokens = self.tokens();
        let mut functions = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let Some(name) = tokens.get(at + 1).filter(|name| token.text == "fn" && name.is_name()) else {
                continue;
            };
            let is_test = tokens[..at].rsplit(|token| matches!(token.text, "}" | "{" | ";")).next();
            let is_test = is_test.is_some_and(|head| {
                head.windows(2).any(|pair| matches!(pair[0].text, "[" | ":") && pair[1].text == "test")
            });
            let last = end_of_body(&tokens[at..]).unwrap_or(token.line);
            functions.push(Function { name: name.text.to_owned(), first: token.line, last, is_test });
        }
        functions
    }

    /// The types and modules defined here, with line numbers.
    pub(crate) fn definitions(&self) -> Vec<(&str, usize)> {
        let tokens = self.tokens();
        let mut definitions = Vec::new();
        let mut depth = 0_usize;
        for pair in tokens.windows(3) {
            match pair[0].text {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let defines = match pair[0].text {
                "struct" | "enum" | "trait" | "mod" => true,
                "type" => depth == 0, // within braces: a trait's
                _ => false,
            };
            // Within a macro, a list may contain `struct identifier`; then neither a brace nor a colon
            // follows.
            let is_followed = !pair[2].is_name() || pair[2].text == "where";
            if defines && is_followed && pair[1].is_name() && pair[1].text != "tests" {
                definitions.push((pair[1].text, pair[0].line));
            }
        }
        definitions
    }

    /// The number of methods in `impl` blocks outside of test modules, by the name of the type.
    pub(crate) fn methods(&self) -> BTreeMap<&str, usize> {
        let tokens = self.tokens();
        let mut methods: BTreeMap<&str, usize> = BTreeMap::new();
        let mut depth = 0_usize;
        // The type of the present block, and the depth of the items in the block.
        let mut block: Option<(&str, usize)> = None;
        let mut tests = None;
        for (at, token) in tokens.iter().enumerate() {
            match token.text {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    block = block.filter(|(_, inner)| depth >= *inner);
                    tests = tests.filter(|inner| depth >= *inner);
                }
                "mod" if is_module_of_tests(&tokens[at + 1..]) => tests = Some(depth + 1),
                "impl" if block.is_none() && tests.is_none() && starts_item(&tokens[..at]) => {
                    block = type_of_impl(&tokens[at + 1..]).map(|name| (name, depth + 1));
                }
                "fn" => {
                    if let Some((name, inner)) = block
                        && depth == inner
                    {
                        *methods.entry(name).or_default() += 1;
                    }
                }
                _ => {}
            }
        }
        methods
    }

    /// The names of the code, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tokens().into_iter().filter(Token::is_name).map(|token| token.text)
    }

    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        let mut line = 1;
        let mut tokens = Vec::new();
        let mut chars = self.code.char_indices().peekable();
        while let Some((start, first)) = chars.next() {
            if first == '\n' {
                line += 1;
            } else if is_word(first) {
                let end = skip_word(&mut chars).unwrap_or(self.code.len());
                tokens.push(Token { text: &self.code[start..end], line });
            } else if !first.is_whitespace() {
                tokens.push(Token { text: &self.code[start..start + first.len_utf8()], line });
            }
        }
        tokens
    }
}

pub(crate) struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl<'a> Token<'a> {
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn line(&self) -> usize {
        self.line
    }

    pub(crate) fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Whether the tokens begin with `tests {`.
fn is_module_of_tests(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [name, brace, ..] if name.text == "tests" && brace.text == "{")
}

/// Whether an item can start after the tokens.
fn starts_item(before: &[Token<'_>]) -> bool {
    before.last().is_none_or(|token| matches!(token.text, "}" | "{" | ";" | "]" | "unsafe"))
}

/// The type of an `impl` block, from the tokens after `impl`: the last name of the path after `for`. Without
/// `for`: the last name of the path after the generic parameters.
fn type_of_impl<'a>(tokens: &[Token<'a>]) -> Option<&'a str> {
    let mut name = None;
    let mut angles = 0_usize;
    for token in tokens {
        match token.text {
            "<" => angles += 1,
            ">" => angles = angles.saturating_sub(1),
            "{" | "where" if angles == 0 => break,
            "for" if angles == 0 => name = None,
            "dyn" | "mut" | "const" => {}
            _ if angles == 0 && token.is_name() => name = Some(token.text),
            _ => {}
        }
    }
    name
}

/// The line of the closing brace of the function at the start of `tokens`. `None`: the function has no body.
fn end_of_body(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    for token in tokens {
        match token.text {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            ";" if depth == 0 && brackets == 0 => return None,
            "{" if brackets == 0 || depth > 0 => depth += 1,
            "}" if depth == 1 => return Some(token.line),
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn skip_word(chars: &mut Peekable<CharIndices<'_>>) -> Option<usize> {
    while chars.next_if(|&(_, c)| is_word(c)).is_some() {}
    chars.peek().map(|&(at, _)| at)
}

/// The kind and the length in bytes of the token at the start of `rest`. Code has no kind.
fn token(rest: &str, before: &str) -> (Option<Kind>, usize) {
    let line_end = rest.find('\n').unwrap_or(rest.len());
    let after_word = before.ends_with(is_word);
    if rest.starts_with("//") {
        let doc = rest.starts_with("//!") || (rest.starts_with("///") && !rest.starts_with("////"));
        (Some(if doc { Kind::Doc } else { Kind::Comment }), line_end)
    } else if rest.starts_with("/*") {
        (Some(Kind::Comment), rest.find("*/").map_or(rest.len(), |end| end + 2))
    } else if let Some(length) = raw_string(rest).filter(|_| !after_word) {
        (Some(Kind::Text), length)
    } else if rest.starts_with('"') {
        (Some(Kind::Text), quoted(rest, '"'))
    } else if rest.starts_with("'\\") {
        (Some(Kind::Char), quoted(rest, '\''))
    } else if rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
        // A character, and not a lifetime.
        (Some(Kind::Char), rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at))
    } else {
        (None, rest.chars().next().map_or(0, char::len_utf8))
    }
}

/// The length of the raw string at the start of `rest`: `r"..."`, `r#"..."#` and so on.
fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('r').or_else(|| rest.strip_prefix("br"))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let text = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - text.len() + text.find(&close)? + close.len())
}

/// The length of a literal with escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_raw_string_hashes, reason = "the text holds a raw text")]
    const FILE: &str = r##"//! The head,
//! in two lines.

/// A doc.
fn quote<'a>(c: char) -> &'a str {
    // A comment: "no text".
    if c == '"' || c == '\'' { "one // text" } else { r#"raw "text""# }
}

#[test]
fn quotes_are_texts() {
    let block = 1; /* a block */
}
"##;

    #[test]
    fn pieces_are_comments_and_texts() {
        let source = Source::read(FILE);
        let found = source.pieces.iter().map(|piece| (piece.kind, piece.line, piece.text.as_str()));
        let found: Vec<_> = found.collect();
        let expected = [
            (Kind::Doc, 1, "The head,\nin two lines."),
            (Kind::Doc, 4, "A doc."),
            (Kind::Comment, 6, "A comment: \"no text\"."),
            (Kind::Text, 7, "\"one // text\""),
            (Kind::Text, 7, "r#\"raw \"text\"\"#"),
            (Kind::Comment, 12, "a block */"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn methods_belong_to_types() {
        let file = "
impl<T: Fn(u8) -> u8> Wide<T> { fn first(&self) { fn inner() {} } fn second() -> impl Sized {} }
impl fmt::Display for Wide<u8> { fn fmt(&self) {} }
fn free(act: impl Fn()) {}
mod tests { impl Wide<u8> { fn test() {} } }
mod tests;
impl Trait for &mut Narrow { fn third() {} }
";
        let found: Vec<_> =
            Source::read(file).methods().into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        assert_eq!(found, [("Narrow".to_owned(), 1), ("Wide".to_owned(), 3)]);
    }

    #[test]
    fn functions_have_their_lines() {
        let source = Source::read(FILE);
        let found: Vec<_> =
            source.functions().into_iter().map(|f| (f.name, f.first, f.last, f.is_test)).collect();
        assert_eq!(found, [("quote".into(), 5, 8, false), ("quotes_are_texts".into(), 11, 13, true)]);
    }
}
