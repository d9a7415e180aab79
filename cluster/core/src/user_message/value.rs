//! JSON values to text. The depth of a value uses no stack.

use alloc::vec::Vec;

use serde_json::{Map, Value, map};

/// The depth up to which recursion is used, because it is faster.
const SHALLOW: usize = 128;

pub(super) fn text(value: &Value) -> Vec<u8> {
    if is_deeper(value, SHALLOW) { deep(value) } else { plain(value) }
}

fn plain(value: &Value) -> Vec<u8> {
    // Written without `serde_json`, which would reserve too much memory for a counter or an id. A 0 is not
    // written here, because the value may be `-0`.
    if let Some(number @ (1.. | ..=-1)) = value.as_i64() {
        return itoa::Buffer::new().format(number).as_bytes().to_vec();
    }
    serde_json::to_vec(value).expect("a value of JSON has JSON")
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(|value| is_deeper(value, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|value| is_deeper(value, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The rest of an array or an object not written yet.
enum Rest<'a> {
    Array(core::slice::Iter<'a, Value>),
    Object(map::Iter<'a>),
}

fn deep(value: &Value) -> Vec<u8> {
    let (mut out, mut open) = (Vec::new(), Vec::new());
    begin(value, &mut out, &mut open);
    while let Some(rest) = open.last_mut() {
        let next = match rest {
            Rest::Array(values) => values.next().map(|value| (None, value)),
            Rest::Object(fields) => fields.next().map(|(name, value)| (Some(name), value)),
        };
        let Some((name, value)) = next else {
            out.push(if matches!(rest, Rest::Array(_)) { b']' } else { b'}' });
            open.pop();
            continue;
        };
        if !matches!(out.last(), Some(b'[' | b'{')) {
            out.push(b',');
        }
        if let Some(name) = name {
            out.extend(serde_json::to_vec(name).expect("a text has JSON"));
            out.push(b':');
        }
        begin(value, &mut out, &mut open);
    }
    out
}

fn begin<'a>(value: &'a Value, out: &mut Vec<u8>, open: &mut Vec<Rest<'a>>) {
    match value {
        Value::Array(values) => {
            out.push(b'[');
            open.push(Rest::Array(values.iter()));
        }
        Value::Object(fields) => {
            out.push(b'{');
            open.push(Rest::Object(Map::iter(fields)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.extend(plain(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deep_value_has_the_same_text() {
        let wraps: [fn(Value) -> Value; 2] =
            [|value| json!([value, {}, [], "{["]), |value| json!({ "{": value, "z": 1 })];
        for wrap in wraps {
            let value = (0..300).fold(json!("["), |value, _| wrap(value));
            assert!(is_deeper(&value, 299) && !is_deeper(&value, 301));
            assert_eq!(text(&value), plain(&value));
        }
    }
}
