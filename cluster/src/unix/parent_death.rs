//! The signal that a worker gets when its primary dies: `PR_SET_PDEATHSIG`, on Linux only.
//!
//! The kernel sends the signal when the *thread* that has forked the worker exits. A thread may exit before
//! the process: tokio ends a thread of the blocking pool after ten idle seconds, and all threads at the end
//! of a runtime. Therefore a thread that ends only with the process forks these workers: the main thread if
//! the supervisor runs there, otherwise a thread of this module. `execve` makes the calling thread the main
//! thread, with the same workers, and ends all others.

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

/// Starts a program from a thread that ends only with this process.
pub(super) fn spawn(program: Command) -> io::Result<Child> {
    if is_main_thread() {
        return tokio::process::Command::from(program).spawn();
    }
    let runtime = Handle::current();
    let (answer, child) = mpsc::channel();
    let job: Job = Box::new(move || {
        let _context = runtime.enter();
        // The receiver exists, because the caller waits for the answer.
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

/// Whether the caller is the main thread: the main thread ends only with the process, too.
#[cfg(target_os = "linux")]
fn is_main_thread() -> bool {
    nix::unistd::gettid() == nix::unistd::getpid()
}

#[cfg(not(target_os = "linux"))]
fn is_main_thread() -> bool {
    false
}

/// Whether a thread of this module has forked workers.
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

/// The signal as a type of nix, checked before the `fork`.
#[cfg(target_os = "linux")]
pub(super) fn check(signal: Signal) -> io::Result<nix::sys::signal::Signal> {
    Ok(nix::sys::signal::Signal::try_from(signal.0)?)
}

/// Requests the signal in a new process, after the change of the user, because the change would revoke the
/// request. Fails if the primary, with the process id `primary`, has died since the `fork`: the kernel would
/// send no signal. Safe between `fork` and `exec`.
#[cfg(target_os = "linux")]
pub(super) fn ask(signal: nix::sys::signal::Signal, primary: u32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(signal)?;
    let is_alive = u32::try_from(nix::unistd::getppid().as_raw()) == Ok(primary);
    if is_alive { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
}

/// Other systems lack the call: the start fails with ENOSYS.
#[cfg(not(target_os = "linux"))]
pub(super) fn check(_: Signal) -> io::Result<nix::sys::signal::Signal> {
    Err(nix::errno::Errno::ENOSYS.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn ask(_: nix::sys::signal::Signal, _: u32) -> io::Result<()> {
    Err(nix::errno::Errno::ENOSYS.into())
}
