//! The environment variables of a worker. Read once and removed before `main`, while no other thread can
//! exist. `inherit` decodes the values.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::sync::OnceLock;

use cluster_core::SIGNAL_UNTIL_MAIN_VARIABLE;

use super::spawn::{self, CHANNEL, ID, SERIALIZATION};

/// The values from the primary.
#[derive(Debug)]
pub(super) struct Variables {
    pub(super) id: OsString,
    pub(super) channel: Option<OsString>,
    pub(super) serialization: Option<OsString>,
}

/// The variables at the start of this process. `None`: the process is no worker.
pub(super) fn variables() -> Option<&'static Variables> {
    static VARIABLES: OnceLock<Option<Variables>> = OnceLock::new();
    VARIABLES.get_or_init(take).as_ref()
}

/// Runs before `main`, as Node reads the variables before the first line of a program.
///
/// A program may call `role` late. Under `#[tokio::main]` the threads of the runtime exist by then, and
/// changing the environment is unsound. If the variables remained, a program of Node.js or of this library,
/// started by the worker, would take itself for a worker, and exit. `clear_cluster_env` cleans the
/// environment of a program, but not of programs started by a library. Hence the variables are removed where
/// the process has a single thread by construction. Every loader runs the functions in the section: static or
/// not, glibc or musl. `used` keeps the linker from removing the section.
#[used]
#[expect(unsafe_code, reason = "nothing but a section of the executable runs before `main`")]
// SAFETY: the section holds pointers to functions of the C ABI. `before_main` uses only parts of the standard
// library that need no runtime: the environment, files, memory and locks.
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    revoke_death_signal();
    variables();
    handed_over();
}

/// Revokes the parent-death signal, if the primary has set [`SIGNAL_UNTIL_MAIN_VARIABLE`]: the signal is for
/// a program that never reads the channel, and would interrupt the open requests of this worker. The main
/// thread calls this function, because the kernel has a signal for each thread.
fn revoke_death_signal() {
    #[cfg(target_os = "linux")]
    if env::var_os(SIGNAL_UNTIL_MAIN_VARIABLE).is_some() {
        // An error means that the kernel does not have the signal.
        let _ = nix::sys::prctl::set_pdeathsig(None);
    }
}

/// The variable of a hand-over. Removed as well, because a worker does not take over.
pub(super) fn handed_over() -> Option<&'static OsString> {
    static HANDED_OVER: OnceLock<Option<OsString>> = OnceLock::new();
    HANDED_OVER
        .get_or_init(|| env::var_os(spawn::HANDED_OVER).inspect(|_| remove(&[spawn::HANDED_OVER])))
        .as_ref()
}

fn take() -> Option<Variables> {
    // As in Node, a process without an id is no worker, and keeps the other variables.
    let id = env::var_os(ID)?;
    let variables =
        Variables { id, channel: env::var_os(CHANNEL), serialization: env::var_os(SERIALIZATION) };
    remove(&[ID, CHANNEL, SERIALIZATION, SIGNAL_UNTIL_MAIN_VARIABLE]);
    Some(variables)
}

fn remove(variables: &[&str]) {
    // Another function before `main` may have started a thread. If the library was loaded late, the program
    // may have started a thread.
    if is_only_thread() {
        for variable in variables {
            #[expect(unsafe_code, reason = "no safe call changes the environment")]
            // SAFETY: no other thread exists, and only this thread could start another.
            unsafe {
                env::remove_var(variable);
            }
        }
    }
}

fn is_only_thread() -> bool {
    is_alone_to_the_kernel()
        || fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.take(2).count() == 1)
}

/// Whether no other thread exists, without /proc: with a single thread `unshare(CLONE_THREAD)` succeeds and
/// changes nothing. Also `false` where a sandbox forbids the call.
#[cfg(target_os = "linux")]
fn is_alone_to_the_kernel() -> bool {
    use nix::sched::{CloneFlags, unshare};
    unshare(CloneFlags::CLONE_THREAD).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn is_alone_to_the_kernel() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::{io, process, thread};

    /// A process with two threads is not alone. A new process is alone until `exec`.
    #[test]
    fn single_thread_is_recognized() {
        let _alone = crate::unix::signals::tests::CHILDREN.lock().expect("no test panicked");
        let both = thread::spawn(|| (is_alone_to_the_kernel(), is_only_thread()));
        assert_eq!(both.join().expect("no panic"), (false, false));
        let mut program = process::Command::new("true");
        let check = || if is_alone_to_the_kernel() { Ok(()) } else { Err(io::ErrorKind::Other.into()) };
        #[expect(unsafe_code, reason = "no safe call acts between `fork` and `exec`")]
        // SAFETY: the closure makes a single system call, and neither allocates nor locks.
        unsafe {
            program.pre_exec(check);
        }
        assert!(program.status().expect("a process with one thread").success());
    }
}
