//! Descriptors: in the final state the reference counts are right, and every open descriptor has a use. A
//! descriptor is sent with the first byte of its line.

use cluster_core::{ChannelId, Primary, Serialization, WorkerId};

use crate::kernel::Kernel;
use crate::kernel::channel::Side;
use crate::kernel::process_table::{Descriptor, Origin};
use crate::kernel::processes::waits_for_stopped;
use crate::kernel::socket::SocketKind;
use crate::step::Pid;

/// Checks the final state: no step is enabled.
pub(crate) fn at_the_end(kernel: &Kernel, primary: Option<&Primary>) -> Result<(), String> {
    references(kernel)?;
    for (pid, channel) in kernel.channels.iter() {
        // A stopped process reads nothing and closes nothing, so its descriptors are exempt.
        let is_stuck = |(reader, side)| {
            !kernel.processes.is_stopped(reader) && channel.end(side).in_flight().next().is_some()
        };
        if [(Pid::PRIMARY, Side::Primary), (pid, Side::Worker)].into_iter().any(is_stuck) {
            return Err(format!("a descriptor is stuck in the channel of worker {}", pid.0));
        }
    }
    let acting = kernel.processes.iter().filter(|(pid, _)| !kernel.processes.is_stopped(*pid));
    for (pid, process) in acting {
        for descriptor in process.descriptors() {
            if !descriptor.owned_by_program && !is_of_use(kernel, pid, descriptor, primary) {
                return Err(format!(
                    "process {} still has {:?} open ({:?}), which has no use",
                    pid.0,
                    descriptor.id,
                    kernel.network.sockets.get(descriptor.file)
                ));
            }
        }
    }
    Ok(())
}

/// Checks an idle primary. While the whole cluster exits, the primary must not listen anywhere, because no
/// worker would serve the client.
pub(crate) fn at_rest(kernel: &Kernel, primary: &Primary) -> Result<(), String> {
    if !primary.is_disconnecting() {
        return Ok(());
    }
    let listens = |descriptor: &&Descriptor| {
        descriptor.origin == Origin::Machine
            && matches!(kernel.network.sockets.get(descriptor.file).kind, SocketKind::Listener(_))
    };
    match kernel.processes.get(Pid::PRIMARY).descriptors().iter().find(listens) {
        Some(descriptor) => {
            Err(format!("every worker was asked to exit, and the primary listens at {:?}", descriptor.id))
        }
        None => Ok(()),
    }
}

/// Checks a write with a descriptor: Node reads the descriptor with the first byte of the line.
pub(crate) fn write(kernel: &Kernel, pid: Pid, channel: ChannelId) -> Result<(), String> {
    let worker = kernel.processes.get(if pid == Pid::PRIMARY { Pid::from(channel) } else { pid });
    let has_lines =
        worker.options.serialization.unwrap_or_default() == Serialization::Json && !worker.hostile;
    if has_lines && kernel.channels.is_mid_line(pid, channel) {
        return Err(format!("process {} writes a descriptor within a line", pid.0));
    }
    Ok(())
}

/// Whether a machine uses a descriptor.
fn is_of_use(kernel: &Kernel, pid: Pid, descriptor: &Descriptor, primary: Option<&Primary>) -> bool {
    let is_connection = matches!(kernel.network.sockets.get(descriptor.file).kind, SocketKind::Connection(_));
    match (descriptor.origin, is_connection) {
        (Origin::Program | Origin::Channel, _) if waits_for_stopped(&kernel.processes, pid, descriptor) => {
            true
        }
        // The program gave the descriptor to the machine for a message that was never sent, or the program
        // did not take a connection that has arrived.
        (Origin::Program, _) | (Origin::Channel, true) => false,
        // An accepted connection: the ledger check compares the connections of the primary with the ledger.
        (Origin::Machine, true) => pid == Pid::PRIMARY && primary.is_some(),
        (Origin::Machine, false) => pid != Pid::PRIMARY || primary.is_some_and(has_use_for_a_listener),
        // A shared listener is of use while the worker is connected.
        (Origin::Channel, false) => pid != Pid::PRIMARY && kernel.channels.has_open(pid, ChannelId::PRIMARY),
    }
}

fn has_use_for_a_listener(primary: &Primary) -> bool {
    let is_connected =
        |worker: WorkerId| primary.worker(worker).is_some_and(cluster_core::WorkerInfo::is_connected);
    let keeps = primary.settings().keep_listening && !primary.is_disconnecting();
    keeps || primary.workers().any(is_connected)
}

/// Whether each reference count equals the number of references.
fn references(kernel: &Kernel) -> Result<(), String> {
    for (id, file) in kernel.network.sockets.iter() {
        let in_tables = kernel.processes.iter().flat_map(|(_, process)| process.descriptors());
        let in_flight = kernel.channels.iter().flat_map(|(_, channel)| {
            channel.end(Side::Primary).in_flight().chain(channel.end(Side::Worker).in_flight())
        });
        let with_children = kernel.processes.iter().filter_map(|(_, process)| process.child);
        let all = in_tables.map(|descriptor| descriptor.file).chain(in_flight).chain(with_children);
        let found = all.filter(|&other| other == id).count();
        if found != file.refs as usize {
            return Err(format!(
                "{id:?} is referenced {found} times and its count is {}: {file:?}",
                file.refs
            ));
        }
    }
    Ok(())
}
