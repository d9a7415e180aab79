//! The async API on a simulated world: feature `simulated`. `cluster-sim` runs a process of futures with
//! these types; a program uses `cluster_sim::simulation`, and never this module.
//!
//! A world lends the machine of a process to the face while the runtime of the process is polled. Commands
//! queue calls in the machine, which the world performs after the poll, one step each. An event of the
//! machine is delivered before the poll.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cluster_core::{
    Event, Limits, Machine, Primary, Serialization, Settings, Signal, SlotId, SocketId, Supervisor,
    SupervisorEvent, SupervisorSettings, Worker, WorkerEvent, WorkerId,
};

mod stream;

use stream::Incoming;
pub use stream::{ReceiveQueue, SimulatedSocket, TcpStream};

thread_local! {
    /// The process that this thread polls.
    static CURRENT: RefCell<Option<Box<Current>>> = const { RefCell::new(None) };
}

/// The state of a simulated process that the world and the async API share.
#[expect(clippy::struct_excessive_bools, reason = "the world and the face set different flags")]
#[derive(Debug)]
pub(crate) struct Current {
    machine: LentMachine,
    /// The program has a primary, or has joined.
    is_joined: bool,
    /// A test has removed the lame duck.
    closes_idle_at_once: bool,
    slot: Option<SlotId>,
    waker: Option<Waker>,
    is_awaiting: bool,
    is_paused: bool,
    is_progress: bool,
    is_at_rest: bool,
    requested_exit: Option<i32>,
    exited: Option<i32>,
    /// The signals that the program has not taken; `None`: the program handles none.
    signals: Option<VecDeque<Signal>>,
    sockets: BTreeMap<SocketId, Arc<Incoming>>,
    actions: Vec<Action>,
}

/// The machine of the process, with an event for the program. Between two polls the world has the machine,
/// and this value is a placeholder.
#[derive(Debug)]
enum LentMachine {
    /// The primary has not been created; the first creation is recorded.
    Unknown(Option<Box<Created>>),
    Primary(Box<Primary>, Option<Event>),
    Supervisor(Box<Supervisor>, Option<SupervisorEvent>),
    Worker(Box<Worker>, Option<WorkerEvent>),
}

/// The primary that a program has created, with the settings.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a simulation has one value")]
pub enum Created {
    /// A [`Primary`](crate::Primary).
    Primary(Settings),
    /// A [`Supervisor`](crate::Supervisor).
    Supervisor(SupervisorSettings),
}

/// An action of a process on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sends bytes.
    Write(SocketId, Vec<u8>),
    /// Ends the sending side.
    End(SocketId),
    /// Closes the descriptor.
    Close(SocketId),
}

/// The machines of the face.
pub(crate) trait FaceMachine: Machine + Clone {
    /// The lent machine, and the event for the program.
    fn of(current: &mut Current) -> Option<(&mut Self, &mut Option<Self::Event>)>;
}

macro_rules! face_machines {
    ($($machine:ident),+) => {$(
        impl FaceMachine for $machine {
            fn of(current: &mut Current) -> Option<(&mut Self, &mut Option<Self::Event>)> {
                if let LentMachine::$machine(machine, event) = &mut current.machine {
                    Some((machine, event))
                } else {
                    None
                }
            }
        }
    )+};
}

face_machines!(Primary, Supervisor, Worker);

// ---- the side of the face

/// Whether this thread polls the runtime of a simulated process.
pub(crate) fn is_simulated() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

fn with<T>(act: impl FnOnce(&mut Current) -> T) -> T {
    CURRENT.with_borrow_mut(|current| {
        act(current.as_mut().expect(
            "a simulated process uses its cluster from another thread, or after its end: this cannot be replayed",
        ))
    })
}

/// Uses the lent machine.
pub(crate) fn with_machine<M: FaceMachine, T>(act: impl FnOnce(&mut M) -> T) -> T {
    with(|current| act(M::of(current).expect("the machine of the process").0))
}

/// Takes the delivered event.
pub(crate) fn take_event<M: FaceMachine>() -> Option<M::Event> {
    with(|current| M::of(current).expect("the machine of the process").1.take())
}

/// Ready once after each poll of the world in which the machine may have taken an input. Until then the
/// program awaits events.
pub(crate) fn poll_progress(cx: &mut Context<'_>) -> Poll<()> {
    with(|current| {
        if std::mem::take(&mut current.is_progress) {
            return Poll::Ready(());
        }
        current.is_awaiting = true;
        current.waker = Some(cx.waker().clone());
        Poll::Pending
    })
}

pub(crate) fn is_at_rest() -> bool {
    with(|current| current.is_at_rest)
}

pub(crate) fn requested_exit() -> Option<i32> {
    with(|current| current.requested_exit)
}

