//! Structured clones for a program: a value for every JavaScript type, and a Rust type for many.

use std::collections::BTreeMap;

use cluster_core::{BigInt, JsError, JsString, Message, MessageError, RegExp, Structured, ViewKind};
use serde::Deserialize;
use serde_json::json;

/// A message with this value.
fn message(value: &Structured) -> Message {
    Message::from_structured(value).expect("a writable value")
}

fn object(name: &str, value: Structured) -> Structured {
    Structured::Object(vec![(name.into(), value)])
}

fn text(text: &str) -> Structured {
    Structured::String(text.into())
}

/// One value of each kind.
fn values() -> Vec<Structured> {
    let error = JsError {
        name: "RangeError".into(),
        message: Some("m".into()),
        cause: Some(text("c")),
        stack: Some("s".into()),
    };
    let primitives = [
        Structured::Undefined,
        Structured::Null,
        Structured::Bool(true),
        Structured::Number(-0.0),
        Structured::Number(-5.0),
        Structured::Number(2e9),
        Structured::Number(1e300),
        Structured::BigInt(BigInt::from(-(1 << 100))),
        Structured::BigInt(BigInt::from(0)),
        text("gr\u{fc}\u{df} \u{1F600}"),
        Structured::String(JsString::from_units(&[0x61, 0xD800])),
    ];
    let mut values: Vec<Structured> = primitives[2..]
        .iter()
        .filter(|it| !matches!(it, Structured::Null))
        .cloned()
        .map(Box::new)
        .map(Structured::Boxed)
        .collect();
    values.extend(primitives);
    values.extend([
        Structured::Date(0.5),
        Structured::RegExp(Box::new(RegExp { source: "a+".into(), flags: 3 })),
        Structured::Array(vec![Structured::Hole, Structured::Null], vec![("n".into(), text("x"))]),
        Structured::SparseArray(u32::MAX, vec![("7".into(), text("x")), ("n".into(), Structured::Undefined)]),
        object("10", object("", Structured::Array(vec![], vec![]))),
        Structured::Map(vec![(object("k", Structured::Null), Structured::Set(vec![text("v")]))]),
        Structured::ArrayBuffer(vec![1, 2, 3].into(), None),
        Structured::ArrayBuffer(vec![1, 2, 3].into(), Some(9)),
        Structured::View(ViewKind::Buffer, vec![1, 2, 3].into()),
        Structured::View(ViewKind::Other(99), vec![].into()),
        Structured::Error(Box::new(error)),
        Structured::Host(Box::new(object("x", Structured::Null))),
        Structured::Array(vec![object("in", Structured::Reference(0)), Structured::Reference(1)], vec![]),
    ]);
    values
}

#[test]
fn values_survive_writing_and_reading() {
    for value in values() {
        assert_eq!(message(&value).structured(), Ok(value));
    }
    let all = Structured::Array(values().into_iter().take(20).collect(), vec![]);
    assert_eq!(message(&all).structured(), Ok(all));
}

#[test]
fn values_have_types_of_rust() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Plain,
        Of(u8),
    }
    let bytes = || Structured::View(ViewKind::Buffer, vec![1, 255].into());
    assert_eq!(message(&bytes()).to(), Ok(vec![1_u8, 255]));
    assert_eq!(
        message(&Structured::View(ViewKind::Int16Array, vec![254, 255].into())).to(),
        Ok(vec![-2_i16])
    );
    assert_eq!(message(&Structured::Date(0.0)).to(), Ok(String::from("1970-01-01T00:00:00.000Z")));
    assert_eq!(message(&Structured::BigInt(BigInt::from(-7))).to(), Ok(-7_i64));
    assert_eq!(message(&Structured::BigInt(BigInt::from(1 << 100))).to(), Ok(1_i128 << 100));
    assert_eq!(message(&Structured::Set(vec![text("a"), text("b")])).to(), Ok(["a", "b"].map(String::from)));
    let map = Structured::Map(vec![(Structured::Number(3.0), text("three"))]);
    assert_eq!(message(&map).to(), Ok(BTreeMap::from([(3_u8, String::from("three"))])));
    let twice =
        Structured::Array(vec![object("x", Structured::Number(1.0)), Structured::Reference(1)], vec![]);
    assert_eq!(message(&twice), json!([{ "x": 1 }, { "x": 1 }]));
    let holes = Structured::SparseArray(3, vec![("1".into(), text("x"))]);
    assert_eq!(message(&holes), json!([null, "x", null]));
    assert_eq!(message(&object("gone", Structured::Undefined)), json!({}));
    assert_eq!(message(&text("plain")).to(), Ok(Kind::Plain));
    assert_eq!(message(&object("of", Structured::Number(5.0))).to(), Ok(Kind::Of(5)));
    assert_eq!(message(&Structured::Undefined).to(), Ok(None::<u8>));
    let error = values()
        .into_iter()
        .find(|it| matches!(it, Structured::Error(_)))
        .expect("an error among the values");
    assert_eq!(message(&error), json!({ "name": "RangeError", "message": "m", "stack": "s" }));
}

