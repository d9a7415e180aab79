//! Typed arrays, buffers and data views in JSON. Node numbers these kinds.

use alloc::string::String;

use super::no_json::NoJson;
use super::numbers::{self, append};

/// Node's number of an array of 16-bit floats, which exist since Node 24.
const FLOAT16: u32 = 13;

/// Appends the elements of a view: at most `limit` bytes and one element.
pub(super) fn put_view(kind: u32, bytes: &[u8], limit: usize, out: &mut String) -> Result<(), NoJson> {
    match kind {
        0 => elements(bytes, limit, out, |[byte], out| {
            append(out, format_args!("{}", i8::from_le_bytes([byte])));
        }),
        1 | 2 => elements(bytes, limit, out, |[byte], out| append(out, format_args!("{byte}"))),
        3 => elements(bytes, limit, out, |n, out| append(out, format_args!("{}", i16::from_le_bytes(n)))),
        4 => elements(bytes, limit, out, |n, out| append(out, format_args!("{}", u16::from_le_bytes(n)))),
        5 => elements(bytes, limit, out, |n, out| append(out, format_args!("{}", i32::from_le_bytes(n)))),
        6 => elements(bytes, limit, out, |n, out| append(out, format_args!("{}", u32::from_le_bytes(n)))),
        7 => elements(bytes, limit, out, |n, out| numbers::put(f32::from_le_bytes(n).into(), out)),
        8 => elements(bytes, limit, out, |n, out| numbers::put(f64::from_le_bytes(n), out)),
        10 => buffer(bytes, limit, out),
        11 | 12 if !bytes.is_empty() => Err(NoJson::BigInt),
        FLOAT16 => elements(bytes, limit, out, |n, out| numbers::put(half(u16::from_le_bytes(n)), out)),
        // A data view has no elements, and later kinds are unknown here.
        _ => {
            out.push_str("{}");
            Ok(())
        }
    }
}

fn buffer(bytes: &[u8], limit: usize, out: &mut String) -> Result<(), NoJson> {
    out.push_str(r#"{"type":"Buffer","data":["#);
    for (index, byte) in bytes.iter().enumerate() {
        append(out, format_args!("{}{byte}", if index == 0 { "" } else { "," }));
        within(limit, out)?;
    }
    out.push_str("]}");
    Ok(())
}

fn elements<const SIZE: usize>(
    bytes: &[u8],
    limit: usize,
    out: &mut String,
    element: impl Fn([u8; SIZE], &mut String),
) -> Result<(), NoJson> {
    out.push('{');
    for (index, chunk) in bytes.as_chunks().0.iter().enumerate() {
        append(out, format_args!("{}\"{index}\":", if index == 0 { "" } else { "," }));
        element(*chunk, out);
        within(limit, out)?;
    }
    out.push('}');
    Ok(())
}

fn within(limit: usize, out: &str) -> Result<(), NoJson> {
    if out.len() > limit { Err(NoJson::TooLong) } else { Ok(()) }
}

/// The value of a 16-bit float.
pub(crate) fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    let magnitude = match exponent {
        0 => fraction * exp2(-24),
        0x1F if fraction == 0.0 => f64::INFINITY,
        0x1F => f64::NAN,
        _ => (1024.0 + fraction) * exp2(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// A power of two, from 2^-24 to 2^5.
fn exp2(exponent: i32) -> f64 {
    f64::from_bits(u64::try_from(exponent + 1023).expect("a positive exponent") << 52)
}
