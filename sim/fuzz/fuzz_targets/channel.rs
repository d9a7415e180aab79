//! Drives the channel alone: arbitrary bytes, cut anywhere, with descriptors that nobody asked for, arrive at a primary
//! or at a worker, in either serialization. Nothing in them may break a machine, and what it allocates, freed bytes among
//! it, is in proportion to what arrives; so it is where a message is read.

#![no_main]

use std::alloc::System;

use cap::Cap;
use cluster_core::{
    Call, ChannelId, Errno, Event, Limits, Machine, Message, OsEvent, Output, Primary, Serialization, Settings,
    SocketId, SpawnOptions, Worker, WorkerEvent, WorkerId,
};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What may be allocated for each byte that arrives. The answer to one message is longer than the message, and what is
/// queued grows by doubling.
const FACTOR: usize = 200;

/// What any input may cost, however short.
const BASE: usize = 64 << 10;

/// What may be allocated for each byte of a message that is read.
const READ: usize = 400;

/// The message of an event.
trait Told {
    fn message(&self) -> Option<&Message>;
}

impl Told for Event {
    fn message(&self) -> Option<&Message> {
        if let Event::Message { message, .. } = self { Some(message) } else { None }
    }
}

impl Told for WorkerEvent {
    fn message(&self) -> Option<&Message> {
        if let WorkerEvent::Message { message, .. } = self { Some(message) } else { None }
    }
}

/// Reads a message every way; what that allocates is given back.
fn read(message: &Message) -> usize {
    let before = ALLOCATOR.total_allocated();
    let value = message.structured();
    let cost = ALLOCATOR.total_allocated() - before;
    let length = message.as_bytes().len();
    assert!(cost <= READ * length + 1000, "{cost} bytes for {length}");
    if let Ok(value) = value {
        let again = Message::from_structured(&value).expect("it was one");
        assert_eq!(format!("{:?}", again.structured()), format!("{:?}", Ok::<_, ()>(value)));
    }
    let _ = message.json();
    if message.as_bytes().len() < 100 {
        let _ = message.json_text();
    }
    ALLOCATOR.total_allocated() - before
}

/// What reading has cost.
fn drain<M: Machine<Event: Told>>(machine: &mut M) -> usize {
    let mut reading = 0;
    while let Some(output) = machine.poll() {
        if let Output::Event(event) = &output {
            reading += event.message().map_or(0, read);
        }
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
    reading
}

/// Pieces of a length that a byte says, every fourth with a descriptor.
fn feed<M: Machine<Event: Told>>(machine: &mut M, channel: ChannelId, mut rest: &[u8]) {
    let (length, before) = (rest.len(), ALLOCATOR.total_allocated());
    let (mut pieces, mut reading) = (0, 0);
    while let [cut, bytes @ ..] = rest {
        let (piece, after) = bytes.split_at(bytes.len().min(1 + usize::from(cut >> 2)));
        rest = after;
        if piece.is_empty() {
            continue;
        }
        pieces += 1;
        let socket = (cut & 3 == 3).then_some(SocketId(pieces));
        machine.handle(OsEvent::Read { channel, bytes: piece.to_vec(), socket });
        reading += drain(machine);
    }
    machine.handle(OsEvent::ChannelClosed { channel });
    reading += drain(machine);
    let cost = ALLOCATOR.total_allocated() - before - reading;
    assert!(cost <= FACTOR * length + BASE, "{cost} bytes for {length}");
}

fuzz_target!(|data: &[u8]| {
    let [kind, rest @ ..] = data else { return };
    let serialization = if kind & 1 == 1 { Serialization::Advanced } else { Serialization::Json };
    if kind & 2 == 2 {
        let limits = Limits { message_bytes: 200, ..Limits::default() };
        let mut worker = Worker::new(WorkerId(1), serialization, limits);
        let _ = drain(&mut worker);
        return feed(&mut worker, ChannelId::PRIMARY, rest);
    }
    let mut settings = Settings::default();
    settings.limits.message_bytes = 200;
    settings.spawn = SpawnOptions::new().serialization(serialization);
    let mut primary = Primary::new(settings);
    let worker = primary.fork().expect("nothing impossible was set up");
    let _ = drain(&mut primary);
    feed(&mut primary, worker.into(), rest);
});
