//! Frames to messages. Unknown fields are ignored, as Node does; known ones of the wrong kind are a violation.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::net::SocketAddr;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    Act, Cluster, Counting, Envelope, Frame, HandleKey, Message, PassedKind, QueryServer, Reply, Sockname,
    Violation, advanced, is_internal, is_reserved, surrogates,
};
use crate::address::{AddressType, ListeningAddress};
use crate::os::Errno;

/// Every field a message of Node's own can have that a cluster reads. Unknown ones are ignored, as Node does.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct In<'a> {
    #[serde(borrow)]
    cmd: Cow<'a, str>,
    #[serde(borrow)]
    act: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "present")]
    msg: Option<&'a RawValue>,
    seq: u64,
    ack: Option<u64>,
    accepted: Option<bool>,
    errno: Option<i64>,
    key: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    sockname: Option<Box<Sockname<'a>>>,
    index: u64,
    address: Option<String>,
    port: Option<Port>,
    address_type: Value,
    fd: Option<i64>,
    flags: Option<u64>,
    backlog: Option<u64>,
    readable_all: Option<bool>,
    writable_all: Option<bool>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    dgram_type: Cow<'a, str>,
}

/// Null is a value here, and not a field that is not there.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// A port as Node accepts it: a number or its digits.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(i64),
    Digits(String),
}

/// The longest `data` of a query, in bytes: it is kept, and echoed to every worker. Node sends 107 for TLS.
const DATA: usize = 16 << 10;

/// The longest host, path or key that is kept, in bytes. A Unix socket's path is shorter.
pub(crate) const ADDRESS: usize = 4096;

/// Reads one line, without its newline.
pub(crate) fn decode(line: &[u8]) -> Result<Frame, Violation> {
    // A retransmitted socket of Node 20 comes in two envelopes; nothing comes in more.
    decode_within(line, 2)
}

/// Reads one payload of the 'advanced' serialization; what it makes beyond its own bytes of JSON is taken from `spare`.
pub(crate) fn decode_advanced(payload: &[u8], spare: &mut usize) -> Result<Frame, Violation> {
    let value = advanced::read(payload, spare)?;
    if !is_reserved(&value) {
        return Ok(Frame::Message(Message::User(value)));
    }
    decode(&serde_json::to_vec(&value).map_err(|_| Violation::Malformed)?)
}

fn decode_within(line: &[u8], envelopes: u8) -> Result<Frame, Violation> {
    if may_be_internal(line)
        && let Ok(fields) = serde_json::from_slice::<In<'_>>(line)
        && is_internal(&fields.cmd)
    {
        return internal(fields, envelopes);
    }
    let Ok(value) = serde_json::from_slice(line) else {
        let mended = surrogates::without_lone_ones(line).ok_or(Violation::Malformed)?;
        return decode_within(&mended, envelopes);
    };
    if is_reserved(&value) { Err(Violation::BadFields) } else { Ok(Frame::Message(Message::User(value))) }
}

/// How a message of Node's own begins when Node wrote it.
const BEGINNING: &[u8] = br#"{"cmd":"NODE_"#;

/// Whether the line is worth a second look: a `cmd` of Node's own must spell `NODE_`, or escape it.
fn may_be_internal(line: &[u8]) -> bool {
    let says = |word: &[u8]| memchr::memmem::find(line, word).is_some();
    // Most lines have neither letter, which is seen at a glance.
    let may_say = memchr::memchr2(b'N', b'\\', line).is_some();
    line.starts_with(BEGINNING) || may_say && (says(b"NODE_") || says(b"\\u"))
}

fn internal(fields: In<'_>, envelopes: u8) -> Result<Frame, Violation> {
    match &*fields.cmd {
        "NODE_HANDLE_ACK" => Ok(Frame::Ack),
        "NODE_HANDLE_NACK" => Ok(Frame::Nack),
        "NODE_CLUSTER" => cluster(fields).map(Frame::Message),
        "NODE_HANDLE" => {
            let envelopes = envelopes.checked_sub(1).ok_or(Violation::BadFields)?;
            let inner = fields.msg.ok_or(Violation::BadFields)?;
            match decode_within(inner.get().as_bytes(), envelopes)? {
                Frame::Message(message) => {
                    let key = fields.key.clone().filter(|key| key.len() <= ADDRESS);
                    Ok(Frame::Handle(Envelope { message, kind: kind(&fields)?, key }))
                }
                // However many there are, one acknowledgement is owed, and the inner one says what it is.
                inner @ Frame::Handle(_) => Ok(inner),
                Frame::Ack | Frame::Nack => Err(Violation::BadFields),
            }
        }
        "NODE_SOCKET_GET_COUNT" => Ok(Frame::Message(Message::Counting(Counting::HowMany(key(fields)?)))),
        "NODE_SOCKET_NOTIFY_CLOSE" => Ok(Frame::Message(Message::Counting(Counting::SayNone(key(fields)?)))),
        // The answers to questions that we do not ask are among them.
        _ => Ok(Frame::Message(Message::Foreign)),
    }
}

