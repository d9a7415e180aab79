//! The texts of errors: what failed, and what to do.

use cluster_core::{
    AddressType, ChannelError, Errno, Escaped, FieldKind, ForkError, ListenAddress, ListenError,
    ListeningAddress, LocalAddress, MessageError, PolicyFrozen, SendError, Violation, WorkerError,
};

fn all<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// Each violation has a readable text.
#[test]
fn violation_display_is_readable() {
    let violations = [
        Violation::Malformed,
        Violation::TooLong,
        Violation::UnaskedAck,
        Violation::StrayDescriptor,
        Violation::BadFields { field: "type", found: FieldKind::Text },
        Violation::Unacknowledged,
    ];
    let texts = all(&violations);
    assert!(texts.iter().all(|text| text.starts_with("received ")), "{texts:?}");
    assert_eq!(texts.iter().collect::<std::collections::BTreeSet<_>>().len(), texts.len());
}

#[test]
fn channel_errors_are_readable() {
    let errors = [
        ChannelError::Write { errno: Errno::EPIPE, lost: 1 },
        ChannelError::NotReceived,
        ChannelError::Protocol(Violation::TooLong),
    ];
    assert_eq!(
        all(&errors),
        [
            "a message to the primary is lost: EPIPE (the other end is closed); its process has exited or has closed the channel",
            "a socket and its message did not reach the primary",
            "the channel to the primary was closed: received a message longer than `message_bytes`",
        ]
    );
}

/// Every error number with a name, in every text.
#[test]
fn errnos_have_fitting_advice() {
    use std::fmt::Write;
    let start = |errno, directory: Option<&str>| WorkerError::Spawn {
        program: Some("/srv/web".into()),
        directory: directory.map(Into::into),
        errno,
    };
    let bind = |errno, address| ListenError { errno, address, exclusive: false };
    let path = || ListenAddress::Path { path: "/run/web".into(), readable_all: false, writable_all: false };
    let mut table = String::new();
    for errno in (1..200).map(Errno).filter(|errno| errno.name().is_some()) {
        let texts = [
            start(errno, None).to_string(),
            start(errno, Some("/srv")).to_string(),
            bind(errno, ListenAddress::any(80)).to_string(),
            bind(errno, path()).to_string(),
            WorkerError::Kill(errno).to_string(),
            WorkerError::Write { errno, lost: 2 }.to_string(),
            WorkerError::Delayed(errno).to_string(),
        ];
        for text in texts {
            assert!(text.contains(errno.name().expect("the name of an errno")), "{text}");
            writeln!(table, "{text}").expect("there is room");
        }
    }
    insta::assert_snapshot!(table);
}

/// The text of an error ends with what to do.
#[test]
fn errors_end_with_advice() {
    assert_eq!(SendError::Closed.to_string(), "the channel is closed; check `is_connected` before sending");
    assert_eq!(
        SendError::Full.to_string(),
        "the peer reads its channel too slowly, or not at all; wait for room with `send_when_room`, or disconnect the peer"
    );
    let texts = all(&[ForkError::NoChannel, ForkError::TwoChannels, ForkError::NoScript]);
    assert!(texts[0].ends_with("add one, or leave it empty") && texts[1].ends_with("leave one"), "{texts:?}");
    assert!(PolicyFrozen.to_string().contains("before the first `setup` or `fork`"));
}

/// The advice for an invalid argument depends on the kind of the address.
#[test]
fn invalid_address_has_fitting_advice() {
    let zoned = ListenAddress::Zoned {
        host: "fe80::1".parse().expect("an address"),
        zone: "nonesuch".into(),
        port: 80,
        udp: false,
        ipv6_only: false,
    };
    let descriptor = ListenAddress::Descriptor { fd: 77, udp: false };
    let advice = |address| ListenError { errno: Errno::EINVAL, address, exclusive: false }.to_string();
    assert!(
        advice(zoned)
            .ends_with("the zone must be the name or the number of a network interface of this machine")
    );
    assert!(advice(descriptor).contains("a descriptor must be a socket of the primary"));
}

/// TCP has no multicast: another zone does not help.
#[test]
fn multicast_address_has_fitting_advice() {
    let tcp = |port| ListenAddress::Tcp { host: "ff02::1".parse().ok(), port, ipv6_only: false };
    let text = ListenError { errno: Errno::EINVAL, address: tcp(80), exclusive: false }.to_string();
    let expected =
        "TCP has no multicast; choose an address of an interface of this machine, or every address";
    assert!(text.ends_with(expected), "{text}");
}

