//! Frames to messages. Each field is converted as Node's own code converts it, and fields that Node ignores
//! are ignored: only a message that no unmodified Node sends is a violation. `docs/node.md` lists the fields.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::fields::{Field, Fields};
use super::js::Js;
use super::{
    ChannelMessage, ClusterMessage, Data, Envelope, Frame, HandleKey, HandleType, QueryServer, Reply,
    Request, SocketCount, Supervision,
};
use crate::address::{AddressType, ListeningAddress};
use crate::os::{Errno, LocalAddress};
use crate::serialization::advanced::{self, Rules};
use crate::serialization::{json, surrogates};
use crate::user_message::Message;
use crate::violation::Violation;

/// The longest host, path or key, in bytes. The path of a Unix socket is shorter.
pub(crate) const ADDRESS: usize = 4096;

/// Keeps a part of the received bytes, by copying it or by sharing memory.
pub(crate) type Keep<'a> = &'a dyn Fn(&[u8]) -> Bytes;

/// The `cmd` of the envelope around a message with a descriptor.
pub(super) const HANDLE: &str = "NODE_HANDLE";

/// The `cmd` of each message of a supervisor.
pub(super) const LAME_DUCK: &str = "NODE_CLUSTER_LAME_DUCK";
pub(super) const PING: &str = "NODE_CLUSTER_PING";
pub(super) const PONG: &str = "NODE_CLUSTER_PONG";
pub(super) const LOAD: &str = "NODE_CLUSTER_LOAD";

/// The most envelopes around a message. Node 20 writes two when it sends a socket again, and never more.
const ENVELOPES: u8 = 2;

/// The acknowledgement of a descriptor, and the beginning of a message with a bare socket, exactly as Node
/// writes them. Two of the three frames of each connection have these forms, so they are recognized without
/// reading their fields.
pub(super) const ACK: &str = r#"{"cmd":"NODE_HANDLE_ACK"}"#;
const BARE_SOCKET: &str = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":"#;

/// Decodes one line without the newline.
pub(crate) fn decode(line: &[u8], keep: Keep<'_>) -> Result<Frame, Violation> {
    let text = core::str::from_utf8(line).map_err(|_| Violation::Malformed)?;
    if text == ACK {
        return Ok(Frame::Ack);
    }
    bare_socket(text, keep).map_or_else(|| decode_within(text, keep, ENVELOPES), Ok)
}

/// The message in an envelope for a bare socket. `None`: the envelope has another form.
fn bare_socket(text: &str, keep: Keep<'_>) -> Option<Frame> {
    let inner = text.strip_prefix(BARE_SOCKET)?.strip_suffix('}')?;
    // If another field follows the message, the rest of the line is not a single JSON value, and is rejected
    // here.
    match decode_within(inner, keep, ENVELOPES - 1).ok()? {
        Frame::Message(message) => {
            Some(Frame::Handle(Box::new(Envelope { message, kind: HandleType::Native, key: None })))
        }
        Frame::Handle(_) | Frame::Ack | Frame::Nack => None,
    }
}

/// Decodes one payload of the 'advanced' serialization.
pub(crate) fn decode_advanced(payload: &[u8], keep: Keep<'_>) -> Result<Frame, Violation> {
    advanced_within(payload, keep, ENVELOPES)
}

fn advanced_within(payload: &[u8], keep: Keep<'_>, envelopes: u8) -> Result<Frame, Violation> {
    let outline = advanced::outline(payload)?;
    if !outline.is_reserved() {
        return Ok(Frame::Message(ChannelMessage::User(Message::of_clone(keep(payload)))));
    }
    let text = advanced::to_json(payload, Rules::Fields).map_err(|_| Violation::Malformed)?;
    let Some(msg) = outline.msg.filter(|_| outline.cmd.as_deref() == Some(HANDLE)) else {
        return decode_within(&text, &Bytes::copy_from_slice, envelopes);
    };
    let fields = serde_json::from_str::<Fields<'_>>(&text).unwrap_or_default();
    let inner = Bytes::from(advanced::detached(payload, &msg)?);
    envelope(&fields, envelopes, |left| advanced_within(&inner, &|part| inner.slice_ref(part), left))
}

