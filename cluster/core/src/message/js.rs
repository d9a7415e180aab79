//! A field of a message as JavaScript reads it: as a truth value, a number or a string. Node's own code
//! converts most fields instead of checking them, so the values of a program arrive as the program wrote
//! them. `docs/node.md` lists the fields.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::serialization::advanced::numbers;
use crate::serialization::surrogates;
use crate::violation::FieldKind;

/// The value of a field. A list or an object stays unparsed, so its depth costs nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Js<'a> {
    Undefined,
    Null,
    Boolean(bool),
    /// A number, and the text, which is also JavaScript's text for the number.
    Number(f64, &'a str),
    Text(Cow<'a, str>),
    List(&'a str),
    Object,
}

/// The greatest depth of lists that are read. A nested list converts to a number if its innermost value does.
const DEPTH: u8 = 8;

/// The longest list that is joined, in bytes of JSON. The string of a longer list is too long for an address
/// or a key, and joining allocates many times the bytes of the list.
const LIST: usize = 64 << 10;

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> From<Option<&'a RawValue>> for Js<'a> {
    fn from(raw: Option<&'a RawValue>) -> Self {
        raw.map_or(Js::Undefined, |raw| Js::read(raw.get()))
    }
}

impl<'a> Js<'a> {
    /// Reads one JSON value without surrounding blanks.
    fn read(json: &'a str) -> Self {
        match json.as_bytes().first() {
            Some(b'n') => Js::Null,
            Some(b't') => Js::Boolean(true),
            Some(b'f') => Js::Boolean(false),
            Some(b'"') => Js::Text(text(json)),
            Some(b'[') => Js::List(json),
            Some(b'{') => Js::Object,
            Some(_) | None => Js::Number(float(json), json),
        }
    }

    pub(super) fn kind(&self) -> FieldKind {
        match self {
            Js::Undefined => FieldKind::Absent,
            Js::Null => FieldKind::Null,
            Js::Boolean(_) => FieldKind::Boolean,
            Js::Number(..) => FieldKind::Number,
            Js::Text(_) => FieldKind::Text,
            Js::List(_) => FieldKind::List,
            Js::Object => FieldKind::Object,
        }
    }

    /// JavaScript: `value == null`.
    pub(super) fn is_nullish(&self) -> bool {
        matches!(self, Js::Undefined | Js::Null)
    }

    /// JavaScript: `Boolean(value)`.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Js::Undefined | Js::Null => false,
            Js::Boolean(value) => *value,
            Js::Number(number, _) => *number != 0.0 && !number.is_nan(),
            Js::Text(text) => !text.is_empty(),
            Js::List(_) | Js::Object => true,
        }
    }

    /// JavaScript: `Number(value)`.
    pub(super) fn number(&self) -> f64 {
        match self {
            Js::Undefined | Js::Object => f64::NAN,
            Js::Null => 0.0,
            Js::Boolean(value) => f64::from(u8::from(*value)),
            Js::Number(number, _) => *number,
            Js::Text(text) => number_of(text),
            Js::List(_) => number_of(&self.text()),
        }
    }

    /// JavaScript: `value | 0`.
    #[expect(clippy::cast_possible_truncation, reason = "the modulus is what JavaScript takes, too")]
    pub(super) fn int32(&self) -> i32 {
        const MODULUS: f64 = 4_294_967_296.0;
        let number = self.number();
        // A float of this size is an integer of at most 53 bits, and the low 32 bits are the result.
        if number.is_finite() { (number % MODULUS) as i64 as i32 } else { 0 }
    }

    /// The value, if it is an integer that a float represents exactly.
    pub(super) fn integer(&self) -> Option<i64> {
        numbers::integer(self.number())
    }

    /// JavaScript: `String(value)`.
    pub(super) fn text(&self) -> Cow<'a, str> {
        self.text_within(DEPTH)
    }

    fn text_within(&self, depth: u8) -> Cow<'a, str> {
        match self {
            Js::Undefined => Cow::Borrowed("undefined"),
            Js::Null => Cow::Borrowed("null"),
            Js::Boolean(true) => Cow::Borrowed("true"),
            Js::Boolean(false) => Cow::Borrowed("false"),
            Js::Number(_, text) => Cow::Borrowed(*text),
            Js::Text(text) => text.clone(),
            Js::List(list) if list.len() > LIST => Cow::Borrowed(*list),
            Js::List(list) => Cow::Owned(joined(list, depth)),
            Js::Object => Cow::Borrowed("[object Object]"),
        }
    }
}

/// The value of a JSON number. Most numbers are short integers and need no rounding.
fn float(json: &str) -> f64 {
    json.parse::<u32>().map_or_else(|_| json.parse().unwrap_or(f64::NAN), f64::from)
}