fn key(fields: In<'_>) -> Result<String, Violation> {
    fields.key.filter(|key| key.len() <= ADDRESS).ok_or(Violation::BadFields)
}

/// What a descriptor is. Node dies of a type that it does not know; a missing one is a bare socket.
fn kind(fields: &In<'_>) -> Result<PassedKind, Violation> {
    match &*fields.r#type {
        "net.Native" | "" => Ok(PassedKind::Native),
        "net.Server" => Ok(PassedKind::Server),
        "net.Socket" => Ok(PassedKind::Socket),
        "dgram.Native" => Ok(PassedKind::DatagramNative),
        "dgram.Socket" => Ok(PassedKind::Datagram { v6: fields.dgram_type == "udp6" }),
        _ => Err(Violation::BadFields),
    }
}

fn cluster(mut fields: In<'_>) -> Result<Message, Violation> {
    let key = |fields: &mut In<'_>| fields.key.take().map(HandleKey).ok_or(Violation::BadFields);
    let act = match &*fields.act {
        "online" => Some(Act::Online),
        "exitedAfterDisconnect" => Some(Act::ExitedAfterDisconnect),
        "disconnect" => Some(Act::Disconnect),
        "close" => Some(Act::Close(key(&mut fields)?)),
        "newconn" => Some(Act::NewConn(key(&mut fields)?)),
        "listening" => Some(Act::Listening(listening(&mut fields)?)),
        "queryServer" => Some(Act::QueryServer(query(&mut fields)?)),
        _ => None,
    };
    let seq = fields.seq;
    let reply = fields.ack.map(|ack| reply(ack, fields)).transpose()?;
    Ok(Message::from(Cluster { seq, reply, act }))
}

fn reply(ack: u64, fields: In<'_>) -> Result<Reply, Violation> {
    let errno = match fields.errno {
        None | Some(0) => None,
        Some(number) => Some(Errno(i32::try_from(number.unsigned_abs()).map_err(|_| Violation::BadFields)?)),
    };
    let sockname = match fields.sockname {
        Some(at) => Some(SocketAddr::new(at.address.parse().map_err(|_| Violation::BadFields)?, at.port)),
        None => None,
    };
    let data = data(fields.data)?;
    Ok(Reply { ack, errno, key: fields.key.map(HandleKey), data, sockname, accepted: fields.accepted })
}

fn listening(fields: &mut In<'_>) -> Result<ListeningAddress, Violation> {
    Ok(ListeningAddress {
        address: address(fields)?,
        port: match port(fields)?.unwrap_or(0) {
            // A Unix socket says -1, which is no port.
            port @ -1..=65_535 => i32::try_from(port).expect("it is small"),
            _ => return Err(Violation::BadFields),
        },
        address_type: address_type(&fields.address_type)?,
        fd: fields.fd,
    })
}

fn query(fields: &mut In<'_>) -> Result<QueryServer, Violation> {
    Ok(QueryServer {
        index: fields.index,
        data: data(fields.data)?,
        // However long: an honest program may ask for it, and is to be told why it does not get it.
        address: fields.address.take(),
        port: port(fields)?,
        address_type: address_type(&fields.address_type)?,
        fd: fields.fd,
        flags: fields.flags,
        backlog: fields.backlog,
        readable_all: fields.readable_all == Some(true),
        writable_all: fields.writable_all == Some(true),
    })
}

fn data(raw: Option<&RawValue>) -> Result<Value, Violation> {
    match raw {
        None => Ok(Value::Null),
        Some(raw) if raw.get().len() > DATA => Err(Violation::BadFields),
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| Violation::BadFields),
    }
}

fn address(fields: &mut In<'_>) -> Result<Option<String>, Violation> {
    match fields.address.take() {
        Some(address) if address.len() > ADDRESS => Err(Violation::BadFields),
        address => Ok(address),
    }
}

fn port(fields: &In<'_>) -> Result<Option<i64>, Violation> {
    match &fields.port {
        None => Ok(None),
        Some(Port::Number(port)) => Ok(Some(*port)),
        Some(Port::Digits(digits)) => digits.parse().map(Some).map_err(|_| Violation::BadFields),
    }
}

