//! Messages to frames.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use core::net::SocketAddr;

use serde::Serialize;

use super::data::AsValue;
use super::decode::{ACK, HANDLE, LAME_DUCK, PING, PONG};
use super::{
    ChannelMessage, ClusterMessage, HandleType, QueryServer, Reply, Request, SocketCount, Supervision,
};
use crate::address::AddressType;
use crate::os::LocalAddress;
use crate::serialization::{Serialization, advanced};
use crate::user_message::Message;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HandleOut<'a, T> {
    cmd: &'static str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dgram_type: Option<&'static str>,
    msg: &'a T,
}

#[derive(Serialize)]
struct SocketCountOut<'a> {
    cmd: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

#[derive(Serialize)]
struct SupervisionOut {
    cmd: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// The address of a socket, as Node writes it.
#[derive(Serialize)]
struct Sockname {
    address: String,
    family: &'static str,
    port: u16,
}

/// A field with values of several types.
#[derive(Serialize)]
#[serde(untagged)]
enum FieldOut<'a> {
    Null,
    Number(i64),
    Text(&'a str),
}

impl<'a> From<Option<&'a str>> for FieldOut<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(FieldOut::Null, FieldOut::Text)
    }
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
    data: Option<AsValue<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockname: Option<Sockname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// May be `null`, which Node distinguishes from absence.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<FieldOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<FieldOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_type: Option<FieldOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<u32>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    readable_all: bool,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    writable_all: bool,
    seq: u64,
}

const CANNOT_FAIL: &str = "a message has string keys and finite numbers only";

/// Encodes a message as a frame. `carries` adds the envelope for a descriptor.
pub(crate) fn encode(
    message: &ChannelMessage,
    carries: Option<HandleType>,
    serialization: Serialization,
) -> Vec<u8> {
    match message {
        ChannelMessage::User(message) => encode_user(message, carries),
        ChannelMessage::Cluster(cluster) => enveloped(&cluster_out(cluster), carries, serialization),
        ChannelMessage::SocketCount(count) => enveloped(&socket_count_out(count), carries, serialization),
        ChannelMessage::Supervision(supervision) => {
            enveloped(&supervision_out(*supervision), carries, serialization)
        }
        ChannelMessage::Foreign => unreachable!("a foreign message is never sent"),
    }
}

