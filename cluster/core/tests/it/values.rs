//! Values compared with their Rust counterparts, and their bytes, names and texts.

use std::fmt;

use cluster_core::{
    AddressType, BigInt, Event, ExitStatus, FieldKind, JsError, JsString, ListenAddress, ListeningAddress,
    Message, MessageError, OutOfRange, Structured, ViewKind, Violation, WorkerError, WorkerId,
};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::{Value, json};

fn message(value: &Structured) -> Message {
    Message::from_structured(value).expect("a writable value")
}

fn object(name: &str, value: Structured) -> Structured {
    Structured::Object(vec![(name.into(), value)])
}

#[test]
fn messages_equal_their_values() {
    let text = Message::from("a");
    assert_eq!(text, "a");
    assert_eq!(text, *"a");
    assert_ne!(text, "b");
    assert_ne!(text, *"b");
    let value = json!({ "a": 1 });
    assert_eq!(Message::from(&value), value);
    assert_eq!(value, Message::from(&value));
    assert_ne!(Message::from(&value), json!({ "a": 2 }));
    assert_ne!(json!({ "a": 2 }), Message::from(&value));
    assert_eq!(JsString::from("a"), "a");
    assert_ne!(JsString::from("a"), "b");
    assert_eq!(format!("{:?}", JsString::from("a")), r#""a""#);
}

/// An event about a worker has the worker; an event about the cluster has none.
#[test]
fn events_name_their_worker() {
    let worker = WorkerId(7);
    let address = ListeningAddress { address: None, port: 1, address_type: AddressType::V4, fd: None };
    for event in [
        Event::Fork { worker },
        Event::Online { worker },
        Event::Listening { worker, address },
        Event::Disconnect { worker },
        Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect: false },
        Event::Error { worker, error: WorkerError::NotReceived },
    ] {
        assert_eq!(event.worker(), Some(worker), "{event:?}");
    }
    assert_eq!(Event::AllDisconnected.worker(), None);
}

/// The texts of one type are distinct, and none is empty.
#[test]
fn texts_differ() {
    #[track_caller]
    fn check<T: fmt::Display>(values: &[T]) {
        let mut texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        assert!(texts.iter().all(|text| !text.is_empty()), "{texts:?}");
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), values.len(), "{texts:?}");
    }
    check(&[
        AddressType::V4,
        AddressType::V6,
        AddressType::Path,
        AddressType::Udp4,
        AddressType::Udp6,
        AddressType::Descriptor,
    ]);
    let kinds = [
        FieldKind::Absent,
        FieldKind::Null,
        FieldKind::Boolean,
        FieldKind::Number,
        FieldKind::Text,
        FieldKind::List,
        FieldKind::Object,
    ];
    check(&kinds);
    check(&kinds.map(|found| Violation::BadFields { field: "type", found }));
    check(&[OutOfRange]);
}

/// An address at port 0 is no path.
#[test]
fn port_zero_is_a_port() {
    let at =
        ListeningAddress { address: Some("::".into()), port: 0, address_type: AddressType::V6, fd: None };
    assert_eq!(at.to_string(), "[::]:0");
}

/// The name of an error is one byte, as V8 writes it; an unknown name is omitted.
#[test]
fn error_names_are_v8s() {
    for (name, tag) in [
        ("EvalError", &b"E"[..]),
        ("RangeError", b"R"),
        ("ReferenceError", b"F"),
        ("SyntaxError", b"S"),
        ("TypeError", b"T"),
        ("URIError", b"U"),
        ("Error", b""),
    ] {
        let error = JsError { name: name.into(), message: None, cause: None, stack: None };
        let written = message(&Structured::Error(Box::new(error.clone())));
        assert_eq!(written.as_bytes(), [&b"\xFF\x0Fr"[..], tag, b"."].concat());
        assert_eq!(written.structured(), Ok(Structured::Error(Box::new(error))));
    }
}

