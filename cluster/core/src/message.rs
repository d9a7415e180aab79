//! The typed vocabulary of the channel, and its JSON lines: one message, one line. Field names and envelopes are
//! Node's. It knows no channel and no state; what a message means is decided by the machines.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::{AddressType, ListeningAddress, Violation};
use crate::handle::HandleKey;
use crate::os::Errno;

/// One line of the channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Frame {
    /// A message without a descriptor.
    Message(Message),
    /// A message that travels with a descriptor. Node: `NODE_HANDLE`.
    Handle(Message),
    /// The descriptor has arrived. Node: `NODE_HANDLE_ACK`.
    Ack,
    /// The descriptor has not. Node: `NODE_HANDLE_NACK`.
    Nack,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    /// A user's. Node: anything whose `cmd` does not begin with `NODE_`.
    User(Value),
    /// The cluster's own.
    Cluster(Box<Cluster>),
    /// Node's own, but nothing a cluster needs: swallowed, as Node does.
    Foreign,
}

impl From<Cluster> for Message {
    fn from(cluster: Cluster) -> Self {
        Message::Cluster(Box::new(cluster))
    }
}

/// A message of the cluster. Node: `NODE_CLUSTER`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cluster {
    /// Its number in the process that sent it.
    pub(crate) seq: u64,
    /// If it answers one of ours.
    pub(crate) reply: Option<Reply>,
    /// What it asks, if it is not a reply.
    pub(crate) act: Option<Act>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    Online,
    QueryServer(QueryServer),
    Listening(ListeningAddress),
    Close(HandleKey),
    ExitedAfterDisconnect,
    NewConn(HandleKey),
    Disconnect,
}

/// A worker wants to serve an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryServer {
    pub(crate) index: u64,
    pub(crate) data: Value,
    pub(crate) address: Option<String>,
    pub(crate) port: Option<i64>,
    pub(crate) address_type: AddressType,
    pub(crate) fd: Option<i64>,
    pub(crate) flags: Option<u64>,
    pub(crate) backlog: Option<u64>,
}

/// The answer to a `QueryServer`, a `NewConn` or an `ExitedAfterDisconnect`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Reply {
    /// The `seq` of the question.
    pub(crate) ack: u64,
    /// To a `QueryServer`: why not.
    pub(crate) errno: Option<Errno>,
    /// To a `QueryServer`: under which key.
    pub(crate) key: Option<HandleKey>,
    pub(crate) data: Value,
    /// To a `QueryServer` under round robin: where.
    pub(crate) sockname: Option<SocketAddr>,
    /// To a `NewConn`: whether the worker takes it.
    pub(crate) accepted: Option<bool>,
}

/// Whether a user's message would be taken for one of Node's own, and so never be delivered.
pub(crate) fn is_reserved(value: &Value) -> bool {
    value.get("cmd").and_then(Value::as_str).is_some_and(is_internal)
}

fn is_internal(cmd: &str) -> bool {
    cmd.len() > 5 && cmd.starts_with("NODE_")
}

// ---- encoding

#[derive(Serialize)]
struct HandleOut<'a, T> {
    cmd: &'static str,
    r#type: &'static str,
    msg: &'a T,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct ClusterOut<'a> {
    cmd: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockname: Option<Sockname<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// May be `null`, which Node tells from nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_type: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<u64>,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
struct Sockname<'a> {
    address: Cow<'a, str>,
    #[serde(default)]
    family: Cow<'a, str>,
    port: u16,
}

/// A message as a line. `with_descriptor`: in the envelope that says so.
pub(crate) fn encode(message: &Message, with_descriptor: bool) -> Vec<u8> {
    match message {
        Message::User(value) => line(value, with_descriptor),
        Message::Cluster(cluster) => line(&cluster_out(cluster), with_descriptor),
        Message::Foreign => unreachable!("a foreign message is never sent"),
    }
}