fn decode_within(text: &str, keep: Keep<'_>, envelopes: u8) -> Result<Frame, Violation> {
    let may_be_reserved = json::may_be_reserved(text.as_bytes());
    if may_be_reserved
        && let Ok(fields) = serde_json::from_str::<Fields<'_>>(text)
        && let Js::Text(cmd) = fields.get(Field::Cmd)
        && json::is_internal(&cmd)
    {
        return internal(&cmd, &fields, keep, envelopes);
    }
    json::check(text)?;
    // `Fields` could not read this valid JSON, because the name of a field contains a lone surrogate.
    if may_be_reserved && json::reserved(text).is_some() {
        let mended = surrogates::without_lone_ones(text.as_bytes()).ok_or(Violation::Malformed)?;
        let mended = core::str::from_utf8(&mended).map_err(|_| Violation::Malformed)?;
        let fields = serde_json::from_str::<Fields<'_>>(mended).map_err(|_| Violation::Malformed)?;
        let Js::Text(cmd) = fields.get(Field::Cmd) else { return Err(Violation::Malformed) };
        return internal(&cmd, &fields, &Bytes::copy_from_slice, envelopes);
    }
    Ok(Frame::Message(ChannelMessage::User(Message::of_json(keep(text.as_bytes())))))
}

fn internal(cmd: &str, fields: &Fields<'_>, keep: Keep<'_>, envelopes: u8) -> Result<Frame, Violation> {
    let counting = |question: fn(String) -> SocketCount| {
        let question =
            key(fields).map_or(ChannelMessage::Foreign, |key| ChannelMessage::SocketCount(question(key)));
        Ok(Frame::Message(question))
    };
    match cmd {
        "NODE_HANDLE_ACK" => Ok(Frame::Ack),
        "NODE_HANDLE_NACK" => Ok(Frame::Nack),
        "NODE_CLUSTER" => cluster(fields).map(Frame::Message),
        HANDLE => {
            let inner = fields.raw(Field::Msg).ok_or_else(|| fields.violation(Field::Msg))?;
            envelope(fields, envelopes, |left| decode_within(inner.get(), keep, left))
        }
        "NODE_SOCKET_GET_COUNT" => counting(SocketCount::GetCount),
        "NODE_SOCKET_NOTIFY_CLOSE" => counting(SocketCount::NotifyClose),
        LAME_DUCK | PING | PONG | LOAD => Ok(Frame::Message(supervision(cmd, fields))),
        // Node's other messages, including the answers to questions that this crate never asks.
        _ => Ok(Frame::Message(ChannelMessage::Foreign)),
    }
}

/// The message in an envelope. At most `left` further envelopes may be inside.
fn envelope(
    fields: &Fields<'_>,
    envelopes: u8,
    inner: impl FnOnce(u8) -> Result<Frame, Violation>,
) -> Result<Frame, Violation> {
    let envelopes = envelopes.checked_sub(1).ok_or_else(|| fields.violation(Field::Msg))?;
    match inner(envelopes)? {
        Frame::Message(message) => {
            let (kind, key) = (kind(fields)?, key(fields));
            Ok(Frame::Handle(Box::new(Envelope { message, kind, key })))
        }
        // Several envelopes need only one acknowledgement, and the innermost envelope describes the
        // descriptor.
        inner @ Frame::Handle(_) => Ok(inner),
        Frame::Ack | Frame::Nack => Err(fields.violation(Field::Msg)),
    }
}

/// The key under which the sender counts the connection. Without a key, Node does not count.
fn key(fields: &Fields<'_>) -> Option<String> {
    let key = fields.text(Field::Key).filter(|key| !key.is_empty() && key.len() <= ADDRESS);
    key.map(Cow::into_owned)
}

/// The type of a descriptor. A socket without a type is bare; on an unknown type Node crashes.
fn kind(fields: &Fields<'_>) -> Result<HandleType, Violation> {
    match fields.text(Field::Type).as_deref() {
        // `net.BoundSocket` is a type of Node 24.21 and 26.
        Some("net.Native" | "net.BoundSocket") | None => Ok(HandleType::Native),
        Some("net.Server") => Ok(HandleType::Server),
        Some("net.Socket") => Ok(HandleType::Socket),
        Some("dgram.Native") => Ok(HandleType::DatagramNative),
        Some("dgram.Socket") => {
            Ok(HandleType::Datagram { v6: fields.text(Field::DgramType).as_deref() == Some("udp6") })
        }
        Some(_) => Err(fields.violation(Field::Type)),
    }
}

