//! The signals by which a terminal and a service manager end a whole group of processes: how a worker leaves their meaning
//! to its primary. It sends none.

use std::mem::MaybeUninit;
use std::{io, ptr};

use nix::libc;

/// What ctrl-c, a closed terminal and a service manager (systemd: `KillMode=control-group`) send to every process.
const TERMINAL: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// The option by which a Node.js program ignores them. At its start Node restores the default action of every signal, so that
/// an ignored signal is not inherited. The last statement removes the option again: programs that the worker starts
/// are unaffected. `%20`: a space would end the option.
pub(super) const NODE_OPTION: &str = "--import=data:text/javascript,\
    for(const%20s%20of['SIGHUP','SIGINT','SIGTERM'])process.on(s,()=>{});\
    const{env}=process,o=env.NODE_OPTIONS||'',i=o.lastIndexOf('%20--import=data:');\
    if(i>0)env.NODE_OPTIONS=o.slice(0,i);else%20if(i===0)delete%20env.NODE_OPTIONS";

/// Ignores them in a new process, until its program decides otherwise. Safe between `fork` and `exec`.
pub(super) fn ignore_in_child() -> io::Result<()> {
    for signal in TERMINAL {
        set(signal, libc::SIG_IGN)?;
    }
    Ok(())
}

/// Ignores those that the program does not handle itself.
///
/// By a handler that does nothing, because an ignored signal is inherited through `exec`: a program that the worker starts
/// could no longer be terminated.
pub(crate) fn ignore() {
    for signal in TERMINAL {
        if action(signal).is_ok_and(|now| [libc::SIG_DFL, libc::SIG_IGN].contains(&now)) {
            // EINVAL, the only failure, is for numbers that are no signals.
            let _ = set(signal, nothing as *const () as libc::sighandler_t);
        }
    }
}

/// Completes what [`ignore_in_child`] began in a process that is now a Rust worker.
pub(super) fn keep_ignoring() {
    if TERMINAL.into_iter().all(|signal| action(signal).is_ok_and(|now| now == libc::SIG_IGN)) {
        ignore();
    }
}

extern "C" fn nothing(_: libc::c_int) {}

fn set(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<()> {
    #[expect(unsafe_code, reason = "a handler of a signal is a number")]
    // SAFETY: the struct is valid when it is zeroed; the handler is SIG_DFL, SIG_IGN or `nothing`, which may interrupt any
    // code because it does nothing. The call is safe between `fork` and `exec`.
    let result = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, ptr::null_mut())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The present handler.
fn action(signal: libc::c_int) -> io::Result<libc::sighandler_t> {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    #[expect(unsafe_code, reason = "nix reads a handler only by replacing it")]
    // SAFETY: without a new action the call only writes the present one to `now`, which is valid when it is zeroed.
    let (result, now) =
        unsafe { (libc::sigaction(signal, ptr::null(), now.as_mut_ptr()), now.assume_init()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(now.sa_sigaction) }
}

/// Restores the default action of SIGCHLD in a new process. Safe between `fork` and `exec`.
pub(super) fn restore_child_signal() -> io::Result<()> {
    set(libc::SIGCHLD, libc::SIG_DFL)
}
