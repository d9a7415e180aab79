//! The signals by which a terminal and a service manager end a whole group of processes: how a worker leaves their meaning
//! to its primary. It sends none.

use std::mem::MaybeUninit;
use std::{io, ptr};

use nix::libc;
use tracing::warn;

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
    Ok(present(signal)?.sa_sigaction)
}

fn present(signal: libc::c_int) -> io::Result<libc::sigaction> {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    #[expect(unsafe_code, reason = "nix reads a handler only by replacing it")]
    // SAFETY: without a new action the call only writes the present one to `now`, which is valid when it is zeroed.
    let (result, now) =
        unsafe { (libc::sigaction(signal, ptr::null(), now.as_mut_ptr()), now.assume_init()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(now) }
}

/// Has the kernel keep the statuses of children that end: it does not while SIGCHLD is ignored, which a process inherits from the
/// program that started it, or while its handler is set with `SA_NOCLDWAIT`.
pub(super) fn keep_statuses() -> io::Result<()> {
    let mut now = present(libc::SIGCHLD)?;
    let is_ignored = now.sa_sigaction == libc::SIG_IGN;
    if !is_ignored && now.sa_flags & libc::SA_NOCLDWAIT == 0 {
        return Ok(());
    }
    warn!("SIGCHLD was ignored, and no longer is: the kernel would not report how workers end");
    if is_ignored {
        return set(libc::SIGCHLD, libc::SIG_DFL);
    }
    now.sa_flags &= !libc::SA_NOCLDWAIT;
    #[expect(unsafe_code, reason = "a handler of a signal is a number")]
    // SAFETY: the action is the present one, but for a flag that no handler depends on.
    let result = unsafe { libc::sigaction(libc::SIGCHLD, &raw const now, ptr::null_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Restores the default action of SIGCHLD in a new process. Safe between `fork` and `exec`.
pub(super) fn restore_child_signal() -> io::Result<()> {
    set(libc::SIGCHLD, libc::SIG_DFL)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// For tests that start programs, or change what becomes of their statuses.
    pub(in crate::unix) static CHILDREN: Mutex<()> = Mutex::new(());

    /// Whatever action a part of the program set for SIGCHLD before.
    #[test]
    fn statuses_are_kept() {
        let _alone = CHILDREN.lock().expect("no test panicked");
        let before = present(libc::SIGCHLD).expect("a signal");
        for (handler, flags) in [
            (libc::SIG_IGN, 0),
            (libc::SIG_DFL, libc::SA_NOCLDWAIT),
            (nothing as *const () as libc::sighandler_t, libc::SA_NOCLDWAIT | libc::SA_RESTART),
        ] {
            let mut action = before;
            (action.sa_sigaction, action.sa_flags) = (handler, flags);
            #[expect(unsafe_code, reason = "a handler of a signal is a number")]
            // SAFETY: `nothing` may interrupt any code.
            let set = unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut()) };
            assert_eq!(set, 0);
            keep_statuses().expect("a signal");
            let status = std::process::Command::new("sh").args(["-c", "exit 3"]).status();
            assert_eq!(status.expect("a status").code(), Some(3));
            let now = present(libc::SIGCHLD).expect("a signal");
            // The rest of the program's action is unchanged.
            assert!(now.sa_sigaction == handler || handler == libc::SIG_IGN);
            assert_eq!(now.sa_flags & libc::SA_NOCLDWAIT, 0);
        }
        set(libc::SIGCHLD, before.sa_sigaction).expect("a signal");
    }
}