/// A message of a supervisor. A program's own message may have the same name, with fields of any type.
fn supervision(cmd: &str, fields: &Fields<'_>) -> ChannelMessage {
    let (Ok(seq), Ok(connections)) = (fields.count(Field::Seq), fields.count(Field::Count)) else {
        return ChannelMessage::Foreign;
    };
    ChannelMessage::Supervision(match cmd {
        LAME_DUCK => Supervision::LameDuck,
        PING => Supervision::Ping { seq },
        LOAD if fields.raw(Field::Count).is_none() => return ChannelMessage::Foreign,
        LOAD => Supervision::Load { connections },
        _ => Supervision::Pong { seq, connections },
    })
}

/// A message of the cluster. An unknown `act`, and an `ack` of an unknown message, are ignored, as in Node.
fn cluster(fields: &Fields<'_>) -> Result<ChannelMessage, Violation> {
    let key = || HandleKey(fields.get(Field::Key).text().into_owned());
    let request = match fields.text(Field::Act).as_deref() {
        Some("online") => Some(Request::Online),
        Some("exitedAfterDisconnect") => Some(Request::ExitedAfterDisconnect),
        Some("disconnect") => Some(Request::Disconnect),
        Some("close") => Some(Request::Close(key())),
        Some("newconn") => Some(Request::NewConn(key())),
        Some("listening") => Some(Request::Listening(listening(fields)?)),
        Some("queryServer") => Some(Request::QueryServer(query(fields)?)),
        Some(_) | None => None,
    };
    Ok(ChannelMessage::from(ClusterMessage {
        seq: fields.count(Field::Seq)?,
        reply: reply(fields)?,
        request,
    }))
}

fn reply(fields: &Fields<'_>) -> Result<Option<Reply>, Violation> {
    // Node would search for a message with this number, and find none.
    let Ok(ack) = fields.count(Field::Ack) else { return Ok(None) };
    if fields.raw(Field::Ack).is_none() {
        return Ok(None);
    }
    Ok(Some(Reply {
        ack,
        errno: errno(&fields.get(Field::Errno)),
        key: fields.text(Field::Key).map(|key| HandleKey(key.into_owned())),
        data: Data::of(fields.raw(Field::Data)).unwrap_or_default(),
        sockname: sockname(fields)?,
        accepted: fields.raw(Field::Accepted).map(|_| fields.get(Field::Accepted).is_true()),
        report_ms: optional_count(fields, Field::Report).and_then(|ms| u32::try_from(ms).ok()),
        open: optional_count(fields, Field::Count),
    }))
}

/// A number that only this project sends. Node ignores the field, so any other value counts as absent.
fn optional_count(fields: &Fields<'_>, field: Field) -> Option<u64> {
    fields.raw(field).and_then(|_| fields.count(field).ok())
}

/// The error of a reply. Every value that is true in JavaScript is an error; a number is the number of the
/// error.
fn errno(value: &Js<'_>) -> Option<Errno> {
    let number = || value.int32().checked_abs().filter(|number| *number != 0);
    value.is_true().then(|| number().map_or(Errno::EPROTO, Errno))
}

/// The address of a Node primary's socket. Node omits the field for a path, and sends an empty object if the
/// socket has no address.
fn sockname(fields: &Fields<'_>) -> Result<Option<LocalAddress>, Violation> {
    let Some(raw) = fields.raw(Field::Sockname) else { return Ok(None) };
    let inner = Fields::of(raw);
    let Some(address) = inner.text(Field::Address).filter(|address| !address.is_empty()) else {
        return Ok(None);
    };
    let (host, zone) = address.split_once('%').unwrap_or((&address, ""));
    let host = host.parse().map_err(|_| inner.violation(Field::Address))?;
    let port = inner.get(Field::Port).integer().and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or_else(|| inner.violation(Field::Port))?;
    Ok(Some(match host {
        IpAddr::V6(host) if !zone.is_empty() => LocalAddress::in_zone(host, zone, port),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(host, port).into(),
    }))
}