/// An acknowledgement of a descriptor as a line.
pub(crate) fn encode_ack(arrived: bool) -> Vec<u8> {
    let line: &[u8] =
        if arrived { b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n" } else { b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n" };
    line.to_vec()
}

fn line<T: Serialize>(message: &T, with_descriptor: bool) -> Vec<u8> {
    let encoded = if with_descriptor {
        serde_json::to_vec(&HandleOut { cmd: "NODE_HANDLE", r#type: "net.Native", msg: message })
    } else {
        serde_json::to_vec(message)
    };
    let mut bytes = encoded.expect("a message has string keys and finite numbers only");
    bytes.push(b'\n');
    bytes
}

fn cluster_out(cluster: &Cluster) -> ClusterOut<'_> {
    let mut out = match (&cluster.act, &cluster.reply) {
        (Some(act), _) => act_out(act),
        (None, Some(reply)) => reply_out(reply),
        (None, None) => ClusterOut::default(),
    };
    out.cmd = "NODE_CLUSTER";
    out.seq = cluster.seq;
    out
}

fn act_out(act: &Act) -> ClusterOut<'_> {
    let named = |act| ClusterOut { act: Some(act), ..ClusterOut::default() };
    match act {
        Act::Online => named("online"),
        Act::ExitedAfterDisconnect => named("exitedAfterDisconnect"),
        Act::Disconnect => named("disconnect"),
        Act::Close(key) => ClusterOut { key: Some(&key.0), ..named("close") },
        Act::NewConn(key) => ClusterOut { key: Some(&key.0), ..named("newconn") },
        Act::Listening(at) => ClusterOut {
            address: Some(Value::from(at.address.clone())),
            port: Some(Value::from(at.port)),
            address_type: Some(address_type_out(at.address_type)),
            ..named("listening")
        },
        Act::QueryServer(query) => ClusterOut {
            index: Some(query.index),
            data: Some(&query.data),
            address: Some(Value::from(query.address.clone())),
            port: Some(Value::from(query.port)),
            address_type: Some(address_type_out(query.address_type)),
            fd: query.fd,
            flags: query.flags,
            backlog: query.backlog,
            ..named("queryServer")
        },
    }
}

fn reply_out(reply: &Reply) -> ClusterOut<'_> {
    ClusterOut {
        ack: Some(reply.ack),
        accepted: reply.accepted,
        errno: reply.errno.map(|errno| -errno.0),
        key: reply.key.as_ref().map(|key| key.0.as_str()),
        // A Node worker that serves TLS needs `data` in every answer to its query.
        data: reply.key.is_some().then_some(&reply.data),
        sockname: reply.sockname.map(|at| Sockname {
            address: Cow::Owned(alloc::string::ToString::to_string(&at.ip())),
            family: Cow::Borrowed(if at.is_ipv4() { "IPv4" } else { "IPv6" }),
            port: at.port(),
        }),
        ..ClusterOut::default()
    }
}

fn address_type_out(address_type: AddressType) -> Value {
    match address_type {
        AddressType::V4 => Value::from(4),
        AddressType::V6 => Value::from(6),
        AddressType::Path => Value::from(-1),
        AddressType::Descriptor => Value::Null,
        AddressType::Udp4 => Value::from("udp4"),
        AddressType::Udp6 => Value::from("udp6"),
    }
}

// ---- decoding

/// Every field a message of Node's own can have that a cluster reads. Unknown ones are ignored, as Node does.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct In<'a> {
    #[serde(borrow)]
    cmd: Cow<'a, str>,
    #[serde(borrow)]
    act: Cow<'a, str>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
    seq: u64,
    ack: Option<u64>,
    accepted: Option<bool>,
    errno: Option<i64>,
    key: Option<String>,
    data: Value,
    #[serde(borrow)]
    sockname: Option<Box<Sockname<'a>>>,
    index: u64,
    address: Option<String>,
    port: Option<Port>,
    address_type: Value,
    fd: Option<i64>,
    flags: Option<u64>,
    backlog: Option<u64>,
}

