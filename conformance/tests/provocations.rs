//! Every fault of the simulator, provoked once on the real system: the kernel behaves as the simulator does.
//!
//! A fault without a provocation stops the compiler. How the machines react is tested in the simulator; here
//! only the fault itself is provoked. Every test waits for events, and leaves nothing open.

#[expect(dead_code, reason = "the tests of the cluster use more of it")]
#[path = "../../cluster/tests/cluster/support.rs"]
mod support;
#[path = "provocations/workers.rs"]
mod workers;

use std::fs;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use cluster::{Errno, Event, ExitStatus, Primary, Role, Signal, Violation, WorkerError, WorkerInfo, role};
use cluster_sim::Fault;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, Uid};
use serde_json::json;
use socket2::SockRef;
use support::{
    FdExhaustion, TestResult, asynchronous, connect, fork, fork_at, message, port, primary, primary_of,
    read_answer, rest, trial, until,
};

fn main() -> ExitCode {
    match role() {
        Ok(Role::Primary) => {
            // The first runtime opens descriptors that all runtimes share, and that no runtime closes.
            drop(support::runtime());
            // One test at a time, because descriptors and children are counted.
            let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
            libtest_mimic::run(&arguments, Fault::ALL.map(provocation).into()).exit_code()
        }
        Ok(Role::Worker) => workers::run(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn provocation(fault: Fault) -> Trial {
    let name = format!("{fault:?}");
    match fault {
        Fault::Kill => asynchronous(&name, kill),
        Fault::SpawnFailure => asynchronous(&name, spawn_failure),
        Fault::BindFailure => asynchronous(&name, bind_failure),
        Fault::AcceptFailure => asynchronous(&name, accept_failure),
        Fault::LostDescriptor => asynchronous(&name, lost_descriptor),
        Fault::ClientReset => asynchronous(&name, client_reset),
        Fault::Grandchild => asynchronous(&name, grandchild),
        Fault::Garbage => asynchronous(&name, garbage),
        Fault::ShortWrite => trial(&name, short_write),
        Fault::PartialRead => asynchronous(&name, partial_read),
        Fault::Aborted => asynchronous(&name, aborted),
        Fault::Stop => asynchronous(&name, stop),
        Fault::TimeJump => trial(&name, time_jump),
        Fault::WriteFailure => asynchronous(&name, write_failure),
        Fault::ReusedPort => trial(&name, reused_port),
        Fault::StopForever => asynchronous(&name, stop_forever),
        Fault::LostStatus => asynchronous(&name, lost_status),
        Fault::Reexec => trial(&name, reexec),
        Fault::ExecFailure => asynchronous(&name, exec_failure),
        Fault::HalfClose => trial(&name, half_close),
        Fault::KillFailure => asynchronous(&name, kill_failure),
    }
}

// ---- the provocations

/// The kernel chooses among some 28,000 ports. In a million binds, it is practically impossible that a port
/// is never chosen again.
fn reused_port() -> TestResult {
    let released = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for _ in 0..1_000_000 {
        if TcpListener::bind("127.0.0.1:0")?.local_addr()? == released {
            return Ok(());
        }
    }
    Err("no socket received the port of the closed socket".into())
}

async fn kill() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "serve");
    until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    primary.kill(worker, Signal::SIGKILL);
    let exit =
        Event::Exit { worker, status: ExitStatus::Signal(Signal::SIGKILL), exited_after_disconnect: false };
    assert!(rest(&mut primary).await?.contains(&exit));
    Ok(())
}

/// This process reaps the worker before the primary asks for the exit status.
async fn lost_status() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "serve");
    until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    let pid = primary.worker(worker).and_then(WorkerInfo::pid).ok_or("a process id")?;
    primary.kill(worker, Signal::SIGKILL);
    waitid(Id::Pid(Pid::from_raw(i32::try_from(pid)?)), WaitPidFlag::WEXITED)?;
    let exit = Event::Exit { worker, status: ExitStatus::ReapedElsewhere, exited_after_disconnect: false };
    assert!(rest(&mut primary).await?.contains(&exit));
    Ok(())
}

/// EAGAIN: the user has reached the limit of processes.
async fn spawn_failure() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "start one process too many");
    let program = Some(std::env::current_exe()?.into());
    let error = WorkerError::Spawn { program, directory: None, errno: Errno::EAGAIN };
    assert_eq!(message(&mut primary).await?, json!(format!("{error:?}")));
    end(primary).await
}

