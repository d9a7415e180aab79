//! Both sides of each edge: rare tags, the last byte within a limit, odd and even positions.

extern crate std;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

/// The longest time of a conversion. No conversion here takes so long.
const BOUND: Duration = Duration::from_secs(3);

/// The result of a conversion that ends within [`BOUND`].
fn within_bound<T: Send + 'static>(convert: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(convert()));
    receiver.recv_timeout(BOUND).expect("the conversion ends within its bound")
}

/// A payload: the header of the format, and then the body.
fn payload(body: &[u8]) -> Vec<u8> {
    [&[HEADER, VERSION][..], body].concat()
}

/// An array of length 3 without elements, and with one member of this name and the value `"x"`.
fn sparse(name: &[u8]) -> Vec<u8> {
    payload(&[b"a\x03", name, b"\"\x01x@\x01\x03"].concat())
}

fn double(number: f64) -> Vec<u8> {
    [&b"N"[..], &number.to_le_bytes()].concat()
}

#[test]
fn conversions_end() {
    let texts = [
        "[]",
        r#" [ 1 , -2.5e3 , true , false , null , "a\"b\\" ] "#,
        r#"{"a":[[],[1]],"b":{"c":"\ud800"},"b":"\u00e9"}"#,
        r#""\\\"\\""#,
        "17",
    ];
    for text in texts {
        let payload = within_bound(move || from_json(text));
        let read = payload.clone();
        within_bound(move || outline(&read)).expect("a payload of V8");
        let json = within_bound(move || stringified(&payload)).expect("a JSON form");
        serde_json::from_str::<serde::de::IgnoredAny>(&json).expect("JSON");
    }
    // Padding zeros may precede the end of an object.
    let padded = payload(b"o\"\x01a0\0\0{\x01");
    assert_eq!(within_bound(move || stringified(&padded)).as_deref(), Ok(r#"{"a":null}"#));
}

#[test]
fn views_are_json_of_node() {
    let cases: [(u32, &[u8], &str); 12] = [
        (0, &[0xFF, 1], r#"{"0":-1,"1":1}"#),
        (1, &[0xFF, 1], r#"{"0":255,"1":1}"#),
        (2, &[0xFF], r#"{"0":255}"#),
        (3, &[0xFE, 0xFF], r#"{"0":-2}"#),
        (4, &[0xFE, 0xFF], r#"{"0":65534}"#),
        (5, &[0xFE, 0xFF, 0xFF, 0xFF], r#"{"0":-2}"#),
        (6, &[0xFE, 0xFF, 0xFF, 0xFF], r#"{"0":4294967294}"#),
        (7, &[0, 0, 0xC0, 0x3F], r#"{"0":1.5}"#),
        (8, &[0, 0, 0, 0, 0, 0, 0xF8, 0x3F], r#"{"0":1.5}"#),
        (9, &[1], "{}"),
        (10, &[0xFF, 1], r#"{"type":"Buffer","data":[255,1]}"#),
        (13, &[0, 0x3D, 0, 0x7E], r#"{"0":1.25,"1":null}"#),
    ];
    for (kind, bytes, json) in cases {
        let mut out = String::new();
        views::put_view(kind, bytes, LIMIT, &mut out).expect("a short value");
        assert_eq!(out, json, "kind {kind}");
    }
}

#[test]
fn half_floats_are_exact() {
    for (bits, number) in [
        (0x3D00, 1.25),
        (0x3555, 0.333_251_953_125),
        (0x03FF, 1023.0 / 16_777_216.0),
        (0x7BFF, 65_504.0),
        (0x7C00, f64::INFINITY),
        (0xFC00, f64::NEG_INFINITY),
    ] {
        assert_eq!(views::half(bits).to_bits(), f64::to_bits(number), "{bits:x}");
    }
    assert!(views::half(0x7C01).is_nan() && views::half(0x7E00).is_nan());
    assert_eq!(views::half(0x8000).to_bits(), (-0.0_f64).to_bits());
}

/// A text of exactly the limit is written, and a text that is one byte longer is not. A long view stops at
/// the limit.
#[test]
fn limit_counts_every_byte() {
    let recorded = recorded().map(|(_, value)| written(&value));
    for payload in recorded.chain([sparse(b"I\x02")]) {
        let text = stringified(&payload).expect("a JSON form");
        assert_eq!(to_json(&payload, Rules::Stringify(text.len())).as_ref(), Ok(&text));
        assert_eq!(to_json(&payload, Rules::Stringify(text.len() - 1)), Err(NoJson::TooLong), "{text}");
    }
    for kind in [1, 10] {
        let mut out = String::new();
        assert_eq!(views::put_view(kind, &[7; 4096], 100, &mut out), Err(NoJson::TooLong));
        assert!(out.len() < 120, "{} bytes for a limit of 100", out.len());
    }
}

/// Repeated reads of a value count against the limit, even if little is written.
#[test]
fn references_cost_what_they_read() {
    const TIMES: usize = LIMIT / 512;
    // The object is far behind the beginning, so its position differs from the length.
    let object = [vec![0; LIMIT / 4], b"0o".to_vec(), vec![0; LIMIT / 256], b"I\x000{\x01".to_vec()].concat();
    let count = {
        let mut count = Vec::new();
        from_json::put_varint(TIMES + 2, &mut count);
        count
    };
    let body = [&b"A"[..], &count, &object, &[b'^', 1].repeat(TIMES), b"$\0", &count].concat();
    assert_eq!(stringified(&payload(&body)), Err(NoJson::TooLong));
}

/// An index may be a number of any form, or a text. Any other name is left out, as by `JSON.stringify`.
#[test]
fn sparse_arrays_take_indexes_alone() {
    let (with, without) = (r#"[null,"x",null]"#, "[null,null,null]");
    for (name, json) in [
        (b"I\x02".to_vec(), with),
        (b"U\x01".to_vec(), with),
        (double(1.0), with),
        (b"\"\x011".to_vec(), with),
        (double(0.5), without),
        (double(-1.0), without),
        (double(1e10), without),
        (b"\"\x01n".to_vec(), without),
    ] {
        assert_eq!(stringified(&sparse(&name)).as_deref(), Ok(json), "{name:x?}");
    }
}

/// Reads the tags that Node's recorded payloads do not contain.
#[test]
fn rare_tags_are_read() {
    for (body, json) in [
        (&b"U\xFF\xFF\xFF\xFF\x0F"[..], "4294967295"),
        (b"x", "false"),
        (b"y", "true"),
        (b"rFm\"\x01a.", "{}"),
        (b"rS.", "{}"),
        (b"rE.", "{}"),
        (b"rU.", "{}"),
        (b"o\"\x03msg1", ""),
    ] {
        let text = stringified(&payload(body));
        assert_eq!(text.unwrap_or_default(), json, "{body:x?}");
    }
    assert_eq!(stringified(&payload(b"_")), Err(NoJson::Nothing));
}

/// The value of a member is never read as a name.
#[test]
fn outline_has_names_alone() {
    let outline = |json| outline(&from_json(json)).expect("a payload of V8");
    assert_eq!(outline(r#"{"a":"cmd","NODE_A":1}"#), Outline::default());
    assert_eq!(outline(r#"{"a":{"cmd":"NODE_A"},"b":["cmd","NODE_A"]}"#), Outline::default());
    assert_eq!(outline(r#"{"a":1,"cmd":"NODE_A"}"#).cmd.as_deref(), Some("NODE_A"));
}

/// A name in two-byte characters is equal to the same name in one-byte characters.
#[test]
fn wide_names_are_names() {
    let wide = |text: &str| {
        let mut out = Vec::new();
        from_json::put_units(&text.encode_utf16().collect::<Vec<_>>(), &mut out);
        out.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>()
    };
    let object = |name: &str| payload(&[&b"o"[..], &wide(name), b"\"\x06NODE_A{\x01"].concat());
    assert_eq!(outline(&object("cmd")).expect("a payload of V8").cmd.as_deref(), Some("NODE_A"));
    for other in ["cmx", "xmd", "cm", "cmdd", "\u{163}md"] {
        assert_eq!(outline(&object(other)), Ok(Outline::default()), "{other}");
    }
}

/// Payloads that V8 never writes are malformed: a hole outside of an array, and a reference to an object that
/// has not begun.
#[test]
fn misplaced_tags_are_malformed() {
    for body in [&b"-"[..], b"o\"\x01a-{\x01", b";0-:\x02", b"A\x01^\x01$\0\x01"] {
        assert_eq!(outline(&payload(body)), Err(Violation::Malformed), "{body:x?}");
    }
    assert_eq!(stringified(&payload(b"A\x01-$\0\x01")).as_deref(), Ok("[null]"));
}

/// Lengths have seven bits per byte, in as few bytes as possible.
#[test]
fn lengths_are_written_as_by_v8() {
    for (number, bytes) in [(0, &[0][..]), (0x7F, &[0x7F]), (0x80, &[0x80, 1]), (0x3FFF, &[0xFF, 0x7F])] {
        let mut out = Vec::new();
        from_json::put_varint(number, &mut out);
        assert_eq!(out, bytes);
    }
}

/// The last of several members with the same name counts, even if all members have this name.
#[test]
fn last_of_one_name_counts() {
    assert_eq!(stringified(&from_json(r#"{"a":1,"a":2}"#)).as_deref(), Ok(r#"{"a":2}"#));
    assert_eq!(stringified(&from_json(r#"{"a":1,"b":3,"a":2}"#)).as_deref(), Ok(r#"{"a":2,"b":3}"#));
}

/// `Rules::Fields` omits exactly the members of an envelope.
#[test]
fn fields_leave_out_the_envelope() {
    let message = from_json(r#"{"msg":[1],"a":{"msg":2},"b":"msg"}"#);
    let fields = to_json(&message, Rules::Fields);
    assert_eq!(fields.as_deref(), Ok(r#"{"a":{"msg":2},"b":"msg"}"#));
    assert_eq!(stringified(&message).as_deref(), Ok(r#"{"msg":[1],"a":{"msg":2},"b":"msg"}"#));
}

/// V8 reads texts of two-byte characters only at even positions. After texts of any length, the positions are
/// even.
#[test]
fn wide_texts_stand_at_even_places() {
    let is_even = |payload: &[u8]| {
        let at = payload.windows(2).position(|pair| pair == [0x00, 0xD8]).expect("the text is there");
        at.is_multiple_of(2)
    };
    for length in 0..4 {
        let before = "x".repeat(length);
        for units in [1, 63, 64] {
            let text = r"\ud800".repeat(units);
            let payload = from_json(&std::format!(r#"["{before}","{text}"]"#));
            assert!(is_even(&payload), "{units} units behind {length} bytes");
            outline(&payload).expect("a payload of V8");
        }
        let enveloped = enveloped(&[("a", &before)], &payload(b"c\x02\0\xD8")).expect("a payload of V8");
        assert!(is_even(&enveloped), "in an envelope, behind {length} bytes");
    }
}
