//! Fuzzes whole worlds: the first bytes determine the program, its settings and the faults, the rest is the
//! schedule. Every check runs. A failure prints a line that `conformance replay` replays.

#![no_main]

use cluster_core::SchedulingPolicy;
use cluster_sim::scenarios::{RandomProgram, PrimaryMove, Scenario, WorkerMove};
use cluster_sim::{Fault, Faults, Schedule};
use libfuzzer_sys::fuzz_target;

/// The number of bytes that determine the world.
const HEAD: usize = 24;

fn primary(byte: u8) -> PrimaryMove {
    let worker = 1 + byte / 8 % 3;
    match byte % 8 {
        0 => PrimaryMove::Fork,
        1 => PrimaryMove::Send(worker),
        2 => PrimaryMove::Disconnect(worker),
        3 => PrimaryMove::DisconnectAll,
        4 => PrimaryMove::Kill(worker),
        5 if byte > 192 => PrimaryMove::Exit,
        _ => PrimaryMove::Nothing,
    }
}

fn worker(byte: u8) -> WorkerMove {
    match byte % 16 {
        0 => WorkerMove::Listen,
        1 => WorkerMove::Close,
        2 => WorkerMove::Send,
        3 => WorkerMove::Disconnect,
        4 => WorkerMove::Kill,
        5 => WorkerMove::Exit,
        6 => WorkerMove::Die,
        _ => WorkerMove::Nothing,
    }
}

fn faults(bits: [u8; 3], limit: u8) -> Faults {
    let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], 0]);
    let armed = Fault::ALL.into_iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1);
    armed.fold(Faults::none(), |faults, (_, fault)| faults.and(fault)).limit(limit % 6)
}

fuzz_target!(|data: &[u8]| {
    let Some((head, schedule)) = data.split_at_checked(HEAD) else { return };
    let [workers, clients, settings, low, high, limit, bytes, spare] = head[..8] else { return };
    let moves = head[8..16].iter().map(|&byte| primary(byte)).collect();
    let program = RandomProgram::new(
        1 + u32::from(workers % 3),
        u32::from(clients % 4),
        moves,
        head[16..].iter().map(|&byte| worker(byte)).collect(),
    );
    let scenario = Scenario {
        policy: if settings & 1 == 1 { SchedulingPolicy::Shared } else { SchedulingPolicy::RoundRobin },
        keep_listening: settings & 2 == 2,
        // With one byte at a time, the largest programs would exceed the step limit of a run.
        channel_bytes: (settings & 4 == 4)
            .then(|| 16 + usize::from(bytes) + usize::from(spare & 1) * 256),
        ..Scenario::new(program)
    };
    let world = scenario.world().with_faults(faults([low, high, spare >> 1], limit));
    if let Err(failure) = world.on(Schedule::bytes(schedule)).run() {
        panic!("{failure}");
    }
});
