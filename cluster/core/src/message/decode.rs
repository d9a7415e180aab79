//! Frames to messages. Each field is coerced as in Node's own code, and fields that Node ignores are ignored: a
//! violation is only what no unmodified Node sends. `docs/node.md` lists the fields.

use alloc::borrow::Cow;
use alloc::string::String;
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::advanced::{self, Rules};
use super::fields::Fields;
use super::js::Js;
use super::{
    ChannelMessage, ClusterMessage, Data, Envelope, Frame, HandleKey, HandleType, QueryServer, Reply,
    Request, SocketCount, json, surrogates,
};
use crate::address::{AddressType, ListeningAddress};
use crate::os::{Errno, LocalAddress};
use crate::payload::Message;
use crate::violation::Violation;

/// The longest host, path or key, in bytes. A Unix socket's path is shorter.
pub(crate) const ADDRESS: usize = 4096;

/// Keeps a part of the received bytes, by a copy or by sharing memory.
pub(crate) type Keep<'a> = &'a dyn Fn(&[u8]) -> Bytes;

/// The envelope of a message with a descriptor.
pub(super) const HANDLE: &str = "NODE_HANDLE";

/// A retransmitted socket of Node 20 has two envelopes; no socket has more.
const ENVELOPES: u8 = 2;

/// Decodes one line, without its newline.
pub(crate) fn decode(line: &[u8], keep: Keep<'_>) -> Result<Frame, Violation> {
    let text = core::str::from_utf8(line).map_err(|_| Violation::Malformed)?;
    decode_within(text, keep, ENVELOPES)
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
    let may_be_reserved = json::may_be_reserved(text);
    if may_be_reserved
        && let Ok(fields) = serde_json::from_str::<Fields<'_>>(text)
        && let Js::Text(cmd) = fields.get("cmd")
        && json::is_internal(&cmd)
    {
        return internal(&cmd, &fields, keep, envelopes);
    }
    json::check(text)?;
    // The name of a field contains a lone surrogate.
    if may_be_reserved && json::reserved(text).is_some() {
        let mended = surrogates::without_lone_ones(text.as_bytes()).ok_or(Violation::Malformed)?;
        let mended = core::str::from_utf8(&mended).map_err(|_| Violation::Malformed)?;
        let fields = serde_json::from_str::<Fields<'_>>(mended).map_err(|_| Violation::Malformed)?;
        let Js::Text(cmd) = fields.get("cmd") else { return Err(Violation::Malformed) };
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
            let inner = fields.raw("msg").ok_or(fields.violation("msg"))?;
            envelope(fields, envelopes, |left| decode_within(inner.get(), keep, left))
        }
        "NODE_SOCKET_GET_COUNT" => counting(SocketCount::GetCount),
        "NODE_SOCKET_NOTIFY_CLOSE" => counting(SocketCount::NotifyClose),
        // Also the answers to questions, which this crate never asks.
        _ => Ok(Frame::Message(ChannelMessage::Foreign)),
    }
}

/// A message in an envelope that describes its descriptor; at most this many more envelopes may be inside.
fn envelope(
    fields: &Fields<'_>,
    envelopes: u8,
    inner: impl FnOnce(u8) -> Result<Frame, Violation>,
) -> Result<Frame, Violation> {
    let envelopes = envelopes.checked_sub(1).ok_or(fields.violation("msg"))?;
    match inner(envelopes)? {
        Frame::Message(message) => {
            Ok(Frame::Handle(Envelope { message, kind: kind(fields)?, key: key(fields) }))
        }
        // Any number of envelopes needs one acknowledgement, and the innermost describes the descriptor.
        inner @ Frame::Handle(_) => Ok(inner),
        Frame::Ack | Frame::Nack => Err(fields.violation("msg")),
    }
}

/// The key by which a sender counts its connections. Node does not count without a key.
fn key(fields: &Fields<'_>) -> Option<String> {
    let key = fields.text("key").filter(|key| !key.is_empty() && key.len() <= ADDRESS);
    key.map(Cow::into_owned)
}

