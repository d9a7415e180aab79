use super::*;
use alloc::format;
use alloc::string::ToString;

use crate::message::encode;
use crate::serialization::Serialization;
use crate::violation::FieldKind;
use serde_json::{Value, json};

fn decode(line: &[u8]) -> Result<Frame, Violation> {
    super::decode(line, &Bytes::copy_from_slice)
}

fn cluster_message(line: &str) -> ClusterMessage {
    match decode(line.as_bytes()) {
        Ok(Frame::Message(ChannelMessage::Cluster(cluster))) => *cluster,
        Ok(Frame::Handle(envelope)) => match envelope.message {
            ChannelMessage::Cluster(cluster) => *cluster,
            ChannelMessage::User(_)
            | ChannelMessage::SocketCount(_)
            | ChannelMessage::Supervision(_)
            | ChannelMessage::Foreign => unreachable!("{line}"),
        },
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

/// The recorded lines can be decoded, and encoding a message and decoding it again changes nothing.
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

/// A frame that is recognized by the text is decoded like the same frame with a blank in front, which is read
/// field by field.
#[test]
fn recognized_frames_decode_as_others() {
    let offer = r#"{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":1}"#;
    let envelope = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":1}"#;
    let messages = [
        offer,
        envelope,
        "null",
        r#"{"cmd":"NODE_HANDLE_ACK"}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"newconn","seq":-1}"#,
        r#"{"a":"\ud800","cmd":"NODE_X"}"#,
        "1} ",
        r#"1,"key":"k""#,
        r#"1,"type":"net.Socket""#,
        "1,2",
        "",
        "{",
    ];
    let envelopes = messages.map(|msg| format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{msg}}}"#));
    for line in envelopes.iter().map(String::as_str).chain([ACK]) {
        assert_eq!(decode(line.as_bytes()), decode(format!(" {line}").as_bytes()), "{line}");
    }
    assert_eq!(decode(ACK.as_bytes()), Ok(Frame::Ack));
}

/// The key of a sender that counts connections is decoded up to a bound.
#[test]
fn counting_key_has_bounds() {
    for (length, is_kept) in [(0, false), (1, true), (ADDRESS, true), (ADDRESS + 1, false)] {
        let key = "k".repeat(length);
        let line = json!({ "cmd": "NODE_HANDLE", "type": "net.Socket", "key": key, "msg": 1 }).to_string();
        let Ok(Frame::Handle(envelope)) = decode(line.as_bytes()) else { unreachable!("{length}") };
        assert_eq!(envelope.key, is_kept.then_some(key));
    }
}

/// An address that is too long to be kept is a violation.
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

/// The key of a recorded query is the key that Node forms.
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

/// A `cmd` is internal only if it begins with `NODE_` and has further characters.
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

fn connection_with(message: Value) -> Frame {
    let message = ChannelMessage::User(message.into());
    Frame::Handle(Box::new(Envelope { message, kind: HandleType::Socket, key: None }))
}

#[test]
fn two_envelopes_are_one() {
    let inner = json!({"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"hello":1}});
    let outer = json!({"cmd":"NODE_HANDLE","type":"net.Native","msg":inner});
    let line = serde_json::to_vec(&outer).expect("JSON");
    let frame = connection_with(json!({"hello":1}));
    assert_eq!(decode(&line), Ok(frame));
}

/// An envelope may contain `null`.
#[test]
fn null_in_envelope_is_message() {
    let line = br#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":null}"#;
    let frame = connection_with(Value::Null);
    assert_eq!(decode(line), Ok(frame));
}

/// A message in three envelopes is a violation, and so is a message in thousands of envelopes.
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
    let line = alloc::format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,{fields},"seq":1}}"#);
    let Some(Request::QueryServer(query)) = cluster_message(&line).request else { unreachable!("{line}") };
    query
}

/// The kept part of a query is bounded in length and depth. A worker that exceeds the bounds receives an
/// error number.
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

/// `listen(port, host, callback)` sends `false` as the backlog, and a program may pass any value.
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

/// The port of a datagram socket is the value of the program, and the key contains its string.
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

/// Only `true` widens a mode, a descriptor may be out of range, and a program's own `dns.lookup` may omit the
/// family.
#[test]
fn fields_are_coerced_as_in_node() {
    for (json, readable) in
        [("true", true), ("false", false), ("1", false), (r#""yes""#, false), ("null", false)]
    {
        assert_eq!(query_of(&alloc::format!(r#""readableAll":{json}"#)).readable_all, readable, "{json}");
    }
    for (json, fd) in [("7", Some(7)), ("7.5", Some(i64::MAX)), ("null", None), ("1e300", Some(i64::MAX))] {
        assert_eq!(query_of(&alloc::format!(r#""fd":{json}"#)).fd, fd, "{json}");
    }
    for (json, kind) in [("4", AddressType::V4), ("6", AddressType::V6), (r#""IPv4""#, AddressType::V4)] {
        assert_eq!(query_of(&alloc::format!(r#""addressType":{json}"#)).address_type, kind, "{json}");
    }
    assert_eq!(query_of(r#""flags":null"#).flags, None);
    assert_eq!(query_of(r#""flags":5"#).flags, Some(5));
}

/// What Node ignores is no violation: foreign commands, further fields, an unknown act, an unexpected answer.
#[test]
fn unread_fields_are_ignored() {
    let deep = alloc::format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for field in ["seq", "ack", "key", "act", "port", "backlog", "data", "further"] {
        for value in ["null", "-1", "0.5", r#""text""#, "true", "{}", &deep, r#""\ud800""#] {
            let line = alloc::format!(r#"{{"cmd":"NODE_FOREIGN","{field}":{value}}}"#);
            assert_eq!(decode(line.as_bytes()), Ok(Frame::Message(ChannelMessage::Foreign)), "{field}");
        }
    }
    for fields in
        [r#""ack":-1"#, r#""ack":0.5"#, r#""ack":"1""#, r#""act":7"#, r#""act":"unknown""#, r#""act":null"#]
    {
        let cluster = cluster_message(&alloc::format!(r#"{{"cmd":"NODE_CLUSTER",{fields},"seq":0}}"#));
        assert_eq!(cluster, ClusterMessage { seq: 0, reply: None, request: None }, "{fields}");
    }
    let online = alloc::format!(r#"{{"cmd":"NODE_CLUSTER","act":"online","further":{deep},"seq":0}}"#);
    assert_eq!(cluster_message(&online).request, Some(Request::Online));
}

/// A reply of a Node primary is converted as in Node.
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
    for (json, accepted) in [("true", true), ("1", true), ("0", false), ("null", false), ("false", false)] {
        assert_eq!(reply(&alloc::format!(r#""accepted":{json}"#)).accepted, Some(accepted), "{json}");
    }
    let at = |address: &str| {
        let sockname = alloc::format!(r#""sockname":{{"address":"{address}","family":"IPv6","port":80}}"#);
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
