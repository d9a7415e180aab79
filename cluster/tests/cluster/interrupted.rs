//! Interrupted system calls: `strace` makes calls return EINTR. Ignored without `strace`.

use std::env;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use super::support::{TestResult, trial};

/// The test to run again, with interrupted calls in every process.
const SERVED: &str = "connections_alternate_between_workers";
const PASSED: &str = "many_sockets_arrive_in_order";

pub(crate) fn trials() -> Vec<Trial> {
    let traces = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let absent = !traces.is_ok_and(|status| status.success());
    if absent {
        eprintln!("there is no `strace` here that works: the tests of interrupted calls are ignored");
    }
    let trials = [
        trial("channel_repeats_interrupted_sends", || interrupted("sendmsg", SERVED)),
        trial("channel_repeats_interrupted_reads", || interrupted("recvmsg", SERVED)),
        trial("channel_repeats_interrupted_sockets", || interrupted("sendmsg,recvmsg", PASSED)),
        trial("listener_repeats_interrupted_accepts", || interrupted("accept4", SERVED)),
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(absent)).collect()
}

/// Every second call fails with EINTR, in the primary and in the workers. The inner test limits each wait.
fn interrupted(calls: &str, inner: &str) -> TestResult {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:error=EINTR:when=1+2")]);
    strace.arg(env::current_exe()?).args(["--exact", inner]);
    let output = strace.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("1 passed") { Ok(()) } else { Err(text.into_owned().into()) }
}
