mod edges;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::message::{ChannelMessage, Frame, decode_advanced};

const LIMIT: usize = 1 << 20;

/// The text that `JSON.stringify` returns for a payload.
fn stringified(payload: &[u8]) -> Result<String, NoJson> {
    to_json(payload, Rules::Stringify(LIMIT))
}

fn value(payload: &[u8]) -> Result<Value, NoJson> {
    stringified(payload).map(|text| serde_json::from_str(&text).expect("JSON"))
}

fn written(value: &Value) -> Vec<u8> {
    from_json(&value.to_string())
}

/// What Node 20's `process.send` writes in mode 'advanced', and for the same value in mode 'json'. If mode
/// 'json' throws, as for a big integer, the second column has another text.
const RECORDED: &str = include_str!("../../../tests/recorded/advanced-node-20.txt");

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hexadecimal[at..at + 2], 16).expect("two digits");
    (0..hexadecimal.len()).step_by(2).map(byte).collect()
}

fn recorded() -> impl Iterator<Item = (Vec<u8>, Value)> {
    RECORDED.lines().map(|line| {
        let (payload, value) = line.split_once(' ').expect("two columns");
        (bytes(payload), serde_json::from_str(value).expect("JSON"))
    })
}

/// A payload of Node is kept unchanged, unless its `cmd` begins with `NODE_`.
#[test]
fn payloads_of_node_are_kept() {
    assert_eq!(recorded().count(), 52);
    for (payload, _) in recorded() {
        let frame = decode_advanced(&payload, &bytes::Bytes::copy_from_slice).expect("Node wrote it");
        if let Frame::Message(ChannelMessage::User(message)) = frame {
            assert_eq!(message.as_bytes(), payload);
        }
    }
}

/// `JSON.stringify` throws for a big integer and for an object inside itself, and escapes a lone surrogate.
#[test]
fn stringified_payload_is_json_of_node() {
    for (payload, json) in recorded() {
        match stringified(&payload) {
            Ok(text) if text.contains(r"\ud800") => assert_eq!(json, json!({"v": "\u{fffd}"})),
            Ok(text) => assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(json), "{payload:x?}"),
            Err(NoJson::BigInt) => assert!(payload.iter().any(|byte| b"Zz\x0b".contains(byte))),
            Err(error) => {
                assert_eq!((error, &json), (NoJson::Cycle, &json!({"v": {"name": "c", "self": null}})));
            }
        }
    }
}

#[test]
fn cut_payload_is_malformed() {
    for (payload, value) in recorded() {
        for end in 0..payload.len() {
            assert_eq!(outline(&payload[..end]), Err(Violation::Malformed), "{value} up to {end}");
        }
    }
}

#[test]
fn written_json_is_v8s() {
    let value = json!({"a": [1, -2, 2_147_483_648_u32, 1.5, "x", null, true, false], "\u{fc}": "\u{1F600}"});
    let text = "ff0f6f2201614108490249034e000000000000e0414e000000000000f83f220178305446240008\
                5302c3bc5304f09f98807b02";
    assert_eq!(written(&value), bytes(text));
}