/// Characters that change the display of other characters, by their categories: Cf, Zl, Zp, Cc.
#[test]
fn characters_without_glyph_are_escaped() {
    let format = [
        '\u{ad}',
        '\u{600}',
        '\u{605}',
        '\u{61c}',
        '\u{6dd}',
        '\u{70f}',
        '\u{8e2}',
        '\u{180e}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202b}',
        '\u{202c}',
        '\u{202d}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2067}',
        '\u{2068}',
        '\u{2069}',
        '\u{206f}',
        '\u{feff}',
        '\u{fff9}',
        '\u{fffb}',
        '\u{110bd}',
        '\u{1bca0}',
        '\u{1d173}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{2028}',
        '\u{2029}',
        '\u{85}',
        '\u{9b}',
        '\u{7f}',
        '\0',
    ];
    for char in format {
        let text = Escaped(&format!("a{char}b")).to_string();
        assert!(Escaped::is_escaped(char) && text.is_ascii(), "{text:?}");
    }
    let readable = "a é e\u{301} ж 文 ع 🦀 \\ ' \" \u{fffd}";
    assert_eq!(Escaped(readable).to_string(), readable);
}

/// A control or format character in a path, a zone, a host, a program or a field of a message is escaped.
#[test]
fn control_characters_are_escaped() {
    let zone = || "eth\u{1b}0".to_owned();
    let host = "fe80::1".parse().expect("an address");
    let path = ListenAddress::Path { path: "/run/a\0b".into(), readable_all: false, writable_all: false };
    let zoned = ListenAddress::Zoned { host, zone: zone(), port: 80, udp: false, ipv6_only: false };
    let texts = [
        path.to_string(),
        zoned.to_string(),
        LocalAddress::Path("\0abstract\n".into()).to_string(),
        LocalAddress::Zoned { host, zone: zone(), port: 80 }.to_string(),
        MessageError::Type { reason: "unknown field `\u{202e}`".into() }.to_string(),
        MessageError::NoForm { what: "a date", path: ".\u{2066}a".into() }.to_string(),
        ListeningAddress { address: Some("a\nb".into()), port: 80, address_type: AddressType::V4, fd: None }
            .to_string(),
        WorkerError::Spawn {
            program: Some("a\0b".into()),
            directory: Some("c\td".into()),
            errno: Errno::ENOENT,
        }
        .to_string(),
    ];
    let starts = [
        r"/run/a\0b",
        r"[fe80::1%eth\u{1b}0]:80",
        r"@abstract\n",
        r"[fe80::1%eth\u{1b}0]:80",
        r"the message and the type do not fit: unknown field `\u{202e}`",
        r"message.\u{2066}a is",
        r"a\nb:80",
        r"cannot start `a\0b` in the directory `c\td`",
    ];
    for (text, start) in texts.iter().zip(starts) {
        assert!(text.starts_with(start), "{text}");
    }
}

/// Addresses have their usual spelling.
#[test]
fn address_display_is_readable() {
    let ip: std::net::SocketAddr = "[::1]:80".parse().expect("an address");
    assert_eq!(all(&[LocalAddress::from(ip), LocalAddress::Path("/run/it".into())]), ["[::1]:80", "/run/it"]);
}

/// Listening addresses have their usual spelling.
#[test]
fn listening_address_display_is_readable() {
    let at = |address: Option<&str>, port, address_type, fd| {
        ListeningAddress { address: address.map(Into::into), port, address_type, fd }.to_string()
    };
    assert_eq!(at(Some("127.0.0.1"), 8000, AddressType::V4, None), "127.0.0.1:8000");
    assert_eq!(at(Some("::1"), 8000, AddressType::V6, None), "[::1]:8000");
    assert_eq!(at(None, 8000, AddressType::V4, None), "*:8000");
    assert_eq!(at(None, 8000, AddressType::Udp4, Some(-1)), "*:8000");
    assert_eq!(at(Some("/run/web"), -1, AddressType::Path, None), "/run/web");
    assert_eq!(at(Some("\0web"), -1, AddressType::Path, None), "@web");
    assert_eq!(at(None, -1, AddressType::Descriptor, Some(3)), "descriptor 3");
}
