//! The memory cost of a message: proportional to its bytes, with a small factor, for any input. Every
//! allocated byte of the thread counts, even if it was freed, so the time is bounded as well.

use allocation_counter::measure;
use cluster_core::{
    ChannelId, Event, Limits, Machine, Message, MessageError, OsEvent, Output, Primary, SendError,
    Serialization, Settings, SocketId, SpawnOptions, Structured, WorkerId,
};

/// The most bytes allocated per byte of a received message.
const RECEIVED: usize = 20;

/// The most bytes allocated per byte of a message read as [`cluster_core::Structured`]; the documentation of
/// the type has the figure.
const READ: usize = 128;

/// The bytes of one read from the kernel.
const PIECE: usize = 64 << 10;

const MIB: usize = 1 << 20;

/// The number of small values.
const MANY: usize = 1 << 18;

/// A primary with a worker, and all events so far.
fn primary(serialization: Serialization) -> Primary {
    let mut primary = Primary::new(Settings::default());
    primary.setup(SpawnOptions::new().serialization(serialization));
    primary.fork().expect("the settings are valid");
    drain(&mut primary);
    primary
}

fn drain(primary: &mut Primary) -> Vec<Event> {
    let outputs = std::iter::from_fn(|| primary.poll());
    outputs.filter_map(|output| if let Output::Event(event) = output { Some(event) } else { None }).collect()
}

/// The cost of receiving, and the received message.
fn cost(serialization: Serialization, bytes: &[u8], socket: Option<SocketId>) -> (usize, Vec<Event>) {
    let mut primary = primary(serialization);
    let read = |(index, piece): (usize, &[u8])| OsEvent::Read {
        channel: ChannelId(1),
        bytes: piece.to_vec(),
        socket: socket.filter(|_| index == 0),
    };
    let reads: Vec<OsEvent> = bytes.chunks(PIECE).enumerate().map(read).collect();
    let mut events = Vec::new();
    let cost = allocated(|| {
        for read in reads {
            primary.handle(read);
            events.extend(drain(&mut primary));
        }
    });
    (cost, events)
}

/// The bytes allocated by a function.
fn allocated(run: impl FnOnce()) -> usize {
    usize::try_from(measure(run).bytes_total).expect("64 bits")
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(u8::try_from(number & 127).expect("seven bits") | 128);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
    bytes
}

/// A payload with this value.
fn payload(value: &[Vec<u8>]) -> Vec<u8> {
    [vec![0xFF, 15], value.concat()].concat()
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).expect("short").to_be_bytes()[..], payload].concat()
}

/// An array with a number of copies of a value.
fn array(count: usize, value: &[u8]) -> Vec<u8> {
    payload(&[vec![b'A'], varint(count), value.repeat(count), vec![b'$', 0], varint(count)])
}

/// The most expensive values of 'advanced', by their kinds.
fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = |count: usize| [varint(count), vec![7; count]].concat();
    vec![
        ("a Uint8Array of 12 MiB", payload(&[vec![b'\\', 0, 1], bytes(12 * MIB)])),
        ("a Buffer of 14 MiB", payload(&[vec![b'\\', 0, 10], bytes(14 * MIB)])),
        ("a Buffer of 60 MiB", payload(&[vec![b'\\', 0, 10], bytes(60 * MIB)])),
        ("an ArrayBuffer", payload(&[vec![b'B'], bytes(4 * MIB)])),
        ("a text", payload(&[vec![b'"'], bytes(4 * MIB)])),
        ("a big integer", payload(&[vec![b'Z'], varint(4 * MIB * 2), vec![1; 4 * MIB]])),
        ("many holes", array(MANY, b"-")),
        ("many undefined", array(MANY, b"_")),
        ("many numbers", array(MANY, b"I\x02")),
        ("many empty texts", array(MANY, b"\"\0")),
        ("many empty objects", array(MANY, b"o\x7B\0")),
        ("many dates", array(MANY, b"D\0\0\0\0\0\0\0\0")),
        ("many booleans", array(MANY, b"y")),
        ("many expressions", array(MANY, b"R\"\0\0")),
        ("many empty arrays", array(MANY, b"A\0$\0\0")),
        ("many empty sets", array(MANY, b"'\x2C\0")),
        ("many empty maps", array(MANY, b";:\0")),
        ("many errors", array(MANY, b"r.")),
        ("many views", array(MANY, b"\\\0\x01\0")),
        ("many sparse arrays", array(MANY / 8, b"a\xFF\xFF\xFF\xFF\x0F@\0\xFF\xFF\xFF\xFF\x0F")),
        ("many references", {
            let count = MANY + 1;
            payload(&[
                vec![b'A'],
                varint(count),
                b"o\x7B\0".to_vec(),
                b"^\x01".repeat(MANY),
                vec![b'$', 0],
                varint(count),
            ])
        }),
        ("many entries", payload(&[vec![b';'], b"00".repeat(MANY), vec![b':'], varint(2 * MANY)])),
        ("many members", payload(&[vec![b'o'], b"\"\x01k0".repeat(MANY), vec![b'{'], varint(MANY)])),
        ("many levels", payload(&[b"A\x01".repeat(MANY), vec![b'0'], b"$\0\x01".repeat(MANY)])),
        (
            "many objects in each other",
            payload(&[b"o\"\0".repeat(MANY), vec![b'0'], b"\x7B\x01".repeat(MANY)]),
        ),
        ("only padding", payload(&[vec![0; MANY], vec![b'0']])),
    ]
}

