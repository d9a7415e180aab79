use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::message::Violation;

const LIMIT: usize = 1 << 20;

fn read(payload: &[u8], mut spare: usize) -> Result<Value, Violation> {
    super::read(payload, &mut spare)
}

/// What `process.send` of Node 20 wrote in mode 'advanced', and what it wrote of the same value in mode 'json'; where
/// that refuses or cannot be read (a lone surrogate), what is said to stand for it.
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

#[test]
fn what_node_wrote_is_read_as_its_json() {
    assert_eq!(recorded().count(), 52);
    for (payload, value) in recorded() {
        assert_eq!(read(&payload, LIMIT), Ok(value), "{payload:x?}");
    }
}

#[test]
fn what_is_cut_off_is_malformed() {
    for (payload, value) in recorded() {
        for end in 0..payload.len() {
            assert_eq!(read(&payload[..end], LIMIT), Err(Violation::Malformed), "{value} up to {end}");
        }
    }
}

#[test]
fn what_is_written_is_v8s() {
    let value = json!({"a": [1, -2, 2_147_483_648_u32, 1.5, "x", null, true, false], "\u{fc}": "\u{1F600}"});
    let text = "ff0f6f2201614108490249034e000000000000e0414e000000000000f83f220178305446240008\
                5302c3bc5304f09f98807b02";
    assert_eq!(write(&value), bytes(text));
    assert_eq!(read(&write(&value), LIMIT), Ok(value));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| [vec![0xFF, 15], [b'A', 1].repeat(depth), vec![b'0']].concat();
    let closed = |depth: usize| [nested(depth), [b'$', 0, 1].repeat(depth)].concat();
    assert!(read(&closed(128), LIMIT).is_ok());
    assert_eq!(read(&closed(129), LIMIT), Err(Violation::Malformed));
    assert_eq!(read(&nested(LIMIT / 4), LIMIT), Err(Violation::Malformed));
    let padded = [vec![0xFF, 15], vec![0; LIMIT / 2], vec![b'T']].concat();
    assert_eq!(read(&padded, LIMIT), Ok(json!(true)), "padding is not depth");
}

#[test]
fn a_few_bytes_do_not_become_many() {
    // Each array holds the one before it, twice.
    let mut doubling = vec![0xFF, 15, b'A', 26, b'A', 0, b'$', 0, 0];
    for object in 1..26 {
        doubling.extend([b'A', 2, b'^', object, b'^', object, b'$', 0, 2]);
    }
    doubling.extend([b'$', 0, 26]);
    assert_eq!(read(&doubling, LIMIT), Err(Violation::TooLong));
    // An array of four thousand million holes.
    let sparse = [0xFF, 15, b'a', 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, b'@', 0, 0];
    assert_eq!(read(&sparse, LIMIT), Err(Violation::TooLong));
    let dense = [0xFF, 15, b'A', 0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    assert_eq!(read(&dense, LIMIT), Err(Violation::Malformed));
}

#[test]
fn many_payloads_make_no_more_than_one() {
    // An array of a quarter of a million holes.
    let holes = [0xFF, 15, b'a', 0x80, 0x80, 0x10, b'@', 0, 0];
    let mut spare = LIMIT;
    let read = [(); 3].map(|()| super::read(&holes, &mut spare).map(drop));
    assert_eq!(read, [Ok(()), Ok(()), Err(Violation::TooLong)]);
    let plain = write(&json!([1, "two", {"three": 4}]));
    assert!(super::read(&plain, &mut 0).is_ok(), "what is as long as it says costs nothing");
}

/// What a stranger may have us read again is paid for each time, also what makes nothing.
#[test]
fn a_few_bytes_are_not_read_for_ever() {
    let member = b"I\x000\x7B\x01".to_vec();
    let padding = [vec![b'o'], vec![0; LIMIT / 4], member.clone()].concat();
    let counts = [vec![b'o'], [b'?', 0].repeat(LIMIT / 8), member].concat();
    let error = [vec![b'r'], vec![b'E'; LIMIT / 4], vec![b'.']].concat();
    for object in [padding, counts, error] {
        let references = [b'^', 1].repeat(LIMIT / 8);
        let count = [0x81, 0x80, 0x08];
        let payload = [&[0xFF, 15, b'A'][..], &count, &object, &references, b"$\0\0"].concat();
        assert_eq!(read(&payload, LIMIT), Err(Violation::TooLong));
    }
}

#[test]
fn an_object_is_read_again_where_it_is_referred_to() {
    // [{"a": {}}, the second object again, the whole array]
    let payload = bytes("ff0f4103 6f2201616f7b007b01 5e02 5e00 240003".replace(' ', "").as_str());
    assert_eq!(read(&payload, LIMIT), Ok(json!([{"a": {}}, {}, null])));
    let unknown = [0xFF, 15, b'^', 7];
    assert_eq!(read(&unknown, LIMIT), Err(Violation::Malformed));
}

#[test]
fn big_integers_are_texts() {
    for (is_negative, digits, text) in [
        (false, vec![], "0"),
        (true, vec![0xFF, 0, 0], "-255"),
        (false, vec![0xFF; 16], "340282366920938463463374607431768211455"),
        (true, [vec![1; 16], vec![2, 0]].concat(), "-0x0201010101010101010101010101010101"),
    ] {
        assert_eq!(lossy::big_integer(is_negative, &digits), text);
    }
}

#[test]
fn the_longest_integers_of_a_typed_array_are_texts() {
    let bytes = [&[0xFF; 8][..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(lossy::view(11, &bytes), json!({"0": "-1", "1": "1"}));
    assert_eq!(lossy::view(12, &bytes), json!({"0": "18446744073709551615", "1": "1"}));
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (milliseconds, text) in [
        (951_782_400_000.0, json!("2000-02-29T00:00:00.000Z")),
        (4_107_542_399_999.0, json!("2100-02-28T23:59:59.999Z")),
        (4_107_542_400_000.0, json!("2100-03-01T00:00:00.000Z")),
        (-1.0, json!("1969-12-31T23:59:59.999Z")),
        (8.65e15, Value::Null),
    ] {
        assert_eq!(lossy::date(milliseconds), text);
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
    fn what_is_written_is_read(value in json_value()) {
        prop_assert_eq!(read(&write(&value), LIMIT), Ok(value));
    }

    /// Whatever it is: it is read, or it is refused, soon.
    #[test]
    fn noise_hurts_nobody(
        value in json_value(),
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut payload = write(&value);
        for (at, byte) in noise {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let _ = read(&payload, LIMIT);
    }

    #[test]
    fn tags_in_any_order_hurt_nobody(
        tags in proptest::collection::vec(prop_oneof![
            prop::sample::select(&b"oAaDyxnzsRr;:',.B~\\^\"cSNIUZ{@$_-0TF?m"[..]),
            0..9u8,
        ], 0..60),
    ) {
        let payload = [vec![0xFF, 15], tags].concat();
        if let Ok(value) = read(&payload, LIMIT) {
            prop_assert!(value.to_string().len() < LIMIT);
        }
    }
}
