//! What JSON makes of JavaScript's values that it has no word for: numbers, big integers, dates, typed arrays.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value, json};

/// A number; there is no NaN and no infinity in JSON.
#[expect(clippy::cast_possible_truncation, reason = "it is an integer of less than 54 bits")]
pub(super) fn number(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if (-EXACT..=EXACT).contains(&number) && number % 1.0 == 0.0 {
        return Value::from(number as i64);
    }
    Value::from(number)
}

/// A big integer of these digits, the lowest first.
pub(super) fn big_integer(is_negative: bool, digits: &[u8]) -> String {
    let significant = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
    let sign = if is_negative { "-" } else { "" };
    let mut small = [0; 16];
    if let Some(low) = small.get_mut(..significant) {
        low.copy_from_slice(&digits[..significant]);
        return format!("{sign}{}", u128::from_le_bytes(small));
    }
    let hexadecimal = digits[..significant].iter().rev().map(|digit| format!("{digit:02x}"));
    format!("{sign}0x{}", hexadecimal.collect::<String>())
}

/// A date, in milliseconds since 1970. JavaScript: `toISOString`.
#[expect(clippy::cast_possible_truncation, reason = "a date has less than 54 bits")]
pub(super) fn date(milliseconds: f64) -> Value {
    const LAST: f64 = 8.64e15;
    if !(-LAST..=LAST).contains(&milliseconds) {
        return Value::Null;
    }
    let milliseconds = milliseconds as i64;
    let (year, month, day) = civil(milliseconds.div_euclid(86_400_000));
    let time = milliseconds.rem_euclid(86_400_000);
    let (hour, minute, second) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time % 1000).into()
}

/// Year, month and day of so many days after 1970. Years begin in March here, so that the leap day is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// A typed array, a buffer or a data view, by Node's number for its kind.
pub(super) fn view(kind: u64, bytes: &[u8]) -> Value {
    let elements: Vec<Value> = match kind {
        0 => each(bytes, |[byte]| i8::from_le_bytes([byte]).into()),
        1 | 2 => each(bytes, |[byte]| byte.into()),
        3 => each(bytes, |bytes| i16::from_le_bytes(bytes).into()),
        4 => each(bytes, |bytes| u16::from_le_bytes(bytes).into()),
        5 => each(bytes, |bytes| i32::from_le_bytes(bytes).into()),
        6 => each(bytes, |bytes| u32::from_le_bytes(bytes).into()),
        7 => each(bytes, |bytes| number(f32::from_le_bytes(bytes).into())),
        8 => each(bytes, |bytes| number(f64::from_le_bytes(bytes))),
        10 => return json!({ "type": "Buffer", "data": bytes }),
        11 => each(bytes, |bytes| i64::from_le_bytes(bytes).to_string().into()),
        12 => each(bytes, |bytes| u64::from_le_bytes(bytes).to_string().into()),
        // A data view has no elements; what came later is not known here.
        _ => Vec::new(),
    };
    let members = elements.into_iter().enumerate().map(|(index, element)| (index.to_string(), element));
    Value::Object(members.collect::<Map<_, _>>())
}

fn each<const SIZE: usize>(bytes: &[u8], element: impl Fn([u8; SIZE]) -> Value) -> Vec<Value> {
    bytes.as_chunks().0.iter().map(|chunk| element(*chunk)).collect()
}
