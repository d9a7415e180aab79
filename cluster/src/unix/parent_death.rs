//! The signal that a worker gets when its primary dies: `PR_SET_PDEATHSIG`, on Linux only.
//!
//! The kernel sends the signal when the *thread* exits that has forked the worker. The threads of a program end before the
//! process: tokio ends a thread of its blocking pool after ten idle seconds, and all of its threads at the end of a
//! runtime. Therefore a thread that ends only with the process forks every worker with such a signal: the main thread, if
//! the supervisor runs there, or a thread of this file. The thread that calls `execve` becomes the main thread and keeps
//! the workers; every other thread ends.

use std::io;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread;

use cluster_core::Signal;
use tokio::process::Child;
use tokio::runtime::Handle;

type Job = Box<dyn FnOnce() + Send>;

/// The thread that forks. A failure to start the thread is reported to each caller.
static FORKING: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Starts a program from the thread that ends only with this process.
pub(super) fn spawn(program: Command) -> io::Result<Child> {
    if is_main_thread() {
        return tokio::process::Command::from(program).spawn();
    }
    let runtime = Handle::current();
    let (answer, child) = mpsc::channel();
    let job: Job = Box::new(move || {
        let _context = runtime.enter();
        // The caller waits for the answer.
        let _ = answer.send(tokio::process::Command::from(program).spawn());
    });
    {
        let mut forking = FORKING.lock().map_err(|_| io::ErrorKind::Other)?;
        if forking.is_none() {
            *forking = Some(start_thread()?);
        }
        let jobs = forking.as_ref().map(|jobs| jobs.send(job));
        jobs.ok_or(io::ErrorKind::Other)?.map_err(|_| io::ErrorKind::Other)?;
    }
    child.recv().map_err(io::Error::other)?
}

/// The main thread ends only with the process, too.
#[cfg(target_os = "linux")]
fn is_main_thread() -> bool {
    nix::unistd::gettid() == nix::unistd::getpid()
}

#[cfg(not(target_os = "linux"))]
fn is_main_thread() -> bool {
    false
}

/// Whether the thread has forked workers.
pub(super) fn has_thread() -> bool {
    FORKING.lock().is_ok_and(|forking| forking.is_some())
}

fn start_thread() -> io::Result<Sender<Job>> {
    let (jobs, received) = mpsc::channel::<Job>();
    thread::Builder::new().name("cluster-fork".into()).spawn(move || {
        for job in received {
            job();
        }
    })?;
    Ok(jobs)
}

/// The signal, checked before the `fork`.
#[cfg(target_os = "linux")]
pub(super) fn check(signal: Signal) -> io::Result<nix::sys::signal::Signal> {
    Ok(nix::sys::signal::Signal::try_from(signal.0)?)
}

/// Asks for the signal in a new process, after the change of the user, which would revoke the request. Fails if the
/// primary, with this process id, has died since the `fork`: the kernel would send no signal. Safe between `fork` and
/// `exec`.
#[cfg(target_os = "linux")]
pub(super) fn ask(signal: nix::sys::signal::Signal, primary: u32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(signal)?;
    let is_alive = u32::try_from(nix::unistd::getppid().as_raw()) == Ok(primary);
    if is_alive { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
}

/// No such call: the start fails with ENOSYS.
#[cfg(not(target_os = "linux"))]
pub(super) fn check(_: Signal) -> io::Result<nix::sys::signal::Signal> {
    Err(nix::errno::Errno::ENOSYS.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn ask(_: nix::sys::signal::Signal, _: u32) -> io::Result<()> {
    Err(nix::errno::Errno::ENOSYS.into())
}