pub(crate) fn pause(paused: bool) {
    with(|current| current.is_paused = paused);
}

/// Whether the process is a worker before the join.
pub(crate) fn is_to_join() -> bool {
    with(|current| matches!(current.machine, LentMachine::Worker(..)) && !current.is_joined)
}

/// Whether a lame duck closes idle connections at once.
pub(crate) fn closes_idle_at_once() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(|current| current.closes_idle_at_once))
}

pub(crate) fn slot() -> Option<SlotId> {
    with(|current| current.slot)
}

/// Whether a primary has started the process.
pub(crate) fn is_forked() -> bool {
    with(|current| matches!(current.machine, LentMachine::Worker(..)))
}

/// From now on the program handles the signals that command a supervisor.
pub(crate) fn handle_signals() {
    with(|current| {
        current.signals.get_or_insert_default();
    });
}

pub(crate) fn take_signal() -> Option<Signal> {
    with(|current| current.signals.as_mut()?.pop_front())
}

/// Ends the process: no further code of the process runs, except destructors, which have no effect.
pub(crate) fn exit(code: i32) -> ! {
    with(|current| current.exited = current.exited.or(Some(code)));
    resume_unwind(Box::new(Exited))
}

/// The payload of the unwinding that ends a process.
struct Exited;

/// Gives the face of a primary or a supervisor the machine of the world.
///
/// # Panics
/// The process already has a primary: a simulated process has one.
pub(crate) fn create<M: FaceMachine>(created: Created) {
    let is_first = with(|current| {
        if let LentMachine::Unknown(first) = &mut current.machine {
            *first = Some(Box::new(created));
            return None;
        }
        Some(!std::mem::replace(&mut current.is_joined, true) && M::of(current).is_some())
    });
    match is_first {
        Some(is_first) => assert!(is_first, "a simulated process has one primary or supervisor"),
        None => resume_unwind(Box::new(Exited)),
    }
}

/// Gives the face of a worker the machine of the world. `false`: the process is no worker, or has joined.
pub(crate) fn join() -> bool {
    with(|current| {
        let is_worker = matches!(current.machine, LentMachine::Worker(..));
        is_worker && !std::mem::replace(&mut current.is_joined, true)
    })
}

// ---- the side of the world

/// A process of a simulated world, as its face sees the process.
pub struct SimulatedProcess(Option<Box<Current>>);

impl SimulatedProcess {
    fn new(machine: LentMachine, slot: Option<SlotId>) -> Self {
        SimulatedProcess(Some(Box::new(Current {
            machine,
            is_joined: false,
            closes_idle_at_once: false,
            slot,
            waker: None,
            is_awaiting: false,
            is_paused: false,
            is_progress: false,
            is_at_rest: false,
            requested_exit: None,
            exited: None,
            signals: None,
            sockets: BTreeMap::new(),
            actions: Vec::new(),
        })))
    }

    /// A process that ends when its program creates a primary or a supervisor: see
    /// [`created`](SimulatedProcess::created).
    pub fn unknown() -> Self {
        SimulatedProcess::new(LentMachine::Unknown(None), None)
    }

    /// Removes the time in which a lame duck keeps idle connections, to show that a test fails without it.
    pub fn close_idle_at_once(&mut self) {
        self.current().closes_idle_at_once = true;
    }

    /// A process with a primary.
    pub fn primary() -> Self {
        let machine = Box::new(Primary::new(Settings::default()));
        SimulatedProcess::new(LentMachine::Primary(machine, None), None)
    }

    /// A process with a supervisor.
    ///
    /// # Panics
    /// If the settings contradict each other.
    pub fn supervisor() -> Self {
        let machine = Supervisor::new(SupervisorSettings::new(1)).expect("settings without contradiction");
        SimulatedProcess::new(LentMachine::Supervisor(Box::new(machine), None), None)
    }

    /// A worker process, with the slot if a supervisor has started the process.
    pub fn worker(slot: Option<SlotId>) -> Self {
        let machine = Worker::new(WorkerId(1), Serialization::Json, Limits::default());
        SimulatedProcess::new(LentMachine::Worker(Box::new(machine), None), slot)
    }

    fn current(&mut self) -> &mut Current {
        self.0.as_mut().expect("the process is not polled now")
    }

