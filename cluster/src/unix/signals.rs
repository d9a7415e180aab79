//! The signals sent by a terminal or a service manager to a group of processes. A worker ignores these
//! signals, because the primary decides. Also SIGCHLD: a process with workers must not ignore SIGCHLD.

use std::mem::MaybeUninit;
use std::{io, ptr};

use nix::libc;
use tracing::warn;

/// The signals that ctrl-c, a closed terminal and a service manager (systemd: `KillMode=control-group`) send
/// to every process.
const TERMINAL: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// The signals that stop a process by default, and command a supervisor. The kernel sends SIGTTIN or SIGTTOU
/// to a whole background group when a process of the group uses the terminal.
const STOPPING: [libc::c_int; 2] = [libc::SIGTTIN, libc::SIGTTOU];

/// The option to make a Node.js program ignore the signals. An inherited action would have no effect, because
/// Node restores the default action of every signal at the start. The last statement removes the option from
/// the environment, so programs started by the worker are not affected. `%20` stands for a space: a space
/// would end the option.
pub(super) const NODE_OPTION: &str = "--import=data:text/javascript,\
    for(const%20s%20of['SIGHUP','SIGINT','SIGTERM','SIGTTIN','SIGTTOU'])process.on(s,()=>{});\
    const{env}=process,o=env.NODE_OPTIONS||'',i=o.lastIndexOf('%20--import=data:');\
    if(i>0)env.NODE_OPTIONS=o.slice(0,i);else%20if(i===0)delete%20env.NODE_OPTIONS";

/// Ignores the signals in a new process. The program may change the actions later. Safe between `fork` and
/// `exec`.
pub(super) fn ignore_in_child() -> io::Result<()> {
    for signal in TERMINAL.into_iter().chain(STOPPING) {
        set(signal, libc::SIG_IGN)?;
    }
    Ok(())
}

/// Ignores each signal without a handler of the program.
///
/// SIGHUP, SIGINT and SIGTERM get an empty handler. If ignored instead, the signals would also be ignored in
/// programs started by the worker, and nothing could terminate these programs. SIGTTIN and SIGTTOU are
/// ignored nevertheless: with a handler, a read of the terminal in the background would send the signal to
/// the group again and again (`tty_check_change` in Linux), and would not fail with EIO.
pub(crate) fn ignore() {
    for signal in STOPPING {
        if handler(signal).is_ok_and(|now| now == libc::SIG_DFL) {
            let _ = set(signal, libc::SIG_IGN);
        }
    }
    for signal in TERMINAL {
        if handler(signal).is_ok_and(|now| [libc::SIG_DFL, libc::SIG_IGN].contains(&now)) {
            // The only failure is EINVAL, for an invalid number.
            let _ = set(signal, nothing as *const () as libc::sighandler_t);
        }
    }
}

/// Completes [`ignore_in_child`] after the `exec`, in a Rust worker.
pub(super) fn keep_ignoring() {
    if TERMINAL.into_iter().all(|signal| handler(signal).is_ok_and(|now| now == libc::SIG_IGN)) {
        ignore();
    }
}

extern "C" fn nothing(_: libc::c_int) {}