/// A port as Node accepts it: a number or its digits.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(i64),
    Digits(String),
}

/// Reads one line, without its newline.
pub(crate) fn decode(line: &[u8]) -> Result<Frame, Violation> {
    if may_be_internal(line)
        && let Ok(fields) = serde_json::from_slice::<In<'_>>(line)
        && is_internal(&fields.cmd)
    {
        return internal(fields);
    }
    let value = serde_json::from_slice(line).map_err(|_| Violation::Malformed)?;
    if is_reserved(&value) { Err(Violation::BadFields) } else { Ok(Frame::Message(Message::User(value))) }
}

/// How a message of Node's own begins when Node wrote it.
const BEGINNING: &[u8] = br#"{"cmd":"NODE_"#;

/// Whether the line is worth a second look: a `cmd` of Node's own must spell `NODE_`, or escape it.
fn may_be_internal(line: &[u8]) -> bool {
    line.starts_with(BEGINNING)
        || memchr::memmem::find(line, b"NODE_").is_some()
        || memchr::memmem::find(line, b"\\u").is_some()
}

fn internal(fields: In<'_>) -> Result<Frame, Violation> {
    match &*fields.cmd {
        "NODE_HANDLE_ACK" => Ok(Frame::Ack),
        "NODE_HANDLE_NACK" => Ok(Frame::Nack),
        "NODE_CLUSTER" => cluster(fields).map(Frame::Message),
        "NODE_HANDLE" => {
            let inner = fields.msg.ok_or(Violation::BadFields)?;
            match decode(inner.get().as_bytes())? {
                // A retransmitted socket of Node 20 comes in two envelopes; it is owed one acknowledgement.
                Frame::Message(message) | Frame::Handle(message) => Ok(Frame::Handle(message)),
                Frame::Ack | Frame::Nack => Err(Violation::BadFields),
            }
        }
        _ => Ok(Frame::Message(Message::Foreign)),
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
    let key = fields.key.map(HandleKey);
    Ok(Reply { ack, errno, key, data: fields.data, sockname, accepted: fields.accepted })
}

fn listening(fields: &mut In<'_>) -> Result<ListeningAddress, Violation> {
    let port = port(fields)?.unwrap_or(0);
    Ok(ListeningAddress {
        address: fields.address.take(),
        // A Unix socket says -1, which is no port.
        port: u16::try_from(port.max(0)).map_err(|_| Violation::BadFields)?,
        address_type: address_type(&fields.address_type)?,
    })
}

fn query(fields: &mut In<'_>) -> Result<QueryServer, Violation> {
    Ok(QueryServer {
        index: fields.index,
        data: fields.data.take(),
        address: fields.address.take(),
        port: port(fields)?,
        address_type: address_type(&fields.address_type)?,
        fd: fields.fd,
        flags: fields.flags,
        backlog: fields.backlog,
    })
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
    use serde_json::json;

    fn cluster_message(line: &str) -> Cluster {
        match decode(line.as_bytes()) {
            Ok(Frame::Message(Message::Cluster(cluster)) | Frame::Handle(Message::Cluster(cluster))) => {
                *cluster
            }
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
            let ours = encode(&Message::from(cluster.clone()), line.contains("NODE_HANDLE"));
            assert_eq!(cluster_message(core::str::from_utf8(&ours).expect("JSON").trim_end()), cluster);
        }
    }

    #[test]
    fn the_key_of_a_query_is_nodes() {
        let Some(Act::QueryServer(query)) = cluster_message(RECORDED[1]).act else { unreachable!() };
        assert_eq!(HandleKey::of(&query).0, "null:0:4:undefined:0");
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
        assert_eq!(decode(&line), Ok(Frame::Handle(Message::User(json!({"hello":1})))));
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