/// The type of a descriptor. Node crashes on an unknown type; without a type, the socket is bare.
fn kind(fields: &Fields<'_>) -> Result<HandleType, Violation> {
    match fields.text("type").as_deref() {
        // `net.BoundSocket` is a type of Node 24.21 and 26.
        Some("net.Native" | "net.BoundSocket") | None => Ok(HandleType::Native),
        Some("net.Server") => Ok(HandleType::Server),
        Some("net.Socket") => Ok(HandleType::Socket),
        Some("dgram.Native") => Ok(HandleType::DatagramNative),
        Some("dgram.Socket") => {
            Ok(HandleType::Datagram { v6: fields.text("dgramType").as_deref() == Some("udp6") })
        }
        Some(_) => Err(fields.violation("type")),
    }
}

/// An unknown `act`, and an `ack` of an unknown message, are ignored, as in Node.
fn cluster(fields: &Fields<'_>) -> Result<ChannelMessage, Violation> {
    let key = || HandleKey(fields.get("key").text().into_owned());
    let request = match fields.text("act").as_deref() {
        Some("online") => Some(Request::Online),
        Some("exitedAfterDisconnect") => Some(Request::ExitedAfterDisconnect),
        Some("disconnect") => Some(Request::Disconnect),
        Some("close") => Some(Request::Close(key())),
        Some("newconn") => Some(Request::NewConn(key())),
        Some("listening") => Some(Request::Listening(listening(fields)?)),
        Some("queryServer") => Some(Request::QueryServer(query(fields)?)),
        Some(_) | None => None,
    };
    Ok(ChannelMessage::from(ClusterMessage { seq: fields.count("seq")?, reply: reply(fields)?, request }))
}

fn reply(fields: &Fields<'_>) -> Result<Option<Reply>, Violation> {
    // Node looks for a message with the number, and finds none.
    let Ok(ack) = fields.count("ack") else { return Ok(None) };
    if fields.raw("ack").is_none() {
        return Ok(None);
    }
    Ok(Some(Reply {
        ack,
        errno: errno(&fields.get("errno")),
        key: fields.text("key").map(|key| HandleKey(key.into_owned())),
        data: Data::of(fields.raw("data")).unwrap_or_default(),
        sockname: sockname(fields)?,
        accepted: fields.raw("accepted").map(|_| fields.get("accepted").is_true()),
    }))
}

/// Any true value is an error; a number is the error's number.
fn errno(value: &Js<'_>) -> Option<Errno> {
    let number = || value.int32().checked_abs().filter(|number| *number != 0);
    value.is_true().then(|| number().map_or(Errno::EPROTO, Errno))
}

/// The address of a Node primary's socket: absent for a path, an empty object if the primary has no address.
fn sockname(fields: &Fields<'_>) -> Result<Option<LocalAddress>, Violation> {
    let Some(raw) = fields.raw("sockname") else { return Ok(None) };
    let inner = Fields::of(raw);
    let Some(address) = inner.text("address").filter(|address| !address.is_empty()) else { return Ok(None) };
    let (host, zone) = address.split_once('%').unwrap_or((&address, ""));
    let host = host.parse().map_err(|_| inner.violation("address"))?;
    let port = inner.get("port").integer().and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(inner.violation("port"))?;
    Ok(Some(match host {
        IpAddr::V6(host) if !zone.is_empty() => LocalAddress::in_zone(host, zone, port),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(host, port).into(),
    }))
}

fn listening(fields: &Fields<'_>) -> Result<ListeningAddress, Violation> {
    let address = fields.text("address").map(Cow::into_owned);
    if address.as_ref().is_some_and(|address| address.len() > ADDRESS) {
        return Err(fields.violation("address"));
    }
    Ok(ListeningAddress {
        address,
        // A Unix socket has -1, which is no port; a descriptor of one has null.
        port: match stream_port(fields)?.unwrap_or(0) {
            port @ -1..=65_535 => i32::try_from(port).expect("it is small"),
            _ => return Err(fields.violation("port")),
        },
        address_type: address_type(&fields.get("addressType")),
        fd: fd(fields),
    })
}

