//! How a worker is started: arguments, descriptors and a user; and starts that fail.

use std::io::{Read, Seek};
use std::os::fd::AsRawFd;

use ::cluster::{
    Errno, Event, ExitStatus, ForkError, Limits, Pipe, PolicyFrozen, Primary, SchedulingPolicy,
    Serialization, Settings, SpawnOptions, Stdio, WorkerError, WorkerId,
};
use libtest_mimic::{Failed, Trial};
use nix::unistd::{Uid, geteuid, seteuid};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{FdExhaustion, TestResult, asynchronous, fork, message, primary, rest, until};

/// The user `nobody`, and some other user.
const NOBODY_USER: u32 = 65_534;
const OTHER_USER: u32 = 1_234;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("silent_worker_writes_to_pipes", silent),
        asynchronous("unread_output_is_kept", unread_output),
        asynchronous("pipe_carries_both_directions", extra_pipe),
        asynchronous("pipes_outlive_their_worker", untaken_pipes),
        asynchronous("channel_may_be_another_descriptor", channel_elsewhere),
        asynchronous("primary_descriptor_is_inherited_by_number", given_descriptor),
        asynchronous("missing_descriptor_is_an_error", missing_descriptor),
        asynchronous("fork_needs_exactly_one_channel", channels),
        asynchronous("messages_may_use_v8_serialization", advanced),
        asynchronous("worker_has_its_arguments", arguments),
        asynchronous("worker_has_its_variables", variables),
        asynchronous("worker_has_its_user_and_group", user),
        asynchronous("forbidden_user_is_an_error", forbidden_user),
        asynchronous("missing_program_precedes_other_errors", missing_program),
        asynchronous("start_error_names_what_failed", start_errors),
        asynchronous("fork_without_descriptors_leaves_nothing", no_descriptors),
        asynchronous("settings_accumulate", set_up),
        asynchronous("first_fork_decides_the_policy", policy),
        asynchronous("variable_decides_the_policy", policy_variable),
        asynchronous("options_of_node_are_inherited", node_options),
    ]
}

/// A primary with shell scripts as workers.
fn shell(script: &str, command: SpawnOptions) -> Result<Primary, Failed> {
    let command = command.exec("/bin/sh").exec_argv(["-c"]).args([script]);
    Ok(Primary::new(Settings { spawn: command, ..Settings::default() })?)
}

/// Reads a pipe to the end.
async fn text(mut pipe: Pipe) -> Result<String, Failed> {
    let mut text = String::new();
    pipe.read_to_string(&mut text).await?;
    Ok(text)
}

fn exit(worker: WorkerId, code: i32) -> Event {
    Event::Exit { worker, status: ExitStatus::Code(code), exited_after_disconnect: false }
}

