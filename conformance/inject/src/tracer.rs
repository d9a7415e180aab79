//! Follows every process of a run with ptrace, and makes a call of the victim fail.
//!
//! The tracer is the thread of the primary's start: ptrace accepts requests only from the tracing thread. The
//! thread waits only for children of the thread, so runs in several threads are independent. Processes other
//! than the victim run at full speed between start and end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use syscalls::Sysno;

use crate::errnos::{self, Target};
use crate::injection::{Failure, Injection, Victim};

/// The time between SIGSTOP and SIGCONT: several answers of the other processes.
const STOPPED: Duration = Duration::from_millis(20);

/// The interval between two checks of a stopped victim.
const GLANCE: Duration = Duration::from_micros(500);

/// The running processes of a run, for other threads.
#[derive(Debug, Default)]
pub(crate) struct Living(Mutex<BTreeSet<Pid>>);

impl Living {
    fn change(&self, change: impl FnOnce(&mut BTreeSet<Pid>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn all(&self) -> Vec<Pid> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Sends a signal to a process before the process is reaped.
    pub(crate) fn signal(&self, process: Pid, signal: Signal) {
        let living = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if living.contains(&process) {
            // An exiting process needs no signal.
            let _ = kill(process, signal);
        }
    }
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessEnd {
    Code(i32),
    Signal(Signal),
}

/// A process of the run.
#[derive(Debug, Clone)]
pub(crate) struct ProcessReport {
    /// 0 for the primary, then in the order of the forks.
    pub(crate) number: usize,
    pub(crate) end: Option<ProcessEnd>,
    /// The targets of the open descriptors at the exit.
    pub(crate) left: Vec<String>,
}

/// What the tracer has observed.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) processes: BTreeMap<Pid, ProcessReport>,
    /// The calls of the victim, until the injection.
    pub(crate) calls: BTreeMap<Sysno, u32>,
    /// Whether the position was reached.
    pub(crate) hit: bool,
    /// The table has no error for the arguments at the position.
    pub(crate) exempt: bool,
}

/// A traced thread.
#[derive(Debug, Clone, Copy)]
struct Tracee {
    process: Pid,
    /// Whether the thread stops at calls.
    watched: bool,
    /// The error of the call in progress.
    error: Option<Errno>,
    /// The address and the former value of the length changed for the call in progress.
    shortened: Option<(u64, c_long)>,
}

/// The victim between SIGSTOP and SIGCONT.
#[derive(Debug, Default)]
struct Hold {
    threads: Vec<Pid>,
    until: Option<Instant>,
}

/// Follows the processes of a run.
#[derive(Debug)]
pub(crate) struct Tracer<'a> {
    root: Pid,
    victim: Victim,
    injection: Option<Injection>,
    living: &'a Living,
    tracees: BTreeMap<Pid, Tracee>,
    /// New threads that stopped before the report of the creator.
    early: BTreeSet<Pid>,
    hold: Option<Hold>,
    /// The number of calls still to fail.
    left: u32,
    followed: Followed,
}

impl<'a> Tracer<'a> {
    /// Takes a stopped child of the calling thread.
    pub(crate) fn seize(
        root: Pid,
        victim: Victim,
        injection: Option<Injection>,
        living: &'a Living,
    ) -> nix::Result<Self> {
        waitpid(root, Some(WaitPidFlag::WUNTRACED))?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEEXIT
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(root, options)?;
        let (tracees, early, followed) = (BTreeMap::new(), BTreeSet::new(), Followed::default());
        let mut tracer =
            Tracer { root, victim, injection, living, tracees, early, hold: None, left: 0, followed };
        tracer.add_process(root);
        kill(root, Signal::SIGCONT)?;
        Ok(tracer)
    }

    /// Follows until no process is left.
    pub(crate) fn follow(mut self) -> nix::Result<Followed> {
        let all = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let flags = if self.hold.is_some() { all | WaitPidFlag::WNOHANG } else { all };
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) => {
                    thread::sleep(GLANCE);
                    self.release_if_due();
                }
                Ok(status) => self.on_status(status),
                Err(Errno::ECHILD) => return Ok(self.followed),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn on_status(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::PtraceSyscall(thread) => self.on_call(thread),
            WaitStatus::PtraceEvent(thread, signal, event) => self.on_event(thread, signal, event),
            WaitStatus::Stopped(thread, signal) => self.resume(thread, Some(signal)),
            WaitStatus::Exited(thread, code) => self.on_end(thread, ProcessEnd::Code(code)),
            WaitStatus::Signaled(thread, signal, _) => self.on_end(thread, ProcessEnd::Signal(signal)),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    }

