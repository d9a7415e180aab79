//! Spawn options as set and read, byte strings, and texts of errors.

use std::collections::BTreeSet;

use cluster_core::{
    ExitStatus, ForkError, OsBytes, PolicyFrozen, SendError, Serialization, Signal, SpawnOptions, Stdio,
    WorkerId,
};

/// Every option with a distinct value.
fn all() -> SpawnOptions {
    SpawnOptions::new()
        .exec("exec")
        .exec_argv(["exec_argv"])
        .args(["args"])
        .cwd("cwd")
        .silent(true)
        .stdio([Stdio::Channel])
        .uid(7)
        .gid(8)
        .groups([9])
        .ignore_terminal_signals(true)
        .serialization(Serialization::Advanced)
        .inspect_port(10)
}

#[test]
fn options_are_read_as_set() {
    let options = all();
    assert_eq!(options.exec.as_ref(), Some(&"exec".into()));
    assert_eq!(options.exec_argv.as_deref().unwrap_or_default(), ["exec_argv"]);
    assert_eq!(options.args.as_deref().unwrap_or_default(), ["args"]);
    assert_eq!(options.cwd.as_ref(), Some(&"cwd".into()));
    assert!(options.silent.unwrap_or_default() && options.ignore_terminal_signals.unwrap_or_default());
    assert_eq!(options.stdio.as_deref().unwrap_or_default(), [Stdio::Channel]);
    assert_eq!((options.uid, options.gid), (Some(7), Some(8)));
    assert_eq!(options.groups.as_deref(), Some(&[9][..]));
    assert_eq!(options.serialization.unwrap_or_default(), Serialization::Advanced);
    assert_eq!(options.inspect_port, Some(10));
}

#[test]
fn unset_options_have_defaults() {
    let options = SpawnOptions::new();
    assert_eq!((options.exec.as_ref(), options.cwd.as_ref(), options.groups.as_deref()), (None, None, None));
    assert!(
        options.exec_argv.as_deref().unwrap_or_default().is_empty()
            && options.args.as_deref().unwrap_or_default().is_empty()
            && options.stdio.as_deref().unwrap_or_default().is_empty()
    );
    assert!(!options.silent.unwrap_or_default() && !options.ignore_terminal_signals.unwrap_or_default());
    assert_eq!((options.uid, options.gid, options.inspect_port), (None, None, None));
    assert_eq!(options.serialization.unwrap_or_default(), Serialization::Json);
}

/// Only set options are shown.
#[test]
fn debug_shows_what_is_set() {
    assert_eq!(format!("{:?}", SpawnOptions::new()), "SpawnOptions");
    let text = format!("{:?}", SpawnOptions::new().uid(7).cwd("/srv"));
    assert_eq!(text, r#"SpawnOptions { cwd: "/srv", uid: 7 }"#);
    let text = format!("{:?}", SpawnOptions::new().env([("KEY", "secret")]));
    assert_eq!(text, r#"SpawnOptions { env: ["KEY"] }"#);
}

/// Bytes other than UTF-8 pass every conversion.
#[test]
fn bytes_survive_conversions() {
    let bytes = OsBytes::from(vec![b'/', 0xFF]);
    assert_eq!(bytes.as_bytes(), [b'/', 0xFF]);
    assert_eq!(OsBytes::from(&bytes), bytes);
    assert_eq!(OsBytes::from(bytes.clone().into_bytes()), bytes);
    assert_eq!((bytes.to_str(), &*bytes.to_string_lossy()), (None, "/\u{fffd}"));
    let text = String::from("text");
    assert_eq!((OsBytes::from(&text), OsBytes::from(text.clone())), ("text".into(), text.as_str().into()));
    assert_eq!(format!("{:?} {}", OsBytes::from("a"), OsBytes::from("a")), r#""a" a"#);
    assert_ne!(OsBytes::from("a"), "b");
    assert_ne!(OsBytes::from("a"), *"b");
}

#[test]
fn numbers_keep_their_value() {
    assert_eq!((u64::from(WorkerId(7)), WorkerId(7).to_string()), (7, "7".into()));
}

/// Types of `std`, and back.
#[cfg(feature = "std")]
mod of_std {
    use std::ffi::{OsStr, OsString};
    use std::path::{Path, PathBuf};

    use cluster_core::{Errno, OsBytes};

    #[test]
    fn paths_keep_their_bytes() {
        let bytes = OsBytes::from(vec![b'/', 0xFF]);
        let text: &OsStr = bytes.as_ref();
        let path: &Path = bytes.as_ref();
        for converted in [
            OsBytes::from(text),
            OsBytes::from(OsString::from(text)),
            OsBytes::from(path),
            OsBytes::from(&PathBuf::from(path)),
            OsBytes::from(PathBuf::from(path)),
        ] {
            assert_eq!(converted, bytes);
        }
    }

    #[test]
    fn errors_keep_their_number() {
        assert_eq!(std::io::Error::from(Errno::EACCES).raw_os_error(), Some(Errno::EACCES.0));
    }
}

/// No two failures have the same text, and none is empty.
#[test]
fn failures_have_texts() {
    let sends = [
        SendError::Closed,
        SendError::Full,
        SendError::Reserved,
        SendError::TooLong { limit: 1 },
        SendError::UnknownWorker,
        SendError::NoJson,
        SendError::HandleAlreadySent,
    ];
    let forks = [ForkError::NoChannel, ForkError::TwoChannels, ForkError::NoScript];
    let exits = [ExitStatus::Code(7), ExitStatus::Signal(Signal::SIGKILL), ExitStatus::ReapedElsewhere];
    let texts = sends.iter().map(ToString::to_string).chain(forks.iter().map(ToString::to_string));
    let texts: Vec<String> =
        texts.chain(exits.iter().map(ToString::to_string)).chain([PolicyFrozen.to_string()]).collect();
    assert!(texts.iter().all(|text| !text.is_empty()), "{texts:?}");
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "{texts:?}");
}