fn listening(fields: &Fields<'_>) -> Result<ListeningAddress, Violation> {
    let address = fields.text(Field::Address).map(Cow::into_owned);
    if address.as_ref().is_some_and(|address| address.len() > ADDRESS) {
        return Err(fields.violation(Field::Address));
    }
    Ok(ListeningAddress {
        address,
        // Node sends -1 for a Unix socket, and null for the descriptor of a Unix socket; neither is a port.
        port: match stream_port(fields)?.unwrap_or(0) {
            port @ -1..=65_535 => i32::try_from(port).expect("a port below 65536"),
            _ => return Err(fields.violation(Field::Port)),
        },
        address_type: address_type(&fields.get(Field::AddressType)),
        fd: fd(fields),
    })
}

fn query(fields: &Fields<'_>) -> Result<QueryServer, Violation> {
    let address_type = address_type(&fields.get(Field::AddressType));
    let port = match address_type {
        AddressType::Udp4 | AddressType::Udp6 => udp_port(&fields.get(Field::Port)),
        AddressType::V4 | AddressType::V6 | AddressType::Path | AddressType::Descriptor => {
            stream_port(fields)?
        }
    };
    Ok(QueryServer {
        key: query_key(fields),
        index: fields.count(Field::Index)?,
        data: Data::of(fields.raw(Field::Data)),
        // Any length is accepted here: an honest program may ask for a long address, and receives an error
        // number.
        address: fields.text(Field::Address).map(Cow::into_owned),
        port,
        address_type,
        fd: fd(fields),
        flags: flags(&fields.get(Field::Flags)),
        backlog: backlog(&fields.get(Field::Backlog)),
        // Only `true` widens the mode, as in Node; other values that are true in JavaScript do not.
        readable_all: fields.get(Field::ReadableAll) == Js::Boolean(true),
        writable_all: fields.get(Field::WritableAll) == Js::Boolean(true),
    })
}

/// The key of a query, from the fields as strings. A key that is too long is rejected before it is kept.
fn query_key(fields: &Fields<'_>) -> HandleKey {
    let parts = [Field::Address, Field::Port, Field::AddressType, Field::Fd, Field::Index];
    let parts = parts.map(|field| fields.get(field).text());
    let [address, port, address_type, fd, index] = &parts;
    HandleKey::of([address, port, address_type, fd, index])
}

/// The port of a stream socket. Node's `net` sends an integer, -1 for a path, or null for a descriptor.
fn stream_port(fields: &Fields<'_>) -> Result<Option<i64>, Violation> {
    let port = fields.get(Field::Port);
    if port.is_nullish() {
        Ok(None)
    } else {
        port.integer().map(Some).ok_or_else(|| fields.violation(Field::Port))
    }
}

/// The port of a datagram socket. Node's `dgram` sends the program's value, and uses the low 16 bits of a
/// number, and 0 for any other value.
fn udp_port(port: &Js<'_>) -> Option<i64> {
    (!port.is_nullish()).then(|| i64::from(port.int32() & 0xFFFF))
}

fn flags(value: &Js<'_>) -> Option<u64> {
    (!value.is_nullish()).then(|| value.int32().cast_unsigned().into())
}

/// A descriptor. A fraction, or a number that no descriptor has, becomes `i64::MAX`.
fn fd(fields: &Fields<'_>) -> Option<i64> {
    let fd = fields.get(Field::Fd);
    (!fd.is_nullish()).then(|| fd.integer().unwrap_or(i64::MAX))
}

/// The backlog. Node: `backlog || 511`, converted to a 32-bit integer. To the kernel, a negative number is
/// the largest backlog. If the conversion results in 0, the backlog is 1, the smallest of the kernel.
fn backlog(value: &Js<'_>) -> Option<u32> {
    let given = || u32::try_from(value.int32()).unwrap_or(u32::MAX).max(1);
    (*value != Js::Undefined).then(|| if value.is_true() { given() } else { 0 })
}

/// The type of an address. A type that Node does not handle counts as TCP: a program's own `dns.lookup` may
/// return another family.
fn address_type(value: &Js<'_>) -> AddressType {
    match (&*value.text(), value.int32()) {
        ("udp4", _) => AddressType::Udp4,
        ("udp6", _) => AddressType::Udp6,
        (_, -1) => AddressType::Path,
        (_, 6) => AddressType::V6,
        _ if value.is_nullish() => AddressType::Descriptor,
        _ => AddressType::V4,
    }
}

#[cfg(test)]
mod tests;