    /// Resumes a thread. A killed thread reports the end instead.
    fn resume(&mut self, thread: Pid, signal: Option<Signal>) {
        let Some(tracee) = self.tracees.get(&thread) else {
            self.early.insert(thread);
            return;
        };
        let is_changed = tracee.error.is_some() || tracee.shortened.is_some();
        let is_over = self.followed.hit && self.left == 0 && !is_changed;
        let resumed = if tracee.watched && !is_over {
            ptrace::syscall(thread, signal)
        } else {
            ptrace::cont(thread, signal)
        };
        resumed.unwrap_or_default();
    }

    fn add_process(&mut self, process: Pid) {
        let number = self.followed.processes.len();
        // The root is watched from the `execve` of the primary.
        let watched = self.victim == Victim::Worker && number == 1;
        self.followed.processes.insert(process, ProcessReport { number, end: None, left: Vec::new() });
        self.living.change(|living| {
            living.insert(process);
        });
        self.add(process, Tracee { process, watched, error: None, shortened: None });
    }

    fn add(&mut self, thread: Pid, tracee: Tracee) {
        self.tracees.insert(thread, tracee);
        if self.early.remove(&thread) {
            self.resume(thread, None);
        }
    }

    fn on_event(&mut self, thread: Pid, signal: Signal, event: c_int) {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                if let Some(child) = created(thread) {
                    self.add_process(child);
                }
            }
            libc::PTRACE_EVENT_CLONE => {
                if let (Some(child), Some(tracee)) = (created(thread), self.tracees.get(&thread)) {
                    let tracee = Tracee { error: None, shortened: None, ..*tracee };
                    self.add(child, tracee);
                }
            }
            libc::PTRACE_EVENT_EXEC if thread == self.root && self.victim == Victim::Primary => {
                if let Some(tracee) = self.tracees.get_mut(&thread) {
                    tracee.watched = true;
                }
            }
            libc::PTRACE_EVENT_EXIT => {
                if let Some(report) = self.followed.processes.get_mut(&thread) {
                    report.left = descriptors(thread);
                }
                if !self.tracees.contains_key(&thread) {
                    // The thread was killed before the report of the creator.
                    ptrace::cont(thread, None).unwrap_or_default();
                    return;
                }
            }
            libc::PTRACE_EVENT_STOP if signal == Signal::SIGSTOP && self.is_held(thread) => {
                let hold = self.hold.get_or_insert_default();
                hold.threads.push(thread);
                hold.until.get_or_insert(Instant::now() + STOPPED);
                return;
            }
            _ => {}
        }
        self.resume(thread, None);
    }

    fn is_held(&self, thread: Pid) -> bool {
        self.hold.is_some() && self.tracees.get(&thread).is_some_and(|tracee| tracee.watched)
    }

    fn release_if_due(&mut self) {
        let is_due = |hold: &Hold| hold.until.is_some_and(|until| until <= Instant::now());
        if !self.hold.as_ref().is_some_and(is_due) {
            return;
        }
        for thread in self.hold.take().map(|hold| hold.threads).unwrap_or_default() {
            if let Some(tracee) = self.tracees.get(&thread) {
                kill(tracee.process, Signal::SIGCONT).unwrap_or_default();
            }
            self.resume(thread, None);
        }
    }

    fn on_end(&mut self, thread: Pid, end: ProcessEnd) {
        self.tracees.remove(&thread);
        if let Some(report) = self.followed.processes.get_mut(&thread) {
            report.end = Some(end);
            self.living.change(|living| {
                living.remove(&thread);
            });
        }
        if thread == self.root {
            // The primary was killed before the report of a fork.
            for process in self.early.clone().into_iter().filter(|thread| is_process(*thread)) {
                self.add_process(process);
            }
        }
        let has_watched = self.tracees.values().any(|tracee| tracee.watched);
        if !has_watched {
            self.hold = None;
        }
    }

    /// A stop at the beginning or at the end of a call.
    fn on_call(&mut self, thread: Pid) {
        let is_entry =
            ptrace::syscall_info(thread).is_ok_and(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY);
        if is_entry {
            self.enter(thread);
        } else if let Some(tracee) = self.tracees.get_mut(&thread) {
            if let Some(errno) = tracee.error.take() {
                set_result(thread, errno);
            }
            if let Some((address, length)) = tracee.shortened.take() {
                // A killed thread has no memory.
                set_word(thread, address, length).unwrap_or_default();
            }
        }
        self.resume(thread, None);
    }

    fn enter(&mut self, thread: Pid) {
        let Ok(registers) = ptrace::getregs(thread) else { return };
        let Some(call) = usize::try_from(registers.orig_rax).ok().and_then(Sysno::new) else { return };
        let Some(failure) = self.failure(call) else { return };
        match failure {
            Failure::Error(errno) | Failure::Repeated(errno) => {
                let args = [registers.rdi, registers.rsi, registers.rdx];
                let target = || target(thread, registers.rdi);
                if errnos::can_fail(call, args, errno, target) {
                    self.fail(thread, call, errno);
                } else if self.left + 1 == failure.calls() {
                    self.followed.exempt = true;
                    self.left = 0;
                }
            }
            Failure::Short => self.shorten(thread, &registers),
            Failure::Kill => self.signal(thread, Signal::SIGKILL),
            Failure::Stop => {
                self.hold = Some(Hold::default());
                self.signal(thread, Signal::SIGSTOP);
            }
        }
    }

    /// Counts a call. The failure, if the call is to fail.
    fn failure(&mut self, call: Sysno) -> Option<Failure> {
        let injection = self.injection.filter(|injection| injection.call == call);
        if !self.followed.hit {
            let count = self.followed.calls.entry(call).or_default();
            *count += 1;
            let due = injection.filter(|injection| injection.nth == *count)?;
            self.followed.hit = true;
            self.left = due.failure.calls();
        }
        let failure = injection?.failure;
        self.left = self.left.checked_sub(1)?;
        Some(failure)
    }

    /// Gives the first buffer of a message the length of a single byte, during the call. A shorter message is
    /// not changed.
    fn shorten(&mut self, thread: Pid, registers: &libc::user_regs_struct) {
        let length = word(thread, registers.rsi + BUFFERS).and_then(|buffer| {
            let length = buffer.cast_unsigned() + LENGTH;
            Ok((length, word(thread, length)?))
        });
        match length {
            Ok((address, length @ 2..)) if set_word(thread, address, 1).is_ok() => {
                if let Some(tracee) = self.tracees.get_mut(&thread) {
                    tracee.shortened = Some((address, length));
                }
            }
            Ok(_) | Err(_) => self.followed.exempt = true,
        }
    }

    /// Replaces the call by an unknown call. Only `close` has an effect, as in Linux.
    fn fail(&mut self, thread: Pid, call: Sysno, errno: Errno) {
        let skipped =
            call == Sysno::close || change_registers(thread, |registers| registers.orig_rax = u64::MAX);
        if let Some(tracee) = self.tracees.get_mut(&thread).filter(|_| skipped) {
            tracee.error = Some(errno);
        }
    }

    fn signal(&self, thread: Pid, signal: Signal) {
        if let Some(tracee) = self.tracees.get(&thread) {
            kill(tracee.process, signal).unwrap_or_default();
        }
    }
}

