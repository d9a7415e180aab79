//! Signals during a hand-over. A signal after the last poll of the old program, and before the new program
//! has handlers, remains pending. `execve` keeps blocked and pending signals, and resets handlers.
//!
//! The kernel delivers a signal to any thread without a block of the signal, so blocking the signals in the
//! calling thread is not enough. Therefore a handler here blocks the signal in the interrupted thread, and
//! sends the signal again.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// Signals sent by a user or a service manager. SIGCHLD is not held, because the new program first polls
/// every child.
const HELD: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Whether signals are held now. A second hold would restore the former actions in the wrong order.
static IS_HELD: AtomicBool = AtomicBool::new(false);

/// Signals that remain pending until the drop.
#[derive(Debug)]
pub(crate) struct HeldSignals(Vec<(Signal, libc::sigaction)>);

impl HeldSignals {
    /// Keeps each signal with a handler of the program pending until the drop. Other signals keep the present
    /// actions.
    ///
    /// # Errors
    /// EBUSY: the signals are held already.
    pub(crate) fn hold() -> io::Result<Self> {
        if IS_HELD.swap(true, Ordering::AcqRel) {
            return Err(nix::errno::Errno::EBUSY.into());
        }
        let mut held = HeldSignals(Vec::new());
        for signal in HELD {
            let former = action(signal, None)?;
            if ![libc::SIG_DFL, libc::SIG_IGN].contains(&former.sa_sigaction) {
                let mut postponing = former;
                postponing.sa_sigaction = postpone as *const () as libc::sighandler_t;
                postponing.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                action(signal, Some(&postponing))?;
                held.0.push((signal, former));
            }
        }
        Ok(held)
    }

    /// Blocks the signals in the calling thread. Only the mask of the calling thread survives `execve`.
    pub(super) fn block(&self) -> io::Result<()> {
        Ok(pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&self.set()), None)?)
    }

    /// The numbers of the signals, for [`unblock`].
    pub(crate) fn numbers(&self) -> Vec<i32> {
        self.0.iter().map(|(signal, _)| *signal as i32).collect()
    }

    fn set(&self) -> SigSet {
        self.0.iter().map(|(signal, _)| *signal).collect()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        for (signal, former) in &self.0 {
            // The only failure is EINVAL, for an invalid number.
            let _ = action(*signal, Some(former));
        }
        // The former handlers receive the pending signals now.
        let _ = self.set().thread_unblock();
        IS_HELD.store(false, Ordering::Release);
    }
}

/// Unblocks signals in the calling thread.
pub(crate) fn unblock(signals: &[i32]) {
    let set: SigSet = signals.iter().filter_map(|signal| Signal::try_from(*signal).ok()).collect();
    // The only failure is EINVAL, for an invalid operation.
    let _ = set.thread_unblock();
}

extern "C" fn postpone(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    #[expect(unsafe_code, reason = "a handler has no safe form")]
    // SAFETY: with SA_SIGINFO the kernel passes the context of the interrupted code, valid during the
    // handler. The calls may interrupt any code, and `sigaddset` changes only the mask of the thread after
    // the return.
    unsafe {
        let context: *mut libc::ucontext_t = context.cast();
        libc::sigaddset(&raw mut (*context).uc_sigmask, signal);
        libc::kill(libc::getpid(), signal);
    }
}

/// Sets an action, if given, and returns the former action.
fn action(signal: Signal, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut former = MaybeUninit::zeroed();
    #[expect(unsafe_code, reason = "nix can read an action only by setting another")]
    // SAFETY: the call reads `new` and writes `former`, valid when zeroed. The callers pass `postpone`, or a
    // former action.
    let (result, former) = unsafe {
        let new = new.map_or(ptr::null(), ptr::from_ref);
        (libc::sigaction(signal as libc::c_int, new, former.as_mut_ptr()), former.assume_init())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(former) }
}