/// Encodes a user's message. The bytes have the serialization of the channel already.
fn encode_user(message: &Message, carries: Option<HandleType>) -> Vec<u8> {
    let bytes = message.as_bytes();
    match (message.serialization(), carries) {
        (Serialization::Json, None) => [bytes, b"\n"].concat(),
        (Serialization::Json, Some(kind)) => {
            // The message is the last member of the envelope, in place of `null}`.
            let envelope = serde_json::to_vec(&envelope(kind, &())).expect(CANNOT_FAIL);
            let before = envelope.strip_suffix(b"null}").unwrap_or(&envelope);
            [before, bytes, b"}\n"].concat()
        }
        (Serialization::Advanced, None) => with_length(bytes),
        (Serialization::Advanced, Some(kind)) => {
            let (r#type, dgram_type) = type_of(kind);
            let texts = [("cmd", HANDLE), ("type", r#type)].into_iter();
            let texts: Vec<_> = texts.chain(dgram_type.map(|dgram_type| ("dgramType", dgram_type))).collect();
            with_length(&advanced::enveloped(&texts, bytes).expect("a message was checked when it was made"))
        }
    }
}

fn with_length(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("what may be unsent is less than 4 GiB");
    [&length.to_be_bytes()[..], payload].concat()
}

/// Encodes the acknowledgement of a descriptor.
pub(crate) fn encode_ack(arrived: bool, serialization: Serialization) -> Vec<u8> {
    let line = if arrived { ACK } else { r#"{"cmd":"NODE_HANDLE_NACK"}"# };
    match serialization {
        Serialization::Json => [line.as_bytes(), b"\n"].concat(),
        Serialization::Advanced => with_length(&advanced::from_json(line)),
    }
}

fn enveloped<T: Serialize>(
    message: &T,
    carries: Option<HandleType>,
    serialization: Serialization,
) -> Vec<u8> {
    match carries {
        Some(kind) => frame(&envelope(kind, message), serialization),
        None => frame(message, serialization),
    }
}

fn frame<T: Serialize>(message: &T, serialization: Serialization) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect(CANNOT_FAIL);
    match serialization {
        Serialization::Json => {
            line.push(b'\n');
            line
        }
        Serialization::Advanced => {
            with_length(&advanced::from_json(core::str::from_utf8(&line).expect(CANNOT_FAIL)))
        }
    }
}

fn envelope<T>(kind: HandleType, msg: &T) -> HandleOut<'_, T> {
    let (r#type, dgram_type) = type_of(kind);
    HandleOut { cmd: HANDLE, r#type, dgram_type, msg }
}

/// The type of a descriptor. Node: `type` and `dgramType`.
fn type_of(kind: HandleType) -> (&'static str, Option<&'static str>) {
    match kind {
        HandleType::Native => ("net.Native", None),
        HandleType::Server => ("net.Server", None),
        HandleType::Socket => ("net.Socket", None),
        HandleType::DatagramNative => ("dgram.Native", None),
        HandleType::Datagram { v6: false } => ("dgram.Socket", Some("udp4")),
        HandleType::Datagram { v6: true } => ("dgram.Socket", Some("udp6")),
    }
}

fn socket_count_out(count: &SocketCount) -> SocketCountOut<'_> {
    let (cmd, key, count) = match count {
        SocketCount::GetCount(key) => ("NODE_SOCKET_GET_COUNT", key, None),
        SocketCount::Count(key, count) => ("NODE_SOCKET_COUNT", key, Some(*count)),
        SocketCount::NotifyClose(key) => ("NODE_SOCKET_NOTIFY_CLOSE", key, None),
        SocketCount::AllClosed(key) => ("NODE_SOCKET_ALL_CLOSED", key, None),
    };
    SocketCountOut { cmd, key, count }
}

fn supervision_out(supervision: Supervision) -> SupervisionOut {
    let (cmd, seq, count) = match supervision {
        Supervision::LameDuck => (LAME_DUCK, None, None),
        Supervision::Ping { seq } => (PING, Some(seq), None),
        Supervision::Pong { seq, connections } => (PONG, Some(seq), Some(connections)),
    };
    SupervisionOut { cmd, seq, count }
}

fn cluster_out(cluster: &ClusterMessage) -> ClusterOut<'_> {
    let mut out = match (&cluster.request, &cluster.reply) {
        (Some(request), _) => request_out(request),
        (None, Some(reply)) => reply_out(reply),
        (None, None) => ClusterOut::default(),
    };
    out.cmd = "NODE_CLUSTER";
    out.seq = cluster.seq;
    out
}

fn request_out(request: &Request) -> ClusterOut<'_> {
    let named = |act| ClusterOut { act: Some(act), ..ClusterOut::default() };
    match request {
        Request::Online => named("online"),
        Request::ExitedAfterDisconnect => named("exitedAfterDisconnect"),
        Request::Disconnect => named("disconnect"),
        Request::Close(key) => ClusterOut { key: Some(&key.0), ..named("close") },
        Request::NewConn(key) => ClusterOut { key: Some(&key.0), ..named("newconn") },
        Request::Listening(at) => ClusterOut {
            address: Some(at.address.as_deref().into()),
            port: Some(FieldOut::Number(at.port.into())),
            address_type: Some(address_type_out(at.address_type)),
            fd: at.fd,
            ..named("listening")
        },
        Request::QueryServer(query) => ClusterOut {
            index: Some(query.index),
            data: query.data.as_ref().map(AsValue),
            address: Some(query.address.as_deref().into()),
            port: port_out(query),
            address_type: Some(address_type_out(query.address_type)),
            fd: query.fd,
            flags: query.flags,
            backlog: query.backlog,
            readable_all: query.readable_all,
            writable_all: query.writable_all,
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
        data: Some(AsValue(&reply.data)).filter(|data| reply.key.is_some() && !data.0.is_undefined()),
        sockname: reply.sockname.as_ref().and_then(sockname_out),
        ..ClusterOut::default()
    }
}

/// The address with the zone, if any; `None` for a path. Node appends the name of the interface to a link-local address.
fn sockname_out(at: &LocalAddress) -> Option<Sockname> {
    let (address, family) = match at {
        LocalAddress::Ip(SocketAddr::V4(v4)) => (v4.ip().to_string(), "IPv4"),
        LocalAddress::Ip(SocketAddr::V6(v6)) if v6.scope_id() != 0 => {
            (format!("{}%{}", v6.ip(), v6.scope_id()), "IPv6")
        }
        LocalAddress::Ip(SocketAddr::V6(v6)) => (v6.ip().to_string(), "IPv6"),
        LocalAddress::Zoned { host, zone, .. } => (format!("{host}%{zone}"), "IPv6"),
        LocalAddress::Path(_) => return None,
    };
    Some(Sockname { address, family, port: at.port() })
}

/// As in Node: without a port, a UDP socket (`fd` is -1) omits the field, any other socket has `null`.
fn port_out(query: &QueryServer) -> Option<FieldOut<'static>> {
    match query.port {
        None if query.fd == Some(-1) => None,
        port => Some(port.map_or(FieldOut::Null, FieldOut::Number)),
    }
}

fn address_type_out(address_type: AddressType) -> FieldOut<'static> {
    match address_type {
        AddressType::V4 => FieldOut::Number(4),
        AddressType::V6 => FieldOut::Number(6),
        AddressType::Path => FieldOut::Number(-1),
        AddressType::Descriptor => FieldOut::Null,
        AddressType::Udp4 => FieldOut::Text("udp4"),
        AddressType::Udp6 => FieldOut::Text("udp6"),
    }
}
