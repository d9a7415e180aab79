//! The table state x input -> state + outputs of each machine, as a snapshot: a change of behaviour is a
//! visible diff. The rows are reviewed when they change.

use cluster_core::testing::{TestOs, drain};
use cluster_core::{Call, ChannelId, Event, LocalAddress, Machine, OsEvent, Output, SocketId, WorkerId};
use std::fmt::Write as _;

const ONE: WorkerId = WorkerId(1);

mod primary;
mod worker;

type Act<M> = Box<dyn Fn(&mut M)>;
type Input<M> = (&'static str, Act<M>);

/// Gives a machine one input and drains it; every write succeeds, every program starts, and a bind has no
/// answer.
fn turn<M: Machine>(machine: &mut M, input: &dyn Fn(&mut M)) -> Vec<Output<M::Event>> {
    input(machine);
    let mut os = TestOs::withholding_binds();
    let mut outputs = Vec::new();
    drain(machine, &mut os, |output| outputs.push(output));
    outputs
}

fn text<E: std::fmt::Debug>(output: &Output<E>) -> String {
    match output {
        Output::Call(Call::Write { channel, bytes, socket }) => {
            let with = socket.map_or(String::new(), |socket| format!(" + {socket:?}"));
            format!("write to {}: {}{with}", channel.0, String::from_utf8_lossy(bytes).trim_end())
        }
        Output::Call(Call::Spawn { worker, env, .. }) => format!("call Spawn {worker} {env:?}"),
        Output::Call(call) => format!("call {call:?}"),
        Output::Event(event) => format!("EVENT {event:?}"),
    }
}

fn table<M>(states: &[(&str, M)], inputs: &[Input<M>], summary: &dyn Fn(&M) -> String) -> String
where
    M: Machine + Clone + PartialEq,
    M::Event: std::fmt::Debug,
{
    let mut table = String::new();
    for (name, state) in states {
        let _ = writeln!(table, "== {name}: {}", summary(state));
        for (label, input) in inputs {
            let mut machine = state.clone();
            let outputs = turn(&mut machine, input.as_ref());
            let _ = writeln!(table, "   {label}");
            for output in &outputs {
                let _ = writeln!(table, "        {}", text(output));
            }
            let after = if machine == *state { "(unchanged)".to_owned() } else { summary(&machine) };
            let _ = writeln!(table, "     -> {after}");
        }
    }
    table
}

fn read<M: Machine>(line: &'static str, socket: Option<SocketId>) -> Act<M> {
    os_event(move |channel| OsEvent::Read { channel, bytes: format!("{line}\n").into_bytes(), socket })
}

fn os_event<M: Machine>(event: impl Fn(ChannelId) -> OsEvent + 'static) -> Act<M> {
    let channel =
        if std::any::type_name::<M>().ends_with("Primary") { ChannelId(1) } else { ChannelId::PRIMARY };
    Box::new(move |machine| machine.handle(event(channel)))
}

fn address() -> LocalAddress {
    LocalAddress::Ip("[::]:40001".parse().expect("an address"))
}

fn after<M: Machine + Clone>(state: &M, inputs: &[Act<M>]) -> M {
    let mut machine = state.clone();
    for input in inputs {
        turn(&mut machine, input.as_ref());
    }
    machine
}

/// The table prints events by their public names.
#[test]
fn event_prints_its_fields() {
    assert_eq!(text(&Output::Event(Event::AllDisconnected)), "EVENT AllDisconnected");
}
