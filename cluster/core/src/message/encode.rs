//! Messages to frames.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::decode::{ACK, HANDLE, LAME_DUCK, LOAD, PING, PONG};
use super::object_writer::ObjectWriter;
use super::{
    ChannelMessage, ClusterMessage, HandleType, QueryServer, Reply, Request, SocketCount, Supervision,
};
use crate::address::{AddressType, ListeningAddress};
use crate::os::LocalAddress;
use crate::serialization::{Serialization, advanced};
use crate::user_message::Message;

/// Encodes a message as a frame. `carries` adds the envelope for a descriptor.
pub(crate) fn encode(
    message: &ChannelMessage,
    carries: Option<HandleType>,
    serialization: Serialization,
) -> Vec<u8> {
    if let ChannelMessage::User(message) = message {
        return encode_user(message, carries);
    }
    let mut text = ObjectWriter::new();
    if let Some(kind) = carries {
        begin_envelope(kind, &mut text);
    }
    match message {
        ChannelMessage::User(_) => {}
        ChannelMessage::Cluster(cluster) => write_cluster(cluster, &mut text),
        ChannelMessage::SocketCount(count) => write_socket_count(count, &mut text),
        ChannelMessage::Supervision(supervision) => write_supervision(*supervision, &mut text),
        ChannelMessage::Foreign => unreachable!("a foreign message is never sent"),
    }
    if carries.is_some() {
        text.end();
    }
    frame(text, serialization)
}