fn message(events: &[Event]) -> Option<&Message> {
    if let [Event::Message { message, .. }] = events { Some(message) } else { None }
}

/// Receiving a payload costs little more than one copy. A payload that claims more bytes than it has is
/// rejected at the same cost.
#[test]
fn receiving_is_in_proportion() {
    for (name, payload) in payloads() {
        let frame = frame(&payload);
        let (cost, events) = cost(Serialization::Advanced, &frame, None);
        let received = message(&events).unwrap_or_else(|| unreachable!("{name}: {events:?}"));
        assert_eq!(received.as_bytes(), payload, "{name}");
        println!("{name}: {:.1} bytes a byte", factor(cost, frame.len()));
        assert!(cost <= RECEIVED * frame.len() + PIECE, "{name}: {cost} bytes for {}", frame.len());
        let cut = self::frame(&payload[..payload.len() - 1]);
        let (cost, events) = self::cost(Serialization::Advanced, &cut, None);
        assert_eq!(message(&events), None, "{name}");
        assert!(cost <= RECEIVED * cut.len() + PIECE, "{name}, cut: {cost} bytes for {}", cut.len());
    }
}

/// A claimed length costs nothing.
#[test]
fn claimed_length_costs_nothing() {
    let length = u32::try_from(Limits::default().message_bytes).expect("short");
    let (cost, _) = cost(Serialization::Advanced, &length.to_be_bytes(), None);
    assert!(cost < 1000, "{cost}");
    for value in [&b"A\xFF\xFF\xFF\xFF\x0F"[..], b"\"\xFF\xFF\xFF\xFF\x0F", b"\\\0\x0A\xFF\xFF\xFF\xFF\x0F"] {
        let (cost, events) = self::cost(Serialization::Advanced, &frame(&payload(&[value.to_vec()])), None);
        assert!(cost < 2000 && message(&events).is_none(), "{cost}: {events:?}");
    }
}

/// Lines of JSON, in one piece or many.
#[test]
fn lines_are_in_proportion() {
    let levels = 4 * MIB;
    for (name, line) in [
        ("a text", format!("\"{}\"", "x".repeat(20 * MIB))),
        ("zeros", format!("[{}0]", "0,".repeat(MIB))),
        ("levels", ["[".repeat(levels), "]".repeat(levels)].concat()),
        ("half characters", format!("[\"{}\",\"NODE_\"]", r"\ud800".repeat(MIB))),
    ] {
        let bytes = [line.as_bytes(), b"\n"].concat();
        let (cost, events) = cost(Serialization::Json, &bytes, None);
        assert_eq!(message(&events).expect("a message").as_bytes(), line.as_bytes(), "{name}");
        println!("{name}: {:.1} bytes a byte", factor(cost, bytes.len()));
        assert!(cost <= RECEIVED * bytes.len() + PIECE, "{name}: {cost} bytes for {}", bytes.len());
    }
}

