//! JSON values to V8's structured clone. Texts that are not ASCII are written as UTF-8, which V8 reads but never writes.

use alloc::vec::Vec;

use serde_json::{Number, Value};

use super::{HEADER, VERSION};

/// A value as V8 reads it.
pub(crate) fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::from([HEADER, VERSION]);
    put(value, &mut out);
    out
}

fn put(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'0'),
        Value::Bool(true) => out.push(b'T'),
        Value::Bool(false) => out.push(b'F'),
        Value::Number(number) => put_number(number, out),
        Value::String(text) => put_text(text, out),
        Value::Array(values) => {
            out.push(b'A');
            put_varint(values.len(), out);
            for value in values {
                put(value, out);
            }
            // It has no properties but its elements.
            out.extend([b'$', 0]);
            put_varint(values.len(), out);
        }
        Value::Object(members) => {
            out.push(b'o');
            for (name, value) in members {
                put_text(name, out);
                put(value, out);
            }
            out.push(b'{');
            put_varint(members.len(), out);
        }
    }
}

/// JavaScript's small integers as integers, every other number as JavaScript has it.
fn put_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(small) = number.as_i64().and_then(|number| i32::try_from(number).ok()) {
        out.push(b'I');
        let zigzag = (small << 1) ^ (small >> 31);
        put_varint(usize::try_from(zigzag.cast_unsigned()).expect("32 bits are few"), out);
    } else {
        out.push(b'N');
        out.extend(number.as_f64().unwrap_or(0.0).to_le_bytes());
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(if text.is_ascii() { b'"' } else { b'S' });
    put_varint(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn put_varint(mut number: usize, out: &mut Vec<u8>) {
    while number > 0x7F {
        out.push(u8::try_from(number & 0x7F).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("seven bits"));
}