/// Encodes a user's message. Its bytes have the serialization of the channel already.
fn encode_user(message: &Message, carries: Option<HandleType>) -> Vec<u8> {
    let bytes = message.as_bytes();
    match (message.serialization(), carries) {
        (Serialization::Json, None) => [bytes, b"\n"].concat(),
        (Serialization::Json, Some(kind)) => {
            let mut envelope = ObjectWriter::new();
            begin_envelope(kind, &mut envelope);
            envelope.json(bytes);
            envelope.end();
            frame(envelope, Serialization::Json)
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

fn frame(text: ObjectWriter, serialization: Serialization) -> Vec<u8> {
    let mut line = text.into_bytes();
    match serialization {
        Serialization::Json => {
            line.push(b'\n');
            line
        }
        Serialization::Advanced => {
            let text = core::str::from_utf8(&line).expect("texts were written");
            with_length(&advanced::from_json(text))
        }
    }
}

/// Begins the envelope of a message with a descriptor. The caller appends the message and the end.
fn begin_envelope(kind: HandleType, text: &mut ObjectWriter) {
    let (r#type, dgram_type) = type_of(kind);
    text.begin(HANDLE);
    text.plain("type", r#type);
    if let Some(dgram_type) = dgram_type {
        text.plain("dgramType", dgram_type);
    }
    text.name("msg");
}

/// The type of a descriptor in an envelope. Node: `type` and `dgramType`.
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

fn write_socket_count(count: &SocketCount, text: &mut ObjectWriter) {
    let (cmd, key, count) = match count {
        SocketCount::GetCount(key) => ("NODE_SOCKET_GET_COUNT", key, None),
        SocketCount::Count(key, count) => ("NODE_SOCKET_COUNT", key, Some(*count)),
        SocketCount::NotifyClose(key) => ("NODE_SOCKET_NOTIFY_CLOSE", key, None),
        SocketCount::AllClosed(key) => ("NODE_SOCKET_ALL_CLOSED", key, None),
    };
    text.begin(cmd);
    text.text("key", key);
    write_number("count", count, text);
    text.end();
}

fn write_supervision(supervision: Supervision, text: &mut ObjectWriter) {
    let (cmd, seq, count) = match supervision {
        Supervision::LameDuck => (LAME_DUCK, None, None),
        Supervision::Ping { seq } => (PING, Some(seq), None),
        Supervision::Pong { seq, connections } => (PONG, Some(seq), Some(connections)),
        Supervision::Load { connections } => (LOAD, None, Some(connections)),
    };
    text.begin(cmd);
    write_number("seq", seq, text);
    write_number("count", count, text);
    text.end();
}

/// Writes a number. Without a value the field is absent.
fn write_number(name: &'static str, number: Option<impl itoa::Integer>, text: &mut ObjectWriter) {
    if let Some(number) = number {
        text.number(name, number);
    }
}

fn write_cluster(cluster: &ClusterMessage, text: &mut ObjectWriter) {
    text.begin("NODE_CLUSTER");
    match (&cluster.request, &cluster.reply) {
        (Some(request), _) => write_request(request, text),
        (None, Some(reply)) => write_reply(reply, text),
        (None, None) => {}
    }
    text.number("seq", cluster.seq);
    text.end();
}

fn write_request(request: &Request, text: &mut ObjectWriter) {
    let (act, key) = match request {
        Request::Online => ("online", None),
        Request::ExitedAfterDisconnect => ("exitedAfterDisconnect", None),
        Request::Disconnect => ("disconnect", None),
        Request::Close(key) => ("close", Some(key)),
        Request::NewConn(key) => ("newconn", Some(key)),
        Request::Listening(_) => ("listening", None),
        Request::QueryServer(_) => ("queryServer", None),
    };
    text.plain("act", act);
    if let Some(key) = key {
        text.text("key", &key.0);
    }
    match request {
        Request::Listening(at) => write_listening(at, text),
        Request::QueryServer(query) => write_query(query, text),
        Request::Online
        | Request::ExitedAfterDisconnect
        | Request::Disconnect
        | Request::Close(_)
        | Request::NewConn(_) => {}
    }
}

fn write_listening(at: &ListeningAddress, text: &mut ObjectWriter) {
    write_address(at.address.as_deref(), text);
    text.number("port", at.port);
    write_address_type(at.address_type, text);
    write_number("fd", at.fd, text);
}

fn write_query(query: &QueryServer, text: &mut ObjectWriter) {
    if let Some(data) = &query.data {
        text.name("data");
        text.json(data.as_json().as_bytes());
    }
    text.number("index", query.index);
    write_address(query.address.as_deref(), text);
    match query.port {
        Some(port) => text.number("port", port),
        // As in Node: a UDP socket without a port omits the field, any other socket writes `null`.
        None if query.fd == Some(-1) => {}
        None => text.null("port"),
    }
    write_address_type(query.address_type, text);
    write_number("fd", query.fd, text);
    write_number("flags", query.flags, text);
    write_number("backlog", query.backlog, text);
    for (name, value) in [("readableAll", query.readable_all), ("writableAll", query.writable_all)] {
        if value {
            text.bool(name, true);
        }
    }
}

/// Writes an address. Without an address the field is `null`, because Node distinguishes `null` from an
/// absent field.
fn write_address(address: Option<&str>, text: &mut ObjectWriter) {
    match address {
        Some(address) => text.text("address", address),
        None => text.null("address"),
    }
}

fn write_address_type(address_type: AddressType, text: &mut ObjectWriter) {
    let name = "addressType";
    match address_type {
        AddressType::V4 => text.number(name, 4),
        AddressType::V6 => text.number(name, 6),
        AddressType::Path => text.number(name, -1),
        AddressType::Descriptor => text.null(name),
        AddressType::Udp4 => text.plain(name, "udp4"),
        AddressType::Udp6 => text.plain(name, "udp6"),
    }
}

fn write_reply(reply: &Reply, text: &mut ObjectWriter) {
    text.number("ack", reply.ack);
    if let Some(accepted) = reply.accepted {
        text.bool("accepted", accepted);
    }
    write_number("count", reply.open, text);
    write_number("errno", reply.errno.map(|errno| -errno.0), text);
    if let Some(key) = &reply.key {
        text.text("key", &key.0);
        // A Node worker that serves TLS needs `data` in every reply to its query.
        if !reply.data.is_undefined() {
            text.name("data");
            text.json(reply.data.as_json().as_bytes());
        }
    }
    if let Some(at) = &reply.sockname {
        write_sockname(at, text);
    }
    write_number("report", reply.report_ms, text);
}

/// Writes the address of a socket, with the zone if any. For a path nothing is written. As in Node, the zone
/// of a link-local address is the name of the interface.
fn write_sockname(at: &LocalAddress, text: &mut ObjectWriter) {
    let (address, family) = match at {
        LocalAddress::Ip(SocketAddr::V4(v4)) => (v4.ip().to_string(), "IPv4"),
        LocalAddress::Ip(SocketAddr::V6(v6)) if v6.scope_id() != 0 => {
            (format!("{}%{}", v6.ip(), v6.scope_id()), "IPv6")
        }
        LocalAddress::Ip(SocketAddr::V6(v6)) => (v6.ip().to_string(), "IPv6"),
        LocalAddress::Zoned { host, zone, .. } => (format!("{host}%{zone}"), "IPv6"),
        LocalAddress::Path(_) => return,
    };
    text.name("sockname");
    text.open();
    text.text("address", &address);
    text.plain("family", family);
    text.number("port", at.port());
    text.end();
}