/// A message in the envelope of a socket is copied once more; an internal message of Node costs no more than
/// its bytes.
#[test]
fn envelopes_are_in_proportion() {
    let names = |cmd: &str| {
        [b"o\"\x03cmd\"", &[u8::try_from(cmd.len()).expect("short")][..], cmd.as_bytes()].concat()
    };
    for (name, payload) in payloads() {
        let handle = self::payload(&[
            names("NODE_HANDLE"),
            b"\"\x03msg".to_vec(),
            payload[2..].to_vec(),
            b"\x7B\x02".to_vec(),
        ]);
        let cluster = self::payload(&[
            names("NODE_CLUSTER"),
            b"\"\x01x".to_vec(),
            payload[2..].to_vec(),
            b"\x7B\x02".to_vec(),
        ]);
        for payload in [handle, cluster] {
            let frame = frame(&payload);
            let (cost, events) = cost(Serialization::Advanced, &frame, Some(SocketId(7)));
            assert!(
                !events.iter().any(|event| matches!(event, Event::Error { .. }))
                    || name.contains("references"),
                "{name}: {events:?}"
            );
            println!("{name}: {:.1} bytes a byte", factor(cost, frame.len()));
            assert!(cost <= 2 * RECEIVED * frame.len() + PIECE, "{name}: {cost} bytes for {}", frame.len());
        }
    }
}

/// Reading a payload as a value costs more than receiving, but at most the documented factor.
#[test]
fn reading_is_in_proportion() {
    for (name, payload) in payloads() {
        let frame = frame(&payload);
        let (_, events) = cost(Serialization::Advanced, &frame, None);
        let Some(message) = message(&events) else { unreachable!("{name}: {events:?}") };
        let mut value = Ok(Structured::Null);
        let cost = allocated(|| value = message.structured());
        println!("{name}: {:.1} bytes a byte", factor(cost, payload.len()));
        assert!(value.is_ok() || value == Err(MessageError::TooDeep), "{name}");
        assert!(cost <= READ * payload.len(), "{name}: {cost} bytes for {}", payload.len());
    }
}

/// A list in a field of an internal message of Node, read as a string.
#[test]
fn lists_are_in_proportion() {
    for element in ["0,", "null,", "[],", "\"\","] {
        let list = element.repeat(MANY);
        let line =
            format!("{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"seq\":1,\"address\":[{list}0]}}\n");
        let (cost, events) = cost(Serialization::Json, line.as_bytes(), None);
        println!("a list of {element} {:.1} bytes a byte", factor(cost, line.len()));
        assert_eq!(events, [], "{element}");
        assert!(cost <= RECEIVED * line.len() + PIECE, "{element}: {cost} bytes for {}", line.len());
    }
}

/// An array of many holes is short as a payload and long as JSON: an array beyond the limit is rejected
/// before the JSON is written.
#[test]
fn sparse_arrays_cost_their_limit() {
    let limits = Limits { message_bytes: MIB, ..Limits::default() };
    let mut primary = Primary::new(Settings { limits, ..Settings::default() });
    primary.fork().expect("the settings are valid");
    drain(&mut primary);
    let holes = u32::try_from(64 * MIB).expect("32 bits");
    let message = Message::from_structured(&Structured::SparseArray(holes, vec![])).expect("a short value");
    let mut sent = true;
    let cost = allocated(|| sent = primary.send(WorkerId(1), message).is_ok());
    assert!(!sent);
    assert!(cost <= MIB, "{cost} bytes");
}

/// Messages that wait for a worker that does not read take at most five times the limit of their bytes,
/// however short.
#[test]
fn unsent_messages_are_bounded() {
    let limit = i64::try_from(Limits::default().unsent_bytes).expect("short");
    for text in ["", "a text of 64 bytes, with which the bytes are the first at their end"] {
        let mut primary = primary(Serialization::Json);
        let message = Message::from(text);
        let mut allocated = 0;
        let mut refused = None;
        while refused.is_none() {
            let turn = measure(|| {
                refused = primary.send(WorkerId(1), message.clone()).err();
                drain(&mut primary);
            });
            allocated += turn.bytes_current;
            assert!(allocated <= 5 * limit, "{text:?}");
        }
        println!("{text:?}: {allocated} bytes for {limit}");
        assert_eq!(refused, Some(SendError::Full));
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is printed with one decimal")]
fn factor(cost: usize, bytes: usize) -> f64 {
    cost as f64 / bytes as f64
}