/// The offset of the buffers in a `msghdr`.
const BUFFERS: u64 = 16;

/// The offset of the length in an `iovec`.
const LENGTH: u64 = 8;

fn word(thread: Pid, address: u64) -> nix::Result<c_long> {
    ptrace::read(thread, address as ptrace::AddressType)
}

fn set_word(thread: Pid, address: u64, value: c_long) -> nix::Result<()> {
    ptrace::write(thread, address as ptrace::AddressType, value)
}

/// Whether a thread is the first of a process.
fn is_process(thread: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Tgid:").is_some_and(|of| of.trim() == thread.to_string()))
}

/// The new thread or process of an event.
fn created(creator: Pid) -> Option<Pid> {
    ptrace::getevent(creator).ok().and_then(|number| i32::try_from(number).ok()).map(Pid::from_raw)
}

fn set_result(thread: Pid, errno: Errno) {
    let result = i64::from(-(errno as i32)).cast_unsigned();
    change_registers(thread, |registers| registers.rax = result);
}

/// False: the thread was killed.
fn change_registers(thread: Pid, change: impl FnOnce(&mut libc::user_regs_struct)) -> bool {
    let changed = ptrace::getregs(thread).and_then(|mut registers| {
        change(&mut registers);
        ptrace::setregs(thread, registers)
    });
    changed.is_ok()
}

fn target(process: Pid, descriptor: u64) -> Target {
    let link = fs::read_link(format!("/proc/{process}/fd/{descriptor}")).unwrap_or_default();
    let link = link.to_string_lossy();
    if link == "anon_inode:[eventfd]" {
        return Target::Event;
    }
    let inode = link.strip_prefix("socket:[").and_then(|inode| inode.strip_suffix(']'));
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let is_unix = |inode| table.lines().any(|line| line.split_whitespace().nth(6) == Some(inode));
    if inode.is_some_and(is_unix) { Target::UnixSocket } else { Target::Other }
}

/// The targets of the descriptors of a process, such as `socket:[123]`.
pub(crate) fn descriptors(process: Pid) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        .collect()
}