fn query(fields: &Fields<'_>) -> Result<QueryServer, Violation> {
    let address_type = address_type(&fields.get("addressType"));
    let port = match address_type {
        AddressType::Udp4 | AddressType::Udp6 => udp_port(&fields.get("port")),
        AddressType::V4 | AddressType::V6 | AddressType::Path | AddressType::Descriptor => {
            stream_port(fields)?
        }
    };
    Ok(QueryServer {
        key: query_key(fields),
        index: fields.count("index")?,
        data: Data::of(fields.raw("data")),
        // Of any length: an honest program may ask for a long address, and gets an error number.
        address: fields.text("address").map(Cow::into_owned),
        port,
        address_type,
        fd: fd(fields),
        flags: flags(&fields.get("flags")),
        backlog: backlog(&fields.get("backlog")),
        // Not by truth: Node widens the mode for `true` only.
        readable_all: fields.get("readableAll") == Js::Boolean(true),
        writable_all: fields.get("writableAll") == Js::Boolean(true),
    })
}

/// The key of a query, from the fields as strings. A long key is rejected before it is kept.
fn query_key(fields: &Fields<'_>) -> HandleKey {
    let parts = ["address", "port", "addressType", "fd", "index"].map(|name| fields.get(name).text());
    let [address, port, address_type, fd, index] = &parts;
    HandleKey::of([address, port, address_type, fd, index])
}

/// `net` sends an integer, -1 for a path, or null for a descriptor.
fn stream_port(fields: &Fields<'_>) -> Result<Option<i64>, Violation> {
    let port = fields.get("port");
    if port.is_nullish() { Ok(None) } else { port.integer().map(Some).ok_or(fields.violation("port")) }
}

/// `dgram` sends the program's value: Node uses the low 16 bits of any number, and 0 for other values.
fn udp_port(port: &Js<'_>) -> Option<i64> {
    (!port.is_nullish()).then(|| i64::from(port.int32() & 0xFFFF))
}

fn flags(value: &Js<'_>) -> Option<u64> {
    (!value.is_nullish()).then(|| value.int32().cast_unsigned().into())
}

/// A fraction, or a number that no descriptor has, becomes `i64::MAX`.
fn fd(fields: &Fields<'_>) -> Option<i64> {
    let fd = fields.get("fd");
    (!fd.is_nullish()).then(|| fd.integer().unwrap_or(i64::MAX))
}

/// Node: `backlog || 511`, then a 32-bit integer; for the kernel a negative one is the largest. A value that is 0
/// only after the conversion is the kernel's smallest, 1.
fn backlog(value: &Js<'_>) -> Option<u32> {
    let given = || u32::try_from(value.int32()).unwrap_or(u32::MAX).max(1);
    (*value != Js::Undefined).then(|| if value.is_true() { given() } else { 0 })
}

/// A type that Node does not handle, such as another family of a program's own `dns.lookup`, is TCP.
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
mod tests {
    use super::*;
    use alloc::string::ToString;

    use crate::message::encode;
    use crate::settings::Serialization;
    use crate::violation::FieldKind;
    use serde_json::{Value, json};

    fn decode(line: &[u8]) -> Result<Frame, Violation> {
        super::decode(line, &Bytes::copy_from_slice)
    }

    fn cluster_message(line: &str) -> ClusterMessage {
        match decode(line.as_bytes()) {
            Ok(
                Frame::Message(ChannelMessage::Cluster(cluster))
                | Frame::Handle(Envelope { message: ChannelMessage::Cluster(cluster), .. }),
            ) => *cluster,
            other => unreachable!("{line}: {other:?}"),
        }
    }

    /// Lines of a Node 20 worker and primary.
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

    /// The recorded lines are decoded, and decoded equally after encoding.
    #[test]
    fn recorded_lines_survive_encoding() {
        for line in RECORDED {
            let cluster = cluster_message(line);
            let ours = encode(
                &ChannelMessage::from(cluster.clone()),
                line.contains("NODE_HANDLE").then_some(HandleType::Native),
                Serialization::Json,
            );
            assert_eq!(cluster_message(core::str::from_utf8(&ours).expect("JSON").trim_end()), cluster);
        }
    }