async fn silent() -> TestResult {
    let script = "read line; echo out $line; echo err $line >&2";
    let mut primary = shell(script, SpawnOptions::new().silent(true))?;
    let worker = primary.fork()?;
    let mut pipes = primary.stdio(worker);
    assert_eq!(pipes.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert!(primary.stdio(worker).is_empty());
    let mut pipe = |number| pipes.remove(&number).ok_or("there are three pipes");
    let (mut input, output, errors) = (pipe(0)?, pipe(1)?, pipe(2)?);
    input.write_all(b"hello\n").await?;
    assert_eq!(
        (text(output).await?, text(errors).await?),
        ("out hello\n".to_owned(), "err hello\n".to_owned())
    );
    assert_eq!(rest(&mut primary).await?.last(), Some(&exit(worker, 0)));
    Ok(())
}

/// A worker writes five thousand lines to a pipe that is not read, and exits. Every line can be read
/// afterwards. With a smaller bound, the worker can only exit when the pipe is read.
async fn unread_output() -> TestResult {
    const LINES: usize = 5_000;
    let script = format!("i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); done; exit 3");
    let lines: Vec<String> = (0..LINES).map(|line| line.to_string()).collect();
    let expected = lines.join("\n") + "\n";
    for (bound, is_taken_first) in [(Limits::default().unread_output_bytes, false), (1000, true)] {
        let mut primary = shell(&script, SpawnOptions::new().silent(true))?;
        let limits = Limits { unread_output_bytes: bound, ..Limits::default() };
        let settings = Settings { limits, ..primary.settings().clone() };
        primary = Primary::new(settings)?;
        let worker = primary.fork()?;
        let taken = if is_taken_first { primary.stdio(worker).remove(&1) } else { None };
        let reading = taken.map(|pipe| {
            tokio::spawn(async { text(pipe).await.map_err(|error| error.message().map(String::from)) })
        });
        until(&mut primary, |event| *event == exit(worker, 3)).await?;
        let text = match reading {
            Some(reading) => reading.await?.map_err(Option::unwrap_or_default)?,
            None => text(primary.stdio(worker).remove(&1).ok_or("a pipe")?).await?,
        };
        assert!(text == expected);
        rest(&mut primary).await?;
    }
    Ok(())
}

async fn extra_pipe() -> TestResult {
    let stdio =
        vec![Stdio::Ignore, Stdio::Inherit, Stdio::Inherit, Stdio::Channel, Stdio::Ignore, Stdio::Pipe];
    let script = "read line <&5; echo got $line >&5; read line || echo ignored >&5; (echo >&4) 2>/dev/null || echo none >&5";
    let mut primary = shell(script, SpawnOptions::new().stdio(stdio))?;
    let worker = primary.fork()?;
    let mut pipe = primary.stdio(worker).remove(&5).ok_or("there is a pipe")?;
    pipe.write_all(b"hello\n").await?;
    assert_eq!(text(pipe).await?, "got hello\nignored\nnone\n");
    rest(&mut primary).await.map(drop)
}

/// Output can be read after the exit. A pipe that the program does not take is closed when the worker is
/// forgotten.
async fn untaken_pipes() -> TestResult {
    let mut primary = shell("echo hello; exit 3", SpawnOptions::new().silent(true))?;
    let worker = primary.fork()?;
    until(&mut primary, |event| *event == exit(worker, 3)).await?;
    let output = primary.stdio(worker).remove(&1).ok_or("the output of the worker")?;
    assert_eq!(text(output).await?, "hello\n");
    let worker = primary.fork()?;
    rest(&mut primary).await?;
    assert!(primary.stdio(worker).is_empty());
    Ok(())
}

async fn channel_elsewhere() -> TestResult {
    let stdio = vec![Stdio::Inherit, Stdio::Inherit, Stdio::Inherit, Stdio::Pipe, Stdio::Channel];
    let mut primary = primary()?;
    primary.setup(SpawnOptions::new().stdio(stdio));
    let worker = fork(&mut primary, "echo");
    primary.send(worker, json!("to and fro"))?;
    assert_eq!(message(&mut primary).await?, json!("to and fro"));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn given_descriptor() -> TestResult {
    let mut file = tempfile::tempfile()?;
    let number = u32::try_from(file.as_raw_fd())?;
    let stdio = vec![
        Stdio::Ignore,
        Stdio::Descriptor(number),
        Stdio::Inherit,
        Stdio::Channel,
        Stdio::Descriptor(number),
    ];
    let mut primary = shell("echo one; echo two >&4", SpawnOptions::new().stdio(stdio))?;
    primary.fork()?;
    rest(&mut primary).await?;
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    assert_eq!(text, "one\ntwo\n");
    Ok(())
}

async fn missing_descriptor() -> TestResult {
    let stdio =
        vec![Stdio::Inherit, Stdio::Inherit, Stdio::Pipe, Stdio::Channel, Stdio::Descriptor(1_000_000)];
    let mut primary = shell("exit 1", SpawnOptions::new().stdio(stdio))?;
    let worker = primary.fork()?;
    not_started(&mut primary, worker, Errno::EBADF).await
}

/// Asserts that a failed start leads to an error and leaves no worker.
async fn not_started(primary: &mut Primary, worker: WorkerId, errno: Errno) -> TestResult {
    let program = primary.settings().spawn.exec.clone();
    let seen = rest(primary).await?;
    let error = Event::Error { worker, error: WorkerError::Spawn { program, directory: None, errno } };
    let expected = [error, Event::Fork { worker }, Event::Disconnect { worker }];
    let without_setup: Vec<&Event> =
        seen.iter().filter(|event| !matches!(event, Event::Setup { .. })).collect();
    assert_eq!(without_setup, expected.iter().collect::<Vec<_>>());
    assert_eq!((primary.workers().count(), primary.running_workers().count()), (0, 0));
    Ok(())
}

async fn channels() -> TestResult {
    let mut primary = shell("exit 1", SpawnOptions::new().stdio([Stdio::Inherit]))?;
    assert_eq!(primary.fork(), Err(ForkError::NoChannel));
    primary.setup(SpawnOptions::new().stdio([Stdio::Channel, Stdio::Channel]));
    assert_eq!(primary.fork(), Err(ForkError::TwoChannels));
    let seen = rest(&mut primary).await?;
    assert!(seen.iter().all(|event| matches!(event, Event::Setup { .. })));
    Ok(())
}

async fn advanced() -> TestResult {
    let mut primary = primary()?;
    primary.setup(SpawnOptions::new().serialization(Serialization::Advanced));
    let worker = fork(&mut primary, "echo");
    for value in [json!(null), json!(-1.5), json!({ "ä": [1, "2", { "a": [] }] }), json!("x".repeat(1 << 20))]
    {
        primary.send(worker, &value)?;
        assert_eq!(message(&mut primary).await?, value);
    }
    primary.disconnect_all();
    assert_eq!(rest(&mut primary).await?.last(), Some(&Event::AllDisconnected));
    Ok(())
}

async fn arguments() -> TestResult {
    let mut primary = shell("echo \"$0\" \"$@\"; pwd", SpawnOptions::new().silent(true))?;
    let mut args = primary.settings().spawn.args.as_deref().unwrap_or_default().to_vec();
    args.extend(["zero".into(), "one two".into()]);
    primary.setup(SpawnOptions::new().args(args).cwd("/usr"));
    let worker = primary.fork()?;
    let output = primary.stdio(worker).remove(&1).ok_or("there is a pipe")?;
    assert_eq!(text(output).await?, "zero one two\n/usr\n");
    rest(&mut primary).await.map(drop)
}

/// A variable of a fork replaces the same variable of the options. The worker also has the variables of the
/// primary.
async fn variables() -> TestResult {
    let options = SpawnOptions::new().env([("ONE", "1"), ("TWO", "2")]).silent(true);
    let mut primary = shell("echo $ONE $TWO ${PATH:+path}", options)?;
    let worker = primary.fork_with_env([("TWO", "zwei")])?;
    let output = primary.stdio(worker).remove(&1).ok_or("there is a pipe")?;
    assert_eq!(text(output).await?, "1 zwei path\n");
    rest(&mut primary).await.map(drop)
}

async fn user() -> TestResult {
    if !geteuid().is_root() {
        return Ok(());
    }
    let mut primary =
        shell("id -u; id -g; id -G", SpawnOptions::new().uid(NOBODY_USER).gid(OTHER_USER).silent(true))?;
    let worker = primary.fork()?;
    let output = primary.stdio(worker).remove(&1).ok_or("there is a pipe")?;
    assert_eq!(text(output).await?, format!("{NOBODY_USER}\n{OTHER_USER}\n{OTHER_USER}\n"));
    rest(&mut primary).await.map(drop)
}

async fn forbidden_user() -> TestResult {
    for command in [SpawnOptions::new().uid(OTHER_USER), SpawnOptions::new().gid(OTHER_USER)] {
        let mut primary = shell("exit 1", command)?;
        let root = geteuid();
        if root.is_root() {
            seteuid(Uid::from_raw(NOBODY_USER))?;
        }
        let worker = primary.fork();
        seteuid(root)?;
        not_started(&mut primary, worker?, Errno::EPERM).await?;
    }
    Ok(())
}

/// The channel may have any number: the new process reports the failure through a separate descriptor.
async fn missing_program() -> TestResult {
    for number in 3..40 {
        let mut stdio = vec![Stdio::Ignore; number];
        stdio.push(Stdio::Channel);
        let command = SpawnOptions::new().exec("/no/such/program").stdio(stdio);
        let mut primary = Primary::new(Settings { spawn: command, ..Settings::default() })?;
        let worker = primary.fork()?;
        not_started(&mut primary, worker, Errno::ENOENT).await?;
    }
    Ok(())
}

/// Forks with each number of free descriptors that is too small.
async fn no_descriptors() -> TestResult {
    for free in 0.. {
        let mut primary = shell("exit 5", SpawnOptions::new().silent(true))?;
        let exhaustion = FdExhaustion::except(free)?;
        let worker = primary.fork();
        drop(exhaustion);
        let worker = worker?;
        let seen =
            until(&mut primary, |event| matches!(event, Event::Exit { .. } | Event::Disconnect { .. }))
                .await?;
        let error =
            WorkerError::Spawn { program: Some("/bin/sh".into()), directory: None, errno: Errno::EMFILE };
        if !seen.contains(&Event::Error { worker, error }) {
            rest(&mut primary).await?;
            assert!(free > 5);
            return Ok(());
        }
        assert_eq!((primary.running_workers().count(), rest(&mut primary).await?), (0, Vec::new()));
    }
    Ok(())
}

async fn set_up() -> TestResult {
    let mut primary = shell("exit 5", SpawnOptions::new())?;
    primary.setup(SpawnOptions::new().cwd("/"));
    primary.setup(SpawnOptions::new().silent(true));
    let worker = primary.fork()?;
    let settings = primary.settings().spawn.clone();
    assert_eq!(
        (settings.cwd.as_ref(), settings.silent.unwrap_or_default(), settings.exec.as_ref()),
        (Some(&"/".into()), true, Some(&"/bin/sh".into()))
    );
    let seen = rest(&mut primary).await?;
    let received: Vec<bool> = seen
        .iter()
        .filter_map(|event| {
            if let Event::Setup { options } = event { Some(options.silent.unwrap_or_default()) } else { None }
        })
        .collect();
    assert_eq!(received, vec![false, true, true]);
    assert_eq!(
        seen.iter().find(|event| !matches!(event, Event::Setup { .. })),
        Some(&Event::Fork { worker })
    );
    Ok(())
}

async fn policy() -> TestResult {
    let mut primary = shell("exit 5", SpawnOptions::new())?;
    assert_eq!(primary.set_policy(SchedulingPolicy::Shared), Ok(()));
    assert_eq!(primary.settings().policy, SchedulingPolicy::Shared);
    primary.fork()?;
    assert_eq!(primary.set_policy(SchedulingPolicy::RoundRobin), Err(PolicyFrozen));
    assert_eq!(primary.settings().policy, SchedulingPolicy::Shared);
    rest(&mut primary).await.map(drop)
}

async fn policy_variable() -> TestResult {
    for (value, policy) in [
        ("none", "Shared"),
        ("rr", "RoundRobin"),
        ("None", "RoundRobin"),
        ("", "RoundRobin"),
        ("x", "RoundRobin"),
    ] {
        let mut primary = primary()?;
        primary.fork_with_env([("PROGRAM", "lead"), ("NODE_CLUSTER_SCHED_POLICY", value)])?;
        assert_eq!(message(&mut primary).await?, json!(policy));
        primary.disconnect_all();
        rest(&mut primary).await?;
    }
    Ok(())
}

/// The primary's environment has options for Node.js, and the settings have none.
async fn node_options() -> TestResult {
    let mut primary = primary()?;
    primary.fork_with_env([("PROGRAM", "lead with options"), ("NODE_OPTIONS", "--no-warnings")])?;
    assert_eq!(message(&mut primary).await?, json!([["--no-warnings"], ["--inspect"]]));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// The text has the failed call, the value, the name of the error, and advice.
async fn start_errors() -> TestResult {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    std::fs::write(&file, "")?;
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let exec = |exec: &str| SpawnOptions::new().exec(exec);
    let sh = || exec("/bin/sh");
    let lost = |number| vec![Stdio::Channel, Stdio::Descriptor(number)];
    for (command, named, advised) in [
        (exec("/no/such"), "cannot start `/no/such`: ENOENT (", "check the path of the program"),
        (exec("no-such-name"), "cannot start `no-such-name`: ENOENT (", "`PATH`"),
        (
            exec(&path("file")),
            &format!("cannot start `{}`: EACCES (", path("file")),
            "make the program executable",
        ),
        (
            sh().cwd(path("gone")),
            &format!("cannot start `/bin/sh` in the directory `{}`: ENOENT (", path("gone")),
            "create the directory",
        ),
        (
            sh().cwd(path("file")),
            &format!("cannot start `/bin/sh` in the directory `{}`: ENOTDIR (", path("file")),
            "create the directory",
        ),
        (
            exec("/no/such").cwd(path("")),
            "cannot start `/no/such`: ENOENT (",
            "check the path of the program",
        ),
        (sh().args(["x".repeat(1 << 20)]), "cannot start `/bin/sh`: E2BIG (", "shorten `args`"),
        (sh().args(["a\0b"]), "cannot start `/bin/sh`: EINVAL (", "NUL"),
        (sh().stdio(lost(1_000_000)), "cannot start `/bin/sh`: EBADF (", "`stdio` names"),
    ] {
        let mut primary = Primary::new(Settings { spawn: command, ..Settings::default() })?;
        primary.fork()?;
        let seen = rest(&mut primary).await?;
        let text = seen.iter().find_map(|event| match event {
            Event::Error { error, .. } => Some(error.to_string()),
            _ => None,
        });
        let text = text.ok_or("an error")?;
        assert!(text.starts_with(named) && text.contains(advised), "{text}");
    }
    Ok(())
}
