//! Fuzzes the channel alone. Arbitrary bytes, cut anywhere and with unrequested descriptors, arrive at a
//! primary or at a worker, in either serialization. No input may panic a machine. The total of all
//! allocations, freed or not, is in proportion to the input, and so is the memory to read a message.

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

/// The largest number of allocated bytes for each byte of input. The answer to a message is longer than the
/// message, and queues grow by doubling.
const FACTOR: usize = 200;

/// The largest number of bytes allocated for an input of any length, in addition.
const BASE: usize = 64 << 10;

/// The largest number of bytes allocated to read a message, for each byte of the message.
const READ: usize = 400;

/// Finds the message of an event, if the event has a message.
trait MessageEvent {
    fn message(&self) -> Option<&Message>;
}

impl MessageEvent for Event {
    fn message(&self) -> Option<&Message> {
        if let Event::Message { message, .. } = self { Some(message) } else { None }
    }
}

impl MessageEvent for WorkerEvent {
    fn message(&self) -> Option<&Message> {
        if let WorkerEvent::Message { message, .. } = self { Some(message) } else { None }
    }
}

/// Reads a message in every way. Returns the number of allocated bytes.
fn read(message: &Message) -> usize {
    let before = ALLOCATOR.total_allocated();
    let value = message.structured();
    let cost = ALLOCATOR.total_allocated() - before;
    let length = message.as_bytes().len();
    assert!(cost <= READ * length + 1000, "{cost} bytes for {length}");
    if let Ok(value) = value {
        let again = Message::from_structured(&value).expect("a structured value");
        assert_eq!(format!("{:?}", again.structured()), format!("{:?}", Ok::<_, ()>(value)));
    }
    let _ = message.json();
    if message.as_bytes().len() < 100 {
        let _ = message.json_text();
    }
    ALLOCATOR.total_allocated() - before
}

/// Drains the machine. Returns the number of bytes allocated to read messages.
fn drain<M: Machine<Event: MessageEvent>>(machine: &mut M) -> usize {
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

/// Feeds the input in pieces. The first byte of a piece gives its length; every fourth piece has a
/// descriptor.
fn feed<M: Machine<Event: MessageEvent>>(machine: &mut M, channel: ChannelId, mut rest: &[u8]) {
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
    let worker = primary.fork().expect("the settings are valid");
    let _ = drain(&mut primary);
    feed(&mut primary, worker.into(), rest);
});