    /// The key of a counting sender is present and bounded.
    #[test]
    fn counting_key_has_bounds() {
        for (length, is_kept) in [(0, false), (1, true), (ADDRESS, true), (ADDRESS + 1, false)] {
            let key = "k".repeat(length);
            let line =
                json!({ "cmd": "NODE_HANDLE", "type": "net.Socket", "key": key, "msg": 1 }).to_string();
            let Ok(Frame::Handle(envelope)) = decode(line.as_bytes()) else { unreachable!("{length}") };
            assert_eq!(envelope.key, is_kept.then_some(key));
        }
    }

    /// An address too long to keep is a violation.
    #[test]
    fn listening_address_has_a_bound() {
        let line = |length: usize| {
            let address = "a".repeat(length);
            json!({ "cmd": "NODE_CLUSTER", "act": "listening", "address": address, "port": -1, "addressType": -1 })
                .to_string()
        };
        assert!(decode(line(ADDRESS).as_bytes()).is_ok());
        assert!(decode(line(ADDRESS + 1).as_bytes()).is_err());
    }

    /// The key of a recorded query is Node's.
    #[test]
    fn query_key_matches_node() {
        let Some(Request::QueryServer(query)) = cluster_message(RECORDED[1]).request else { unreachable!() };
        assert_eq!(query.key.0, "null:0:4:undefined:0");
    }

    /// An error in a reply becomes a positive error number.
    #[test]
    fn reply_error_is_positive() {
        let reply = cluster_message(RECORDED[7]).reply.expect("a reply");
        assert_eq!(reply.errno, Some(Errno(98)));
    }