    /// Runs code of the process: the face used by the code is that of this process.
    pub fn enter<T>(&mut self, run: impl FnOnce() -> T) -> T {
        /// Ends the use of the process, also when the code unwinds.
        struct Entered<'a> {
            process: &'a mut SimulatedProcess,
            outer: Option<Box<Current>>,
        }
        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                self.process.0 =
                    CURRENT.with_borrow_mut(|current| std::mem::replace(current, self.outer.take()));
            }
        }
        let outer = CURRENT.with_borrow_mut(|current| std::mem::replace(current, self.0.take()));
        let _entered = Entered { process: self, outer };
        run()
    }

    /// Exchanges the machine with the machine of a primary: before and after each poll.
    pub fn swap_primary(&mut self, machine: &mut Primary) {
        if let Some((lent, _)) = Primary::of(self.current()) {
            std::mem::swap(lent, machine);
        }
    }

    /// As [`swap_primary`](SimulatedProcess::swap_primary).
    pub fn swap_supervisor(&mut self, machine: &mut Supervisor) {
        if let Some((lent, _)) = Supervisor::of(self.current()) {
            std::mem::swap(lent, machine);
        }
    }

    /// As [`swap_primary`](SimulatedProcess::swap_primary).
    pub fn swap_worker(&mut self, machine: &mut Worker) {
        if let Some((lent, _)) = Worker::of(self.current()) {
            std::mem::swap(lent, machine);
        }
    }

    /// Delivers an event of the machine before a poll.
    pub fn deliver_to_primary(&mut self, delivered: Event) {
        match &mut self.current().machine {
            LentMachine::Primary(_, event) => *event = Some(delivered),
            LentMachine::Supervisor(_, event) => *event = Some(SupervisorEvent::Primary(delivered)),
            LentMachine::Unknown(_) | LentMachine::Worker(..) => {}
        }
    }

    /// As [`deliver_to_primary`](SimulatedProcess::deliver_to_primary).
    pub fn deliver_to_supervisor(&mut self, delivered: SupervisorEvent) {
        if let Some((_, event)) = Supervisor::of(self.current()) {
            *event = Some(delivered);
        }
    }

    /// As [`deliver_to_primary`](SimulatedProcess::deliver_to_primary).
    pub fn deliver_to_worker(&mut self, delivered: WorkerEvent) {
        if let Some((_, event)) = Worker::of(self.current()) {
            *event = Some(delivered);
        }
    }

    /// Adds a connection of a client, before the event that announces the connection.
    pub fn connect(&mut self, connection: SocketId, client: std::net::SocketAddr) {
        self.current().sockets.insert(connection, Arc::new(Incoming::new(client)));
    }

    /// Delivers bytes of a client.
    pub fn receive(&mut self, connection: SocketId, bytes: &[u8]) {
        if let Some(incoming) = self.current().sockets.get(&connection).cloned() {
            incoming.receive(bytes);
        }
    }

    /// Delivers the end of a client's side, an end of file or a reset.
    pub fn end(&mut self, connection: SocketId, is_reset: bool) {
        if let Some(incoming) = self.current().sockets.get(&connection).cloned() {
            incoming.end(is_reset);
        }
    }

    /// The machine has asked for the exit of the process.
    pub fn request_exit(&mut self, code: i32) {
        self.current().requested_exit = Some(code);
    }

    /// Whether the program handles a signal: those that command a supervisor, where the program has installed
    /// the handlers.
    pub fn handles_signals(&self) -> bool {
        self.0.as_ref().is_some_and(|current| current.signals.is_some())
    }

    /// Delivers a signal that the program handles.
    pub fn raise(&mut self, signal: Signal) {
        if let Some(signals) = &mut self.current().signals {
            signals.push_back(signal);
        }
    }

    /// Begins a poll. `is_at_rest`: the machine has nothing left to do, and no event for the program.
    pub fn begin(&mut self, is_at_rest: bool) {
        let current = self.current();
        (current.is_at_rest, current.is_progress, current.is_awaiting) = (is_at_rest, true, false);
        if let Some(waker) = current.waker.take() {
            waker.wake();
        }
    }

    /// Whether the program awaited events at the end of the last poll: otherwise the process takes no input.
    pub fn is_awaiting(&self) -> bool {
        self.0.as_ref().is_some_and(|current| current.is_awaiting && !current.is_paused)
    }

    /// Takes the actions of the last poll, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.current().actions)
    }

    /// The exit code, if the process has exited by a call.
    pub fn exited(&self) -> Option<i32> {
        self.0.as_ref()?.exited
    }

    /// The primary that the program has created in a process of unknown kind.
    pub fn created(&self) -> Option<&Created> {
        match &self.0.as_ref()?.machine {
            LentMachine::Unknown(created) => created.as_deref(),
            LentMachine::Primary(..) | LentMachine::Supervisor(..) | LentMachine::Worker(..) => None,
        }
    }

    /// Whether an unwinding ends a process, and is no panic.
    pub fn is_exit(payload: &(dyn Any + Send)) -> bool {
        payload.is::<Exited>()
    }
}

impl fmt::Debug for SimulatedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedProcess").finish_non_exhaustive()
    }
}
