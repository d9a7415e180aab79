//! Closing channels, paused channels, and waits without the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::unistd::{Pid, getpid, gettid};
use tokio::signal::unix::{SignalKind, signal};

use super::*;

fn pair() -> (Channel, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair");
    far.set_read_timeout(Some(LONG)).expect("a bound");
    (Channel::new(near).expect("a channel"), far)
}

fn interrupt(thread: Pid) {
    #[expect(unsafe_code, reason = "no safe call sends a signal to one thread")]
    // SAFETY: the call touches no memory. The signal has a handler, and the thread exists, because the thread
    // waits for the caller.
    let sent = unsafe {
        nix::libc::syscall(nix::libc::SYS_tgkill, getpid().as_raw(), thread.as_raw(), nix::libc::SIGUSR1)
    };
    assert_eq!(sent, 0);
}

/// The wait ends when the peer closes the channel, or after a second. Late bytes and signals do not end the
/// wait.
#[tokio::test]
async fn closed_channel_waits_for_peer() {
    let _handler = signal(SignalKind::user_defined1()).expect("a handler");
    let (channel, mut far) = pair();
    let (waiter, closing) = (gettid(), Arc::new(AtomicBool::new(false)));
    let peer = thread::spawn({
        let closing = closing.clone();
        move || {
            assert_eq!(far.read(&mut [0]).expect("the end"), 0);
            for _ in 0..20 {
                thread::sleep(Duration::from_millis(2));
                interrupt(waiter);
                // Fails when the channel no longer waits; the flag reports the end.
                let _ = far.write_all(b"late");
            }
            closing.store(true, Ordering::SeqCst);
        }
    });
    let begin = std::time::Instant::now();
    channel.close().expect("an open channel").wait(begin + LONG);
    assert!(closing.load(Ordering::SeqCst) || begin.elapsed() >= Duration::from_secs(1));
    peer.join().expect("no panic");
}

/// The bytes of a paused channel remain in the kernel until the reading continues.
#[tokio::test]
async fn paused_channel_keeps_its_bytes() {
    let (near, mut far) = UnixStream::pair().expect("a pair");
    let mut unix = Unix::with_channel(near).expect("a channel");
    unix.pause_by_program(true);
    far.write_all(b"later").expect("written");
    assert_nothing(&mut unix).await;
    unix.pause_by_program(false);
    assert!(matches!(next(&mut unix).await, OsEvent::Read { bytes, .. } if bytes == b"later"));
}

/// Unread bytes are counted, and the check for the end consumes none.
#[tokio::test]
async fn unread_bytes_are_counted() {
    const MANY: usize = 100_000;
    let (mut channel, mut far) = pair();
    assert!(channel.unread() == 0 && !channel.is_at_end());
    far.write_all(&vec![b'x'; MANY]).expect("room");
    for _ in 0..2 {
        assert!(!channel.is_at_end() && !channel.is_peer_closed());
        assert_eq!(channel.unread(), MANY);
    }
    drop(far);
    assert!(channel.is_peer_closed() && !channel.is_at_end());
    let mut buffer = vec![0; channel::READ];
    let mut read = 0;
    while read < MANY {
        match channel.read_now(&mut buffer) {
            Some(ChannelEvent::Bytes(bytes, None)) => read += bytes.len(),
            other => unreachable!("{other:?}"),
        }
    }
    assert!(channel.unread() == 0 && channel.is_at_end());
}

/// Without the runtime, the wait returns events of timers and channels, until the wait ends.
#[tokio::test]
async fn wait_returns_events_without_runtime() {
    let channel = ChannelId::PRIMARY;
    let (near, mut far) = UnixStream::pair().expect("a pair");
    far.set_read_timeout(Some(LONG)).expect("a bound");
    let mut unix = Unix::with_channel(near).expect("a channel");
    unix.leave_runtime();
    let now = std::time::Instant::now;
    unix.perform(Call::SetTimer { timer: TimerId(1), after_ms: 60_000 });
    unix.perform(Call::SetTimer { timer: TimerId(2), after_ms: 20 });
    assert_eq!(unix.wait(now() + LONG), Some(OsEvent::Timer { timer: TimerId(2) }));
    assert_eq!(unix.wait(now()), None);
    far.write_all(b"x").expect("written");
    unix.perform(Call::PauseRead { channel });
    assert_eq!(unix.wait(now()), None);
    unix.perform(Call::ResumeRead { channel });
    assert!(matches!(unix.wait(now() + LONG), Some(OsEvent::Read { bytes, .. }) if bytes == b"x"));
    let written = unix.perform(Call::Write { channel, bytes: vec![b'y'; 1 << 20], socket: None });
    let Some(OsEvent::Wrote { rest, .. }) = written else { unreachable!("{written:?}") };
    assert!(!rest.is_empty());
    assert_eq!(unix.wait(now()), None);
    far.read_exact(&mut vec![0; (1 << 20) - rest.len()]).expect("the written bytes");
    assert_eq!(unix.wait(now() + LONG), Some(OsEvent::Writable { channel }));
    drop(far);
    assert_eq!(unix.wait(now() + LONG), Some(OsEvent::ChannelClosed { channel }));
}

/// The machine's exit code is kept for the caller.
#[tokio::test]
async fn exit_code_is_kept() {
    let mut unix = Unix::new();
    assert_eq!(unix.exit(), None);
    assert_eq!(unix.perform(Call::Exit { code: 3 }), None);
    assert_eq!(unix.exit(), Some(3));
}