/// The value of a JSON string. Without an escape, the value is the text between the quotes. A lone surrogate
/// becomes the replacement character.
fn text(json: &str) -> Cow<'_, str> {
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(plain) = inner.filter(|inner| memchr::memchr(b'\\', inner.as_bytes()).is_none()) {
        return Cow::Borrowed(plain);
    }
    if let Ok(Text(text)) = serde_json::from_str(json) {
        return text;
    }
    let mended = surrogates::without_lone_ones(json.as_bytes());
    let text = mended.and_then(|mended| serde_json::from_slice(&mended).ok());
    Cow::Owned(text.unwrap_or_default())
}

/// JavaScript: `list.join()`.
fn joined(list: &str, depth: u8) -> String {
    let Some(depth) = depth.checked_sub(1) else { return String::new() };
    let elements: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
    let texts = elements.into_iter().map(|element| {
        let element = Js::from(Some(element));
        if element.is_nullish() { Cow::Borrowed("") } else { element.text_within(depth) }
    });
    texts.collect::<Vec<_>>().join(",")
}

/// The number in a string. JavaScript: `Number(text)`.
fn number_of(text: &str) -> f64 {
    let text = text.trim();
    let radix = |radix, digits: &str| {
        let plain = digits.bytes().all(|digit| digit.is_ascii_alphanumeric());
        // A number that does not fit is neither a port nor a backlog.
        u64::from_str_radix(digits, radix).ok().filter(|_| plain).map_or(f64::NAN, as_float)
    };
    match text.get(..2) {
        Some("0x" | "0X") => radix(16, &text[2..]),
        Some("0o" | "0O") => radix(8, &text[2..]),
        Some("0b" | "0B") => radix(2, &text[2..]),
        Some(_) | None => match text {
            "" => 0.0,
            "Infinity" | "+Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ if text.bytes().any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E')) => {
                f64::NAN
            }
            _ => text.parse().unwrap_or(f64::NAN),
        },
    }
}

#[expect(clippy::cast_precision_loss, reason = "JavaScript has no other number")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results of Node 20 for `String(value)`, `Number(value)`, `value | 0` and `Boolean(value)`.
    #[test]
    fn values_convert_as_in_javascript() {
        let nan = f64::NAN;
        let table = [
            ("null", "null", 0.0, 0, false),
            ("true", "true", 1.0, 1, true),
            ("false", "false", 0.0, 0, false),
            ("0", "0", 0.0, 0, false),
            ("-1", "-1", -1.0, -1, true),
            ("0.5", "0.5", 0.5, 0, true),
            ("-1.5", "-1.5", -1.5, -1, true),
            ("1e+21", "1e+21", 1e21, -559_939_584, true),
            ("4294967297", "4294967297", 4_294_967_297.0, 1, true),
            ("2147483648", "2147483648", 2_147_483_648.0, i32::MIN, true),
            (r#""""#, "", 0.0, 0, false),
            (r#""0""#, "0", 0.0, 0, true),
            (r#"" 80 ""#, " 80 ", 80.0, 80, true),
            (r#""0x50""#, "0x50", 80.0, 80, true),
            (r#""0x+5""#, "0x+5", nan, 0, true),
            (r#""1e3""#, "1e3", 1000.0, 1000, true),
            (r#""inf""#, "inf", nan, 0, true),
            (r#""Infinity""#, "Infinity", f64::INFINITY, 0, true),
            (r#""+Infinity""#, "+Infinity", f64::INFINITY, 0, true),
            (r#""-Infinity""#, "-Infinity", f64::NEG_INFINITY, 0, true),
            (r#""eight""#, "eight", nan, 0, true),
            (r#""\ud800""#, "\u{fffd}", nan, 0, true),
            ("[]", "", 0.0, 0, true),
            ("[5]", "5", 5.0, 5, true),
            ("[[[7]]]", "7", 7.0, 7, true),
            ("[1,null,[2,{}]]", "1,,2,[object Object]", nan, 0, true),
            ("{}", "[object Object]", nan, 0, true),
        ];
        for (json, text, number, int32, truth) in table {
            let value = Js::read(json);
            assert_eq!((&*value.text(), value.int32(), value.is_true()), (text, int32, truth), "{json}");
            assert_eq!(value.number().to_bits(), number.to_bits(), "{json}");
        }
        assert_eq!((Js::Undefined.text(), Js::Undefined.int32()), ("undefined".into(), 0));
    }

    /// A list beyond the limit has its JSON as its string, and is not a number.
    #[test]
    fn long_list_is_its_json() {
        let list = |length: usize| alloc::format!("[{:>1$}]", 5, length - 2);
        assert_eq!(Js::read(&list(LIST)).text(), "5");
        assert_eq!(Js::read(&list(LIST + 1)).text(), list(LIST + 1));
    }

    /// A deep list does not overflow the stack.
    #[test]
    fn deep_list_has_no_number() {
        let deep = alloc::format!("{}7{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Js::read(&deep).int32(), 0);
    }
}