/// Sets the handler of a signal. Safe between `fork` and `exec`.
fn set(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<()> {
    let mut action = sigaction(signal, None)?;
    (action.sa_sigaction, action.sa_flags) = (handler, libc::SA_RESTART);
    sigaction(signal, Some(&action)).map(drop)
}

/// The present handler.
fn handler(signal: libc::c_int) -> io::Result<libc::sighandler_t> {
    Ok(sigaction(signal, None)?.sa_sigaction)
}

/// Sets an action, if given, and returns the former action. (nix can read an action only by setting another.)
/// Safe between `fork` and `exec`.
fn sigaction(signal: libc::c_int, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut former = MaybeUninit::zeroed();
    #[expect(unsafe_code, reason = "a handler of a signal is a number")]
    // SAFETY: the call reads `new` and writes `former`, valid when zeroed. Each caller passes SIG_DFL,
    // SIG_IGN, the present handler or `nothing`; `nothing` may interrupt any code.
    let (result, former) = unsafe {
        let new = new.map_or(ptr::null(), ptr::from_ref);
        (libc::sigaction(signal, new, former.as_mut_ptr()), former.assume_init())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(former) }
}

/// Makes the kernel keep the exit statuses of children. The kernel drops statuses while SIGCHLD is ignored,
/// perhaps by inheritance, or while the action has `SA_NOCLDWAIT`.
pub(super) fn keep_statuses() -> io::Result<()> {
    let mut now = sigaction(libc::SIGCHLD, None)?;
    let is_ignored = now.sa_sigaction == libc::SIG_IGN;
    if !is_ignored && now.sa_flags & libc::SA_NOCLDWAIT == 0 {
        return Ok(());
    }
    warn!("SIGCHLD was ignored, and no longer is: the kernel would not report how workers end");
    if is_ignored {
        return set(libc::SIGCHLD, libc::SIG_DFL);
    }
    now.sa_flags &= !libc::SA_NOCLDWAIT;
    sigaction(libc::SIGCHLD, Some(&now)).map(drop)
}

/// Restores the default action of SIGCHLD in a new process. Safe between `fork` and `exec`.
pub(super) fn restore_child_signal() -> io::Result<()> {
    set(libc::SIGCHLD, libc::SIG_DFL)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Locked by tests with started programs or changed actions of SIGCHLD.
    pub(in crate::unix) static CHILDREN: Mutex<()> = Mutex::new(());

    /// Statuses are kept after every action of the program for SIGCHLD.
    #[test]
    fn statuses_are_kept() {
        let _alone = CHILDREN.lock().expect("no test panicked");
        let before = sigaction(libc::SIGCHLD, None).expect("a signal");
        for (handler, flags) in [
            (libc::SIG_IGN, 0),
            (libc::SIG_DFL, libc::SA_NOCLDWAIT),
            (nothing as *const () as libc::sighandler_t, libc::SA_NOCLDWAIT | libc::SA_RESTART),
        ] {
            let mut action = before;
            (action.sa_sigaction, action.sa_flags) = (handler, flags);
            sigaction(libc::SIGCHLD, Some(&action)).expect("a signal");
            keep_statuses().expect("a signal");
            let status = std::process::Command::new("sh").args(["-c", "exit 3"]).status();
            assert_eq!(status.expect("a status").code(), Some(3));
            let now = sigaction(libc::SIGCHLD, None).expect("a signal");
            // The other fields of the program's action do not change.
            assert!(now.sa_sigaction == handler || handler == libc::SIG_IGN);
            assert_eq!(now.sa_flags & libc::SA_NOCLDWAIT, 0);
        }
        sigaction(libc::SIGCHLD, Some(&before)).expect("a signal");
    }

    /// The empty handler is set only if all three signals are ignored, as after `ignore_in_child`.
    #[test]
    fn ignored_signals_get_empty_handler() {
        let _alone = CHILDREN.lock().expect("no test panicked");
        let handlers = || TERMINAL.map(|signal| handler(signal).expect("a signal"));
        let stopping = || STOPPING.map(|signal| handler(signal).expect("a signal"));
        let stopping_before = stopping();
        let (before, empty) = (handlers(), nothing as *const () as libc::sighandler_t);
        let cases =
            [(libc::SIG_IGN, [empty; 3]), (libc::SIG_DFL, [libc::SIG_DFL, libc::SIG_IGN, libc::SIG_IGN])];
        for (first, expected) in cases {
            ignore_in_child().expect("signals");
            set(TERMINAL[0], first).expect("a signal");
            keep_ignoring();
            assert_eq!((handlers(), stopping()), (expected, [libc::SIG_IGN; 2]));
        }
        let before = before.into_iter().chain(stopping_before);
        for (signal, handler) in TERMINAL.into_iter().chain(STOPPING).zip(before) {
            set(signal, handler).expect("a signal");
        }
    }

    #[test]
    fn unknown_signal_is_einval() {
        for result in [handler(1_000).map(drop), set(1_000, libc::SIG_DFL)] {
            assert_eq!(result.map_err(|error| error.raw_os_error()), Err(Some(libc::EINVAL)));
        }
    }
}