/// A name that is an index is written as a number, as V8 does, and as the string of that number in JSON.
#[test]
fn index_names_are_numbers() {
    for (name, is_index) in [
        ("0", true),
        ("10", true),
        ("4294967294", true),
        ("4294967295", false),
        ("4294967296", false),
        ("01", false),
        ("+1", false),
        ("-1", false),
        ("n", false),
        ("", false),
    ] {
        let written = message(&object(name, Structured::Null));
        let tag = written.as_bytes()[3];
        assert_eq!(matches!(tag, b'I' | b'N'), is_index, "{name}: {}", char::from(tag));
        assert_eq!(written.json(), Ok(json!({ name: null })));
        assert_eq!(written.structured(), Ok(object(name, Structured::Null)));
    }
}

/// The digits of a big integer are whole words of 64 bits, and zero has no sign.
#[test]
fn big_integers_are_whole_words() {
    for (digits, words) in [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3)] {
        let number = BigInt::from_le_bytes(true, &vec![1; digits]);
        let written = message(&Structured::BigInt(number.clone()));
        let bytes = [vec![1; digits], vec![0; words * 8 - digits]].concat();
        let sign_and_length = u8::try_from(words * 16 + 1).expect("a short value");
        assert_eq!(written.as_bytes(), [&[0xFF, 15, b'Z', sign_and_length][..], &bytes].concat());
        assert_eq!(written.structured(), Ok(Structured::BigInt(number)));
    }
    assert!(!BigInt::from_le_bytes(true, &[0, 0]).is_negative());
    assert_eq!(BigInt::from_le_bytes(true, &[]), BigInt::from(0));
}

/// Zero is an integer, negative zero is a float.
#[test]
fn zero_keeps_its_sign() {
    let number = |number| message(&Structured::Number(number));
    assert_eq!(number(0.0).to(), Ok(0_u8));
    assert_eq!(number(-0.0).to::<f64>().map(f64::to_bits), Ok((-0.0_f64).to_bits()));
    assert!(number(-0.0).to::<u8>().is_err());
}

/// The bound on repeated reads applies to references only.
#[test]
fn long_arrays_are_read() {
    let long = Structured::Array(vec![Structured::Null; (1 << 20) + 1], vec![]);
    assert_eq!(message(&long).to::<Vec<()>>().map(|read| read.len()), Ok((1 << 20) + 1));
}

/// Members of an array besides its elements have no form in a sequence, and are an error.
#[test]
fn array_with_members_has_no_form() {
    let array = Structured::Array(vec![Structured::Null], vec![("n".into(), Structured::Null)]);
    assert!(matches!(message(&array).json(), Err(MessageError::NoForm { .. })));
}

/// The length that a sequence announces.
struct Announced(Option<usize>);

impl<'de> Deserialize<'de> for Announced {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Sequence;
        impl<'de> Visitor<'de> for Sequence {
            type Value = Announced;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Announced, A::Error> {
                let announced = elements.size_hint();
                while elements.next_element::<Value>()?.is_some() {}
                Ok(Announced(announced))
            }
        }
        from.deserialize_seq(Sequence)
    }
}

/// A type that reserves room for a sequence reserves the needed length.
#[test]
fn sequences_announce_their_length() {
    let announced = |value| message(&value).to::<Announced>().expect("a sequence").0;
    assert_eq!(announced(Structured::Array(vec![Structured::Null; 3], vec![])), Some(3));
    assert_eq!(announced(Structured::Set(vec![])), Some(0));
    let view = Structured::View(ViewKind::Int32Array, vec![0; 16].into());
    assert_eq!(announced(view), Some(4));
}

/// A reason is cut only if it is too long.
#[test]
fn reason_of_240_bytes_is_whole() {
    let reason = |length: usize| {
        let value = json!("x".repeat(length));
        let error = Message::from(value).to::<u8>().expect_err("it is a text");
        let MessageError::Type { reason } = error else { unreachable!("{error}") };
        reason
    };
    let rest = reason(0).len();
    let is_whole = |reason: String| !reason.contains(" ... ");
    let lengths = 200 - rest..260 - rest;
    let last = lengths.rev().find(|length| is_whole(reason(*length))).expect("some are short");
    assert_eq!(reason(last).len(), 240);
    assert_eq!(reason(last + 1).len(), 240 + " ... ".len());
}

#[test]
fn any_address_is_a_port() {
    assert_eq!(ListenAddress::any(7), ListenAddress::Tcp { host: None, port: 7, ipv6_only: false });
    assert_eq!(ListenAddress::default(), ListenAddress::any(0));
}