/// EADDRINUSE: another socket listens at the address.
async fn bind_failure() -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let mut primary = primary()?;
    fork_at(&mut primary, "serve", &address);
    assert_eq!(
        message(&mut primary).await?,
        json!(format!(
            "cannot bind {address}: EADDRINUSE (the address is in use); stop what listens there, or choose another address"
        ))
    );
    end(primary).await
}

/// EMFILE. The client is served when a descriptor is free again.
async fn accept_failure() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "serve");
    let client = connect(port(&mut primary).await?)?;
    let exhaustion = FdExhaustion::new()?;
    let failed = Event::AcceptFailed { errno: Errno::EMFILE };
    until(&mut primary, |event| *event == failed).await?;
    drop(exhaustion);
    assert_eq!(read_answer(&mut primary, client).await?, worker.to_string());
    end(primary).await
}

/// The receiver has no free descriptor. The bytes arrive without the descriptor, and another worker receives
/// the connection.
async fn lost_descriptor() -> TestResult {
    let mut primary = primary()?;
    let poor = fork(&mut primary, "exhaust descriptors, then serve");
    assert_eq!(message(&mut primary).await?, json!("exhausted"));
    let number = port(&mut primary).await?;
    let client = connect(number)?;
    let rich = fork(&mut primary, "serve");
    assert_eq!(port(&mut primary).await?, number);
    assert_eq!(read_answer(&mut primary, client).await?, rich.to_string());
    // The worker without descriptors stays connected.
    assert_eq!(primary.worker(poor).map(WorkerInfo::is_connected), Some(true));
    end(primary).await
}

/// ECONNRESET at the worker's read.
async fn client_reset() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "greet, and report the end");
    let mut client = connect(port(&mut primary).await?)?;
    let reading = tokio::task::spawn_blocking(move || client.read_exact(&mut [0; 5]).map(|()| client));
    assert_eq!(message(&mut primary).await?, json!("greeted"));
    reset(reading.await??)?;
    assert_eq!(message(&mut primary).await?, json!("ConnectionReset"));
    end(primary).await
}

/// The worker has exited, but its channel is open: a child holds it.
async fn grandchild() -> TestResult {
    let mut primary = primary_of("/bin/sh", &["-c", "(read line <&3) & exit 5"])?;
    let worker = primary.fork()?;
    let exit = Event::Exit { worker, status: ExitStatus::Code(5), exited_after_disconnect: false };
    until(&mut primary, |event| *event == exit).await?;
    assert_eq!(primary.worker(worker).map(|life| (life.is_dead(), life.is_connected())), Some((true, true)));
    primary.send(worker, json!("go"))?;
    assert_eq!(rest(&mut primary).await?, vec![Event::Disconnect { worker }]);
    Ok(())
}

async fn garbage() -> TestResult {
    let mut primary = primary_of("/bin/sh", &["-c", "echo rubbish >&3; read line <&3; exit 5"])?;
    let worker = primary.fork()?;
    let seen = rest(&mut primary).await?;
    let error = WorkerError::Protocol(Violation::Malformed);
    assert!(seen.contains(&Event::Error { worker, error }));
    assert!(seen.contains(&Event::Exit {
        worker,
        status: ExitStatus::Code(5),
        exited_after_disconnect: false
    }));
    Ok(())
}