    /// Only a `cmd` that begins with `NODE_` and continues is internal.
    #[test]
    fn internal_cmd_continues_after_prefix() {
        let user = |line: &str| {
            decode(line.as_bytes())
                == Ok(Frame::Message(ChannelMessage::User(Message::of_json(Bytes::copy_from_slice(
                    line.as_bytes(),
                )))))
        };
        assert!(user(r#"{"cmd":"NODE_"}"#));
        assert!(user(r#""NODE_CLUSTER""#));
        assert!(user(r#"{"text":"NODE_CLUSTER","act":7}"#));
        assert_eq!(decode(br#"{"cmd":"NODE_X"}"#), Ok(Frame::Message(ChannelMessage::Foreign)));
        assert_eq!(decode(br#"{"cmd":"\u004eODE_X"}"#), Ok(Frame::Message(ChannelMessage::Foreign)));
    }

    #[test]
    fn two_envelopes_are_one() {
        let inner = json!({"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"hello":1}});
        let outer = json!({"cmd":"NODE_HANDLE","type":"net.Native","msg":inner});
        let line = serde_json::to_vec(&outer).expect("JSON");
        let message = ChannelMessage::User(json!({"hello":1}).into());
        assert_eq!(
            decode(&line),
            Ok(Frame::Handle(Envelope { message, kind: HandleType::Socket, key: None }))
        );
    }

    /// An envelope may contain `null`.
    #[test]
    fn null_in_envelope_is_message() {
        let line = br#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":null}"#;
        let message = ChannelMessage::User(Value::Null.into());
        assert_eq!(
            decode(line),
            Ok(Frame::Handle(Envelope { message, kind: HandleType::Socket, key: None }))
        );
    }

    /// A message in three envelopes is a violation, and so is one in thousands.
    #[test]
    fn third_envelope_is_a_violation() {
        for depth in [3, 100_000] {
            let mut line = r#"{"cmd":"NODE_HANDLE","msg":"#.repeat(depth);
            line.push('1');
            line.push_str(&"}".repeat(depth));
            assert!(matches!(decode(line.as_bytes()), Err(Violation::BadFields { field: "msg", .. })));
        }
    }

    fn query_of(fields: &str) -> QueryServer {
        let line =
            alloc::format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,{fields},"seq":1}}"#);
        let Some(Request::QueryServer(query)) = cluster_message(&line).request else {
            unreachable!("{line}")
        };
        query
    }

    /// The kept part of a query is bounded in length and depth; a worker that exceeds the bounds gets an error
    /// number.
    #[test]
    fn data_of_query_is_bounded() {
        let data = |json: &str| query_of(&alloc::format!(r#""data":{json},"addressType":4"#)).data;
        let nested = |depth| alloc::format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (json, is_kept) in [
            (alloc::format!("{:?}", "x".repeat((16 << 10) - 2)), true),
            (alloc::format!("{:?}", "x".repeat(16 << 10)), false),
            (nested(64), true),
            (nested(65), false),
            (nested(1_000_000), false),
        ] {
            assert_eq!(data(&json).is_some(), is_kept);
        }
        assert!(query_of(r#""port":0"#).data.expect("kept").is_undefined());
    }

    /// `listen(port, host, callback)` sends `false`, and a program may give any value.
    #[test]
    fn backlog_is_coerced_as_in_node() {
        for (json, backlog) in [
            ("false", 0),
            ("null", 0),
            ("0", 0),
            (r#""""#, 0),
            ("true", 1),
            ("128", 128),
            (r#""128""#, 128),
            ("1.9", 1),
            ("0.5", 1),
            (r#""many""#, 1),
            ("-1", u32::MAX),
            ("4294967297", 1),
            ("[5]", 5),
            ("{}", 1),
        ] {
            assert_eq!(query_of(&alloc::format!(r#""backlog":{json}"#)).backlog, Some(backlog), "{json}");
        }
        assert_eq!(query_of(r#""port":0"#).backlog, None);
    }

    /// The port of a datagram socket is the program's value; the key contains its string.
    #[test]
    fn udp_port_coerces_as_in_node() {
        for (json, port, text) in [
            ("53", Some(53), "53"),
            (r#""53""#, Some(53), "53"),
            (r#""0x35""#, Some(53), "0x35"),
            ("53.7", Some(53), "53.7"),
            ("65589", Some(53), "65589"),
            ("-1", Some(65_535), "-1"),
            ("true", Some(1), "true"),
            (r#""domain""#, Some(0), "domain"),
            ("null", None, "null"),
        ] {
            let fields = r#""address":"0.0.0.0","addressType":"udp4","fd":-1,"flags":0"#;
            let query = query_of(&alloc::format!(r#""port":{json},{fields}"#));
            assert_eq!(query.port, port, "{json}");
            assert_eq!(query.key.0, alloc::format!("0.0.0.0:{text}:udp4:-1:0"));
        }
        assert_eq!(query_of(r#""addressType":"udp6","fd":-1"#).key.0, "undefined:undefined:udp6:-1:0");
    }

    /// A mode is widened for `true` only, a descriptor may be out of range, and a program's own `dns.lookup` may omit
    /// the family.
    #[test]
    fn fields_are_coerced_as_in_node() {
        for (json, readable) in
            [("true", true), ("false", false), ("1", false), (r#""yes""#, false), ("null", false)]
        {
            assert_eq!(query_of(&alloc::format!(r#""readableAll":{json}"#)).readable_all, readable, "{json}");
        }
        for (json, fd) in [("7", Some(7)), ("7.5", Some(i64::MAX)), ("null", None), ("1e300", Some(i64::MAX))]
        {
            assert_eq!(query_of(&alloc::format!(r#""fd":{json}"#)).fd, fd, "{json}");
        }
        for (json, kind) in [("4", AddressType::V4), ("6", AddressType::V6), (r#""IPv4""#, AddressType::V4)] {
            assert_eq!(query_of(&alloc::format!(r#""addressType":{json}"#)).address_type, kind, "{json}");
        }
        assert_eq!(query_of(r#""flags":null"#).flags, None);
        assert_eq!(query_of(r#""flags":5"#).flags, Some(5));
    }

    /// A message that Node ignores is not a violation: foreign commands, further fields, an unknown act or answer.
    #[test]
    fn unread_fields_are_ignored() {
        let deep = alloc::format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for field in ["seq", "ack", "key", "act", "port", "backlog", "data", "further"] {
            for value in ["null", "-1", "0.5", r#""text""#, "true", "{}", &deep, r#""\ud800""#] {
                let line = alloc::format!(r#"{{"cmd":"NODE_FOREIGN","{field}":{value}}}"#);
                assert_eq!(decode(line.as_bytes()), Ok(Frame::Message(ChannelMessage::Foreign)), "{field}");
            }
        }
        for fields in [
            r#""ack":-1"#,
            r#""ack":0.5"#,
            r#""ack":"1""#,
            r#""act":7"#,
            r#""act":"unknown""#,
            r#""act":null"#,
        ] {
            let cluster = cluster_message(&alloc::format!(r#"{{"cmd":"NODE_CLUSTER",{fields},"seq":0}}"#));
            assert_eq!(cluster, ClusterMessage { seq: 0, reply: None, request: None }, "{fields}");
        }
        let online = alloc::format!(r#"{{"cmd":"NODE_CLUSTER","act":"online","further":{deep},"seq":0}}"#);
        assert_eq!(cluster_message(&online).request, Some(Request::Online));
    }

    /// An answer of a Node primary.
    #[test]
    fn reply_is_coerced_as_in_node() {
        let reply = |fields: &str| {
            let line = alloc::format!(r#"{{"cmd":"NODE_CLUSTER",{fields},"ack":1,"seq":0}}"#);
            cluster_message(&line).reply.expect("a reply")
        };
        for (json, errno) in
            [("null", None), ("0", None), ("-98", Some(98)), ("98", Some(98)), ("-3008", Some(3008))]
        {
            assert_eq!(reply(&alloc::format!(r#""errno":{json}"#)).errno, errno.map(Errno), "{json}");
        }
        for (json, accepted) in [("true", true), ("1", true), ("0", false), ("null", false), ("false", false)]
        {
            assert_eq!(reply(&alloc::format!(r#""accepted":{json}"#)).accepted, Some(accepted), "{json}");
        }
        let at = |address: &str| {
            let sockname =
                alloc::format!(r#""sockname":{{"address":"{address}","family":"IPv6","port":80}}"#);
            reply(&sockname).sockname.expect("an address").to_string()
        };
        assert_eq!(
            ["fe80::1", "fe80::1%eth0", "fe80::1%2"].map(at),
            ["[fe80::1]:80", "[fe80::1%eth0]:80", "[fe80::1%2]:80"]
        );
        assert_eq!(reply(r#""sockname":{}"#).sockname, None);
        assert_eq!(reply(r#""sockname":null"#).sockname, None);
    }

    /// A violation names the field and the kind of its value.
    #[test]
    fn violation_names_its_field() {
        let failed = |line: &str| decode(line.as_bytes()).map(drop);
        let bad = |field, found| Err(Violation::BadFields { field, found });
        assert_eq!(decode(b""), Err(Violation::Malformed));
        assert_eq!(decode(b"{\"a\":"), Err(Violation::Malformed));
        assert_eq!(decode(b"\xff\xfe"), Err(Violation::Malformed));
        for (line, field, found) in [
            (r#"{"cmd":"NODE_HANDLE","type":"net.Native"}"#, "msg", FieldKind::Absent),
            (r#"{"cmd":"NODE_HANDLE","type":"file","msg":1}"#, "type", FieldKind::Text),
            (r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":"0"}"#, "index", FieldKind::Text),
            (r#"{"cmd":"NODE_CLUSTER","act":"queryServer","port":{}}"#, "port", FieldKind::Object),
            (r#"{"cmd":"NODE_CLUSTER","act":"listening","port":70000}"#, "port", FieldKind::Number),
            (r#"{"cmd":"NODE_CLUSTER","act":"online","seq":[]}"#, "seq", FieldKind::List),
            (
                r#"{"cmd":"NODE_CLUSTER","ack":1,"sockname":{"address":"::1","port":{}}}"#,
                "port",
                FieldKind::Object,
            ),
        ] {
            assert_eq!(failed(line), bad(field, found), "{line}");
        }
    }
}