fn address_type(value: &Value) -> Result<AddressType, Violation> {
    match (value.as_i64(), value.as_str()) {
        (Some(4), _) => Ok(AddressType::V4),
        (Some(6), _) => Ok(AddressType::V6),
        (Some(-1), _) => Ok(AddressType::Path),
        (_, Some("udp4")) => Ok(AddressType::Udp4),
        (_, Some("udp6")) => Ok(AddressType::Udp6),
        (None, None) if value.is_null() => Ok(AddressType::Descriptor),
        _ => Err(Violation::BadFields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::encode;
    use crate::settings::Serialization;
    use serde_json::json;

    fn cluster_message(line: &str) -> Cluster {
        match decode(line.as_bytes()) {
            Ok(
                Frame::Message(Message::Cluster(cluster))
                | Frame::Handle(Envelope { message: Message::Cluster(cluster), .. }),
            ) => *cluster,
            other => unreachable!("{line}: {other:?}"),
        }
    }

    /// Lines that a Node 20 worker and primary wrote.
    const RECORDED: [&str; 8] = [
        r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"backlog":0,"seq":1}"#,
        r#"{"cmd":"NODE_CLUSTER","errno":null,"key":"null:0:4:undefined:0","ack":1,"data":null,"sockname":{"address":"::","family":"IPv6","port":39913},"seq":0}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,"address":null,"port":39913,"addressType":4,"backlog":0,"seq":2}"#,
        r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"null:0:4:undefined:0","seq":1}}"#,
        r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"close","key":"null:0:4:undefined:0","seq":5}"#,
        r#"{"cmd":"NODE_CLUSTER","errno":-98,"key":"127.0.0.1:41667:4:undefined:0","ack":4,"data":null,"seq":2}"#,
    ];

    #[test]
    fn what_node_wrote_is_understood_and_survives_our_own_writing() {
        for line in RECORDED {
            let cluster = cluster_message(line);
            let ours = encode(
                &Message::from(cluster.clone()),
                line.contains("NODE_HANDLE").then_some(PassedKind::Native),
                Serialization::Json,
            );
            assert_eq!(cluster_message(core::str::from_utf8(&ours).expect("JSON").trim_end()), cluster);
        }
    }

    #[test]
    fn the_key_of_a_query_is_nodes() {
        let Some(Act::QueryServer(query)) = cluster_message(RECORDED[1]).act else { unreachable!() };
        assert_eq!(HandleKey::from(&query).0, "null:0:4:undefined:0");
    }

    #[test]
    fn an_error_in_a_reply_is_a_positive_errno() {
        let reply = cluster_message(RECORDED[7]).reply.expect("a reply");
        assert_eq!(reply.errno, Some(Errno(98)));
    }

    #[test]
    fn only_a_cmd_that_begins_with_node_and_goes_on_is_internal() {
        let user = |line: &str| decode(line.as_bytes()) == Ok(Frame::Message(Message::User(json_of(line))));
        assert!(user(r#"{"cmd":"NODE_"}"#));
        assert!(user(r#""NODE_CLUSTER""#));
        assert!(user(r#"{"text":"NODE_CLUSTER","act":7}"#));
        assert_eq!(decode(br#"{"cmd":"NODE_X"}"#), Ok(Frame::Message(Message::Foreign)));
        assert_eq!(decode(br#"{"cmd":"\u004eODE_X"}"#), Ok(Frame::Message(Message::Foreign)));
    }

    fn json_of(line: &str) -> Value {
        serde_json::from_str(line).expect("JSON")
    }

    #[test]
    fn two_envelopes_are_one() {
        let inner = json!({"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"hello":1}});
        let outer = json!({"cmd":"NODE_HANDLE","type":"net.Native","msg":inner});
        let line = serde_json::to_vec(&outer).expect("JSON");
        let message = Message::User(json!({"hello":1}));
        assert_eq!(
            decode(&line),
            Ok(Frame::Handle(Envelope { message, kind: PassedKind::Socket, key: None }))
        );
    }

    #[test]
    fn null_may_come_in_an_envelope() {
        let line = br#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":null}"#;
        let message = Message::User(Value::Null);
        assert_eq!(
            decode(line),
            Ok(Frame::Handle(Envelope { message, kind: PassedKind::Socket, key: None }))
        );
    }

    #[test]
    fn nothing_comes_in_three_envelopes_or_in_thousands() {
        for depth in [3, 100_000] {
            let mut line = r#"{"cmd":"NODE_HANDLE","msg":"#.repeat(depth);
            line.push('1');
            line.push_str(&"}".repeat(depth));
            assert_eq!(decode(line.as_bytes()), Err(Violation::BadFields));
        }
    }

    #[test]
    fn what_is_kept_for_a_query_is_bounded() {
        let query = |length: usize| {
            let text = "x".repeat(length);
            alloc::format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","data":"{text}","addressType":4}}"#)
        };
        assert!(decode(query(DATA - 2).as_bytes()).is_ok());
        assert_eq!(decode(query(DATA + 1).as_bytes()), Err(Violation::BadFields));
    }

    #[test]
    fn rubbish_is_named() {
        assert_eq!(decode(b""), Err(Violation::Malformed));
        assert_eq!(decode(b"{\"a\":"), Err(Violation::Malformed));
        assert_eq!(decode(b"\xff\xfe"), Err(Violation::Malformed));
        assert_eq!(decode(br#"{"cmd":"NODE_CLUSTER","act":"newconn"}"#), Err(Violation::BadFields));
        assert_eq!(decode(br#"{"cmd":"NODE_CLUSTER","act":7}"#), Err(Violation::BadFields));
        assert_eq!(decode(br#"{"cmd":"NODE_HANDLE","type":"net.Native"}"#), Err(Violation::BadFields));
    }
}