/// If a value has no form in the requested type, the error names the value and its position.
#[test]
fn value_without_form_is_named() {
    let expression = || Structured::RegExp(Box::new(RegExp { source: "a".into(), flags: 0 }));
    let inside = object("list", Structured::Array(vec![Structured::Null, expression()], vec![]));
    let error = message(&inside).json().expect_err("it has no JSON");
    let expected =
        "message.list[1] is or holds a regular expression, which has no form in the requested type";
    assert_eq!(error.to_string(), expected);
    let cycle = object("self", Structured::Reference(0));
    let is_cycle = |error| matches!(error, MessageError::NoForm { what: "an object inside itself", .. });
    assert!(is_cycle(message(&cycle).json().expect_err("it has no end")));
    let huge = Structured::BigInt(BigInt::from_le_bytes(false, &[255; 20]));
    assert!(matches!(message(&huge).json(), Err(MessageError::NoForm { .. })));
    let wrong = message(&object("n", text("x"))).to::<BTreeMap<String, u8>>().expect_err("it is a text");
    assert_eq!(
        wrong.to_string(),
        "the message and the type do not fit: at .n: invalid type: string \"x\", expected u8"
    );
}

/// A reason quotes the ends of a long value, in JSON and in a structured clone, and splits no character.
#[test]
fn reason_of_long_value_is_short() {
    let long = "\u{e9}".repeat(1_000_000);
    for message in [Message::from(long.as_str()), message(&text(&long))] {
        let reason = message.to::<u8>().expect_err("it is a text").to_string();
        assert!(reason.len() < 400, "{} bytes", reason.len());
        assert!(reason.contains("invalid type: string") && reason.contains("expected u8"), "{reason}");
    }
}

/// Reading a value that is too deep, or doubles with each level, fails in bounded time.
#[test]
fn value_beyond_bounds_is_refused() {
    let nested =
        |levels| (0..levels).fold(Structured::Null, |inner, _| Structured::Array(vec![inner], vec![]));
    assert!(message(&nested(128)).structured().is_ok());
    assert_eq!(Message::from_structured(&nested(129)), Err(MessageError::TooDeep));
    let text = ["[".repeat(10_000), "]".repeat(10_000)].concat();
    let deep = Message::from_json_text(text).expect("JSON");
    assert_eq!((deep.structured(), deep.json()), (Err(MessageError::TooDeep), Err(MessageError::TooDeep)));
    let doubling = (1..60).map(|object| {
        let before = if object == 1 { Structured::Null } else { Structured::Reference(object - 1) };
        Structured::Array(vec![before.clone(), before], vec![])
    });
    let doubling = Structured::Array(doubling.collect(), vec![]);
    assert_eq!(message(&doubling).json(), Err(MessageError::TooLong));
    assert!(Message::from_structured(&Structured::Reference(0)).is_err());
    let long = Structured::SparseArray(u32::MAX, vec![]);
    assert_eq!(message(&long).json(), Err(MessageError::TooLong));
}

/// A JSON message has JSON values only, and keeps the values that no Rust string can hold.
#[test]
fn json_is_read_exactly() {
    let message = Message::from_json_text(r#"{"b": -0.0, "a": "\ud800"}"#).expect("JSON");
    let members = vec![
        ("b".into(), Structured::Number(-0.0)),
        ("a".into(), Structured::String(JsString::from_units(&[0xD800]))),
    ];
    assert_eq!(message.structured(), Ok(Structured::Object(members)));
    assert_eq!(message.json().map(|it| it["a"].clone()), Ok(json!("\u{fffd}")));
    assert_eq!(message.as_bytes(), br#"{"b": -0.0, "a": "\ud800"}"#);
    assert!(matches!(Message::from_json_text("{"), Err(MessageError::NotJson { .. })));
    assert_eq!(format!("{message:?}"), "Message(json, 26 bytes)");
}