/// The kernel takes a part of one write, and nothing of the next write (EAGAIN).
fn short_write() -> TestResult {
    let (mut near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    let bytes = vec![b'x'; 8 << 20];
    let mut taken = near.write(&bytes)?;
    assert!(0 < taken && taken < bytes.len());
    let full = loop {
        match near.write(&bytes) {
            Ok(more) => taken += more,
            Err(error) => break error.raw_os_error(),
        }
    };
    assert!(taken < bytes.len());
    drop(far);
    assert_eq!(full, Some(Errno::EAGAIN.0));
    Ok(())
}

/// The second message is read in two pieces, and the first piece is read together with the first message.
async fn partial_read() -> TestResult {
    let script = r#"printf '"one"\n"tw' >&3; read line <&3; printf 'o"\n' >&3; read line <&3"#;
    let mut primary = primary_of("/bin/sh", &["-c", script])?;
    let worker = primary.fork()?;
    assert_eq!(message(&mut primary).await?, json!("one"));
    primary.send(worker, json!("continue"))?;
    assert_eq!(message(&mut primary).await?, json!("two"));
    end(primary).await
}

/// A client resets the connection before the accept. Linux accepts the connection, and the reader gets an
/// error; other kernels report ECONNABORTED. In a cluster the worker gets the error, and the next client is
/// served.
async fn aborted() -> TestResult {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    reset(connect(listener.local_addr()?.port())?)?;
    let gone = listener.accept().and_then(|(mut client, _)| client.read(&mut [0]));
    let gone = gone.map_err(|error| error.raw_os_error());
    assert!([Errno::ECONNRESET, Errno::ECONNABORTED].map(|errno| Err(Some(errno.0))).contains(&gone));

    let mut primary = primary()?;
    fork(&mut primary, "greet, and report the end");
    let number = port(&mut primary).await?;
    let client = connect(number)?;
    let exhaustion = FdExhaustion::new()?;
    until(&mut primary, |event| matches!(event, Event::AcceptFailed { .. })).await?;
    reset(client)?;
    drop(exhaustion);
    let after = connect(number)?;
    assert_eq!(message(&mut primary).await?, json!("ConnectionReset"));
    assert_eq!(message(&mut primary).await?, json!("greeted"));
    after.shutdown(Shutdown::Write)?;
    assert_eq!(message(&mut primary).await?, json!("end"));
    end(primary).await
}

/// A stopped worker accepts nothing and delays no other worker. It continues after SIGCONT.
async fn stop() -> TestResult {
    let mut primary = primary()?;
    let slow = fork(&mut primary, "serve");
    let number = port(&mut primary).await?;
    primary.kill(slow, Signal::SIGSTOP);
    let pid = primary.worker(slow).and_then(WorkerInfo::pid).ok_or("a process id")?;
    let pid = Pid::from_raw(i32::try_from(pid)?);
    let stopped = waitid(Id::Pid(pid), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT)?;
    assert_eq!(stopped, WaitStatus::Stopped(pid, nix::sys::signal::Signal::SIGSTOP));
    let first = connect(number)?;
    let other = fork(&mut primary, "serve");
    assert_eq!(port(&mut primary).await?, number);
    assert_eq!(read_answer(&mut primary, connect(number)?).await?, other.to_string());
    primary.kill(slow, Signal::SIGCONT);
    assert_eq!(read_answer(&mut primary, first).await?, slow.to_string());
    end(primary).await
}

/// A SIGTERM to a stopped worker stays pending, and the process is still stopped afterwards. SIGKILL ends the
/// process.
async fn stop_forever() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "serve");
    port(&mut primary).await?;
    primary.kill(worker, Signal::SIGSTOP);
    let pid = primary.worker(worker).and_then(WorkerInfo::pid).ok_or("a process id")?;
    let pid = Pid::from_raw(i32::try_from(pid)?);
    let stopped = WaitStatus::Stopped(pid, nix::sys::signal::Signal::SIGSTOP);
    assert_eq!(waitid(Id::Pid(pid), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT)?, stopped);
    primary.kill(worker, Signal::SIGTERM);
    let ends = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    assert_eq!(waitid(Id::Pid(pid), ends)?, stopped);
    primary.kill(worker, Signal::SIGKILL);
    let exit =
        Event::Exit { worker, status: ExitStatus::Signal(Signal::SIGKILL), exited_after_disconnect: false };
    assert!(rest(&mut primary).await?.contains(&exit));
    Ok(())
}

/// A process that was stopped past two timers finds both due, and receives them in either order.
fn time_jump() -> TestResult {
    let timers = [1, 2].map(|after| -> Result<TimerFd, nix::Error> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty())?;
        let after = TimeSpec::from_duration(Duration::from_nanos(after));
        timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?;
        Ok(timer)
    });
    let [earlier, later] = timers;
    let (earlier, later) = (earlier?, later?);
    later.wait()?;
    let mut due = [PollFd::new(earlier.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut due, PollTimeout::ZERO)?, 1);
    Ok(earlier.wait()?)
}

