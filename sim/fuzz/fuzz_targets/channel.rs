//! Drives the channel alone: arbitrary bytes, cut anywhere, with descriptors that nobody asked for, arrive at a primary
//! or at a worker, in either serialization. Nothing they say may break a machine.

#![no_main]

use cluster_core::{
    Call, ChannelId, Errno, Limits, Machine, OsEvent, Output, Primary, Serialization, Settings, SocketId,
    Worker, WorkerId,
};
use libfuzzer_sys::fuzz_target;

fn drain<M: Machine>(machine: &mut M) {
    while let Some(output) = machine.poll() {
        match output {
            Output::Call(Call::Write { channel, .. }) => {
                machine.handle(OsEvent::Wrote { channel, rest: Vec::new() })
            }
            Output::Call(Call::Bind { handle, .. }) => {
                machine.handle(OsEvent::BindFailed { handle, errno: Errno::EADDRINUSE });
            }
            Output::Call(Call::Spawn { worker, .. }) => machine.handle(OsEvent::Spawned { worker, pid: 1 }),
            Output::Call(_) | Output::Event(_) => {}
        }
    }
}

/// Pieces of a length that a byte says, every fourth with a descriptor.
fn feed<M: Machine>(machine: &mut M, channel: ChannelId, mut rest: &[u8]) {
    let mut pieces = 0;
    while let [cut, bytes @ ..] = rest {
        let (piece, after) = bytes.split_at(bytes.len().min(1 + usize::from(cut >> 2)));
        rest = after;
        if piece.is_empty() {
            continue;
        }
        pieces += 1;
        let socket = (cut & 3 == 3).then_some(SocketId(pieces));
        machine.handle(OsEvent::Read { channel, bytes: piece.to_vec(), socket });
        drain(machine);
    }
    machine.handle(OsEvent::ChannelClosed { channel });
    drain(machine);
}

fuzz_target!(|data: &[u8]| {
    let [kind, rest @ ..] = data else { return };
    let serialization = if kind & 1 == 1 { Serialization::Advanced } else { Serialization::Json };
    if kind & 2 == 2 {
        let limits = Limits { message_bytes: 200, ..Limits::default() };
        let mut worker = Worker::new(WorkerId(1), serialization, limits);
        drain(&mut worker);
        return feed(&mut worker, ChannelId::PRIMARY, rest);
    }
    let mut settings = Settings::default();
    settings.limits.message_bytes = 200;
    std::sync::Arc::make_mut(&mut settings.command).serialization = serialization;
    let mut primary = Primary::new(settings);
    let worker = primary.fork().expect("nothing impossible was set up");
    drain(&mut primary);
    feed(&mut primary, worker.into(), rest);
});
