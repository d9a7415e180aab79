//! The variables that make a process a worker: read once, and removed from the environment before `main`, while no other
//! thread can exist. What they mean is decided in `inherit`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::sync::OnceLock;

use super::spawn::{CHANNEL, ID, SERIALIZATION};

/// What a primary set.
#[derive(Debug)]
pub(super) struct Variables {
    pub(super) id: OsString,
    pub(super) channel: Option<OsString>,
    pub(super) serialization: Option<OsString>,
}

/// The variables in the environment of this process at its start, if it is a worker's.
pub(super) fn variables() -> Option<&'static Variables> {
    static VARIABLES: OnceLock<Option<Variables>> = OnceLock::new();
    VARIABLES.get_or_init(take).as_ref()
}

/// Runs before `main`, as Node reads its variables before the first line of a program.
///
/// A program calls `role` when it likes: under `#[tokio::main]` when the threads of the runtime exist. To change the environment
/// is unsound then, and with the variables still there, every Node.js program and every program of this library that the
/// worker starts would take itself for a worker, and end. A safe way to start programs (`clear_cluster_env`) does not reach those that
/// a library starts. So the variables are taken where the process has one thread by construction. The loader of a program,
/// static or not, glibc or musl, runs the functions of this section; `used` keeps the linker from dropping it.
#[used]
#[expect(unsafe_code, reason = "nothing but a section of the executable runs before `main`")]
// SAFETY: the section holds pointers to functions of the C ABI. This one uses of the standard library only what needs none
// of its runtime: the environment, files, memory and locks.
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    variables();
}

fn take() -> Option<Variables> {
    // As in Node, a process without the first is no worker, and keeps the others.
    let id = env::var_os(ID)?;
    let variables =
        Variables { id, channel: env::var_os(CHANNEL), serialization: env::var_os(SERIALIZATION) };
    // Something else may have started a thread: another function before `main`, or the program, if this library was loaded late.
    if is_only_thread() {
        for variable in [ID, CHANNEL, SERIALIZATION] {
            #[expect(unsafe_code, reason = "there is no safe way to change the environment")]
            // SAFETY: this is the only thread, and only it could start another.
            unsafe {
                env::remove_var(variable);
            }
        }
    }
    Some(variables)
}

fn is_only_thread() -> bool {
    is_alone_to_the_kernel()
        || fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.take(2).count() == 1)
}

/// Shown without /proc: to stop sharing what only threads share succeeds, and changes nothing, in a process of one thread.
/// `false` also where a sandbox forbids the call.
#[cfg(target_os = "linux")]
fn is_alone_to_the_kernel() -> bool {
    use nix::sched::{CloneFlags, unshare};
    unshare(CloneFlags::CLONE_THREAD).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn is_alone_to_the_kernel() -> bool {
    false
}