/// A shell replaces itself by another program. The process is the same, and so are its child and a timer
/// among its descriptors.
fn reexec() -> TestResult {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty())?;
    timer.set(
        Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(1))),
        TimerSetTimeFlags::empty(),
    )?;
    let after = r#"cut -d " " -f 4 "/proc/$CHILD/stat"; kill "$CHILD"; exec head -c 8"#;
    let before = r#"sleep 1000 < /dev/null > /dev/null & CHILD=$! exec sh -c "$1""#;
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", before, "sh", after]).stdin(timer.as_fd().try_clone_to_owned()?);
    let shell = shell.stdout(Stdio::piped()).spawn()?;
    let pid = shell.id();
    let output = shell.wait_with_output()?.stdout;
    let fired = 1_u64.to_ne_bytes();
    assert_eq!(output, [format!("{pid}\n").as_bytes(), &fired].concat());
    Ok(())
}

/// The peer is alive and no longer reads: a write fails with EPIPE, the peer's bytes still arrive, and the
/// end arrives when the peer closes. How the library reacts is tested in `inject`.
fn half_close() -> TestResult {
    let (mut near, mut far) = UnixStream::pair()?;
    far.shutdown(Shutdown::Read)?;
    assert_eq!(near.write(b"x").map_err(|error| error.raw_os_error()), Err(Some(Errno::EPIPE.0)));
    far.write_all(b"alive")?;
    let mut bytes = [0; 5];
    near.read_exact(&mut bytes)?;
    assert_eq!(&bytes, b"alive");
    near.shutdown(Shutdown::Write)?;
    far.write_all(b"!")?;
    drop(far);
    let mut rest = Vec::new();
    near.read_to_end(&mut rest)?;
    assert_eq!(rest, b"!");
    Ok(())
}

/// The file of a program is replaced step by step: the file is missing, is open for writing, must not be
/// executed, and is whole.
async fn exec_failure() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("program");
    let mut primary = primary_of(path.to_str().ok_or("text")?, &[])?;
    assert_eq!(start_failure(&mut primary).await?, Some(Errno::ENOENT));
    fs::copy("/bin/true", &path)?;
    let writer = fs::File::options().write(true).open(&path)?;
    assert_eq!(start_failure(&mut primary).await?, Some(Errno::ETXTBSY));
    drop(writer);
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    assert_eq!(start_failure(&mut primary).await?, Some(Errno::EACCES));
    fs::set_permissions(&path, Permissions::from_mode(0o700))?;
    assert_eq!(start_failure(&mut primary).await?, None);
    Ok(())
}

/// The error of the start of a worker. `None`: the worker has exited with code 0.
async fn start_failure(primary: &mut Primary) -> Result<Option<Errno>, Failed> {
    let forked = primary.fork()?;
    let has_ended = |event: &Event| matches!(event, Event::Error { worker, .. } | Event::Exit { worker, .. } if *worker == forked);
    match until(primary, has_ended).await?.pop() {
        Some(Event::Error { error: WorkerError::Spawn { errno, .. }, .. }) => Ok(Some(errno)),
        Some(Event::Exit { status: ExitStatus::Code(0), .. }) => Ok(None),
        other => Err(format!("{other:?}").into()),
    }
}

/// ETOOMANYREFS: too many descriptors of the primary's user are in flight. After they have arrived, every
/// client is served.
async fn write_failure() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "hand off too much");
    assert_eq!(message(&mut primary).await?, json!(["ETOOMANYREFS", workers::CLIENTS]));
    end(primary).await
}

/// EPERM: the primary has become another user after the start of the worker. The worker continues.
async fn kill_failure() -> TestResult {
    if !Uid::effective().is_root() {
        let error = nix::sys::signal::kill(Pid::from_raw(1), None);
        assert_eq!(error, Err(nix::errno::Errno::EPERM), "another user's process");
        return Ok(());
    }
    let mut primary = primary()?;
    fork(&mut primary, "kill a worker of another user");
    let error = format!("{:?}", WorkerError::Kill(Errno::EPERM));
    assert_eq!(message(&mut primary).await?, json!([error, "1"]));
    end(primary).await
}

async fn end(mut primary: Primary) -> TestResult {
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

#[expect(clippy::needless_pass_by_value, reason = "it is closed here")]
fn reset(client: std::net::TcpStream) -> io::Result<()> {
    SockRef::from(&client).set_linger(Some(Duration::ZERO))
}