/// Numbers become what JavaScript reads, lone surrogates and the order of members are kept, and the last
/// member of a name counts.
#[test]
fn json_is_converted_exactly() {
    for (json, back) in [
        ("[0.1, 1e400, -0, -0.0, 1.0, 5e-324]", "[0.1,null,0,0,1,5e-324]"),
        (r#"{"b":1,"a":{"c":[]},"b":{"d":2}}"#, r#"{"b":{"d":2},"a":{"c":[]}}"#),
        (r#"["\ud83d","\udc00a","\u00e9\n\"\\\/"]"#, "[\"\\ud83d\",\"\\udc00a\",\"\u{e9}\\n\\\"\\\\/\"]"),
        (r#" {"x" : [ [ ] , [1 , [2]] , { } ] } "#, r#"{"x":[[],[1,[2]],{}]}"#),
    ] {
        let payload = from_json(json);
        outline(&payload).expect("a payload of V8");
        assert_eq!(stringified(&payload).as_deref(), Ok(back));
    }
}

/// 100,000 levels use no stack.
#[test]
fn depth_is_no_danger() {
    const DEPTH: usize = 100_000;
    let arrays = ["[".repeat(DEPTH), "]".repeat(DEPTH)].concat();
    let objects = [r#"{"a":"#.repeat(DEPTH), "1".into(), "}".repeat(DEPTH)].concat();
    for json in [arrays, objects] {
        let payload = from_json(&json);
        assert_eq!(outline(&payload), Ok(Outline::default()));
        assert_eq!(stringified(&payload), Ok(json));
    }
    let unfinished = [vec![0xFF, 15], [b'A', 1].repeat(DEPTH)].concat();
    assert_eq!(outline(&unfinished), Err(Violation::Malformed));
}

/// A value with several references is written several times, up to the limit.
#[test]
fn few_bytes_stay_within_the_limit() {
    // Each array contains the array before it twice.
    let mut doubling = vec![0xFF, 15, b'A', 26, b'A', 0, b'$', 0, 0];
    for object in 1..26 {
        doubling.extend([b'A', 2, b'^', object, b'^', object, b'$', 0, 2]);
    }
    doubling.extend([b'$', 0, 26]);
    assert_eq!(outline(&doubling), Ok(Outline::default()));
    assert_eq!(stringified(&doubling), Err(NoJson::TooLong));
    // An array of four thousand million missing elements.
    let sparse = [0xFF, 15, b'a', 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, b'@', 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    assert_eq!(outline(&sparse), Ok(Outline::default()));
    assert_eq!(stringified(&sparse), Err(NoJson::TooLong));
    let dense = [0xFF, 15, b'A', 0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    assert_eq!(outline(&dense), Err(Violation::Malformed));
}

/// Each time a value is read again, its bytes are counted, even if nothing is written.
#[test]
fn repeated_reading_is_bounded() {
    let member = b"I\x000\x7B\x01".to_vec();
    let padding = [vec![b'o'], vec![0; LIMIT / 4], member.clone()].concat();
    let counts = [vec![b'o'], [b'?', 0].repeat(LIMIT / 8), member].concat();
    let error = [vec![b'r'], vec![b'E'; LIMIT / 4], vec![b'.']].concat();
    for object in [padding, counts, error] {
        let references = [b'^', 1].repeat(LIMIT / 8);
        let count = [0x81, 0x80, 0x08];
        let payload = [&[0xFF, 15, b'A'][..], &count, &object, &references, b"$\0", &count].concat();
        assert_eq!(outline(&payload), Ok(Outline::default()));
        assert_eq!(stringified(&payload), Err(NoJson::TooLong));
    }
}

/// A value with a reference is written again, an object inside itself has no JSON form, and wrong counts are
/// a violation.
#[test]
fn references_are_followed() {
    assert_eq!(value(&bytes("ff0f41026f2201616f7b007b015e02240002")), Ok(json!([{"a": {}}, {}])));
    assert_eq!(value(&bytes("ff0f41015e00240001")), Err(NoJson::Cycle));
    assert_eq!(outline(&[0xFF, 15, b'^', 7]), Err(Violation::Malformed));
    assert_eq!(outline(&bytes("ff0f41015e00240002")), Err(Violation::Malformed));
    assert_eq!(outline(&bytes("ff0f6f2201615e007b02")), Err(Violation::Malformed));
}

/// A value in an envelope has references only to itself, and the objects have other numbers in the envelope.
#[test]
fn enveloped_payload_is_detached_again() {
    let texts = [("cmd", "NODE_HANDLE"), ("type", "net.Socket")];
    let cyclic = bytes("ff0f41036f22017849027b015e015e00240003");
    for (payload, _) in recorded().chain([(cyclic, Value::Null)]) {
        let enveloped = enveloped(&texts, &payload).expect("Node wrote it");
        let outline = outline(&enveloped).expect("a payload of V8");
        assert_eq!(outline.cmd.as_deref(), Some("NODE_HANDLE"));
        let detached = detached(&enveloped, &outline.msg.expect("the member `msg`"))
            .expect("a payload with a reference to itself");
        let padding = usize::from(detached[2] == 0);
        assert_eq!(detached[2 + padding..], payload[2..]);
    }
    // A value with a reference to its envelope.
    let escaping = bytes("ff0f6f2203636d64220b4e4f44455f48414e444c4522036d736741015e002400017b02");
    let msg = outline(&escaping).expect("a payload of V8").msg.expect("the member `msg`");
    assert_eq!(detached(&escaping, &msg), Err(Violation::Malformed));
}

#[test]
fn typed_arrays_are_objects_of_elements() {
    let text = |kind, bytes: &[u8]| {
        let mut out = String::new();
        views::put_view(kind, bytes, LIMIT, &mut out).map(|()| out)
    };
    assert_eq!(text(11, &[0xFF; 8]), Err(NoJson::BigInt));
    assert_eq!(text(12, &[]).as_deref(), Ok("{}"));
    let half = text(13, &[0, 0x3C, 0, 0xC0, 1, 0, 0, 0x7C]);
    assert_eq!(half.as_deref(), Ok(r#"{"0":1,"1":-2,"2":5.960464477539063e-8,"3":null}"#));
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (milliseconds, text) in [
        (951_782_400_000.0, Some("2000-02-29T00:00:00.000Z")),
        (4_107_542_399_999.0, Some("2100-02-28T23:59:59.999Z")),
        (4_107_542_400_000.0, Some("2100-03-01T00:00:00.000Z")),
        (-1.0, Some("1969-12-31T23:59:59.999Z")),
        (8.65e15, None),
    ] {
        assert_eq!(date::iso(milliseconds).as_deref(), text);
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-9_007_199_254_740_992_i64..9_007_199_254_740_992).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        let object = proptest::collection::btree_map(any::<String>(), inner.clone(), 0..8);
        prop_oneof![
            proptest::collection::vec(inner, 0..8).prop_map(Value::from),
            object.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn written_json_is_read(json in json_value()) {
        let payload = written(&json);
        prop_assert_eq!(outline(&payload).map(drop), Ok(()));
        prop_assert_eq!(value(&payload), Ok(json));
    }

    /// Any bytes are either read or rejected, in bounded time.
    #[test]
    fn noise_is_read_or_rejected(
        value in json_value(),
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut payload = written(&value);
        for (at, byte) in noise {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        read_every_way(&payload);
    }

    #[test]
    fn random_tags_are_read_or_rejected(
        tags in proptest::collection::vec(prop_oneof![
            prop::sample::select(&b"oAaDyxnzsRr;:',.B~\\^\"cSNIUZ{@$_-0TF?m"[..]),
            0..9u8,
        ], 0..60),
    ) {
        read_every_way(&[vec![0xFF, 15], tags].concat());
    }
}

fn read_every_way(payload: &[u8]) {
    let _ = decode_advanced(payload, &bytes::Bytes::copy_from_slice);
    let is_whole = outline(payload).is_ok();
    let text = stringified(payload);
    // If a value cannot be written, it is not read to its end.
    assert!(is_whole || text.is_err(), "{text:?}");
    if let Ok(text) = text {
        assert!(text.len() <= LIMIT);
        serde_json::from_str::<serde::de::IgnoredAny>(&text).expect("JSON");
    }
    let fields = to_json(payload, Rules::Fields);
    assert_eq!(is_whole, matches!(fields, Ok(_) | Err(NoJson::Nothing)), "{fields:?}");
}
