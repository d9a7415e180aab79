//! Spawn options: how calls of `setup` accumulate, and which options forks use.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use cluster_core::testing::TestCluster;
use cluster_core::{
    Call, Event, ForkError, Machine, PolicyFrozen, Primary, SchedulingPolicy, Serialization, Settings,
    SpawnOptions, Stdio, WorkerId,
};

/// The options of the processes so far.
fn commands(cluster: &TestCluster) -> Vec<SpawnOptions> {
    let spawned = cluster.os.calls.iter().filter_map(|call| match call {
        Call::Spawn { options, .. } => Some(options.clone()),
        _ => None,
    });
    spawned.collect()
}

/// An unset option is unchanged, and every call of `setup` emits an event.
#[test]
fn setup_keeps_unset_options() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.primary.setup(SpawnOptions::new().exec("node").args(["one"]));
    cluster.primary.setup(SpawnOptions::new().args(["two"]).silent(true).uid(7));
    cluster.primary.setup(SpawnOptions::new().serialization(Serialization::Advanced));
    cluster.fork(1);
    let command = SpawnOptions::new()
        .exec("node")
        .args(["two"])
        .silent(true)
        .uid(7)
        .serialization(Serialization::Advanced);
    assert_eq!(commands(&cluster), std::slice::from_ref(&command));
    assert_eq!(cluster.primary.settings().spawn, command);
    let told = cluster.events.iter().filter_map(|event| match event {
        Event::Setup { options } => Some((
            options.args.as_deref().unwrap_or_default()[0].to_string(),
            options.silent.unwrap_or_default(),
            options.serialization.unwrap_or_default(),
        )),
        _ => None,
    });
    let json = Serialization::Json;
    let [one, two] = ["one", "two"].map(String::from);
    let last = (two.clone(), true, Serialization::Advanced);
    assert_eq!(told.collect::<Vec<_>>(), [(one, false, json), (two, true, json), last.clone(), last]);
}

/// Each fork emits its options before itself.
#[test]
fn fork_emits_setup_first() {
    let mut cluster = TestCluster::new(Settings::default());
    let worker = |cluster: &mut TestCluster| cluster.primary.fork().expect("the settings are valid");
    worker(&mut cluster);
    worker(&mut cluster);
    cluster.settle();
    let told = cluster.events.iter().filter_map(|event| match event {
        Event::Setup { .. } => Some(0),
        Event::Fork { worker: WorkerId(number) } => Some(*number),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [0, 1, 0, 2]);
}

/// The policy can be changed until the first `setup` or `fork`.
#[test]
fn policy_is_fixed_by_setup() {
    let mut primary = Primary::new(Settings::default());
    assert_eq!(primary.set_policy(SchedulingPolicy::Shared), Ok(()));
    assert_eq!(primary.settings().policy, SchedulingPolicy::Shared);
    let (mut set_up, mut forked) = (primary.clone(), primary);
    set_up.setup(SpawnOptions::new());
    forked.fork().expect("the settings are valid");
    for mut primary in [set_up, forked] {
        assert_eq!(primary.set_policy(SchedulingPolicy::RoundRobin), Err(PolicyFrozen));
        assert_eq!(primary.settings().policy, SchedulingPolicy::Shared);
    }
}

/// A fork without exactly one channel fails at once, and nothing is started.
#[test]
fn stdio_needs_one_channel() {
    let mut cluster = TestCluster::new(Settings::default());
    for (stdio, error) in [
        (vec![Stdio::Inherit; 3], ForkError::NoChannel),
        (vec![Stdio::Channel, Stdio::Pipe, Stdio::Channel], ForkError::TwoChannels),
    ] {
        cluster.primary.setup(SpawnOptions::new().stdio(stdio));
        assert_eq!(cluster.primary.fork(), Err(error));
    }
    cluster.settle();
    assert_eq!(commands(&cluster), []);
    assert_eq!((cluster.primary.workers().count(), cluster.primary.running_workers().count()), (0, 0));
    cluster.primary.setup(SpawnOptions::new().stdio([Stdio::Ignore, Stdio::Channel]));
    assert_eq!(cluster.fork(1), [WorkerId(3)], "a number is used up by each refusal");
}

/// `node -e` has a `cluster.worker` only with an argument behind its text. Other programs may have options of
/// the same names.
#[test]
fn node_eval_needs_an_argument() {
    let fork = |exec: &str, args: &[&str]| {
        let mut primary = Primary::new(Settings::default());
        primary.setup(SpawnOptions::new().exec(exec).args(args.iter().copied()));
        primary.fork().err()
    };
    for args in
        [&["-e", "1"][..], &["-p", "1"], &["--eval", "1", "--no-warnings"], &["--inspect", "-pe", "1"]]
    {
        assert_eq!(fork("/opt/bin/node", args), Some(ForkError::NoScript), "{args:?}");
        assert_eq!(fork("/opt/bin/perl", args), None, "{args:?}");
    }
    for args in
        [&["-e", "1", "x"][..], &["server.js", "-e", "1"], &["-r", "./first.js", "-e", "1"], &["-"], &[]]
    {
        assert_eq!(fork("node", args), None, "{args:?}");
    }
}

/// The inspector ports of a number of forks with these arguments before all others.
#[track_caller]
fn ports(forks: u32, exec_argv: &str, inspect_port: Option<u16>) -> Vec<String> {
    let mut primary = Primary::new(Settings::default());
    primary.setup(SpawnOptions::new().exec_argv([exec_argv]));
    if let Some(port) = inspect_port {
        primary.setup(SpawnOptions::new().inspect_port(port));
    }
    let mut ports = Vec::new();
    for _ in 0..forks {
        primary.fork().expect("the settings are valid");
        if let Some(Call::Spawn { options, .. }) = primary.poll_call() {
            ports.extend(options.exec_argv.as_deref().unwrap_or_default().get(1).map(ToString::to_string));
        }
    }
    assert_eq!(
        primary.settings().spawn.exec_argv.as_deref().unwrap_or_default().len(),
        1,
        "the settings are as they were"
    );
    ports
}

/// Each worker with an inspector has a separate port.
#[test]
fn inspected_workers_have_own_ports() {
    for asks in ["--inspect", "--inspect-brk=0", "--debug-port=1"] {
        assert_eq!(ports(2, asks, None), ["--inspect-port=9230", "--inspect-port=9231"]);
    }
    assert_eq!(
        ports(2, "--inspect", Some(12_000)),
        ["--inspect-port=12000"; 2],
        "as in Node, not counted on"
    );
    assert_eq!(ports(2, "--trace-warnings", Some(12_000)), [""; 0]);
}

/// The `NODE_OPTIONS` of two forks, with inherited and own options.
#[track_caller]
fn options(inherited: Option<&str>, own: Option<&str>, inspect_port: Option<u16>) -> Vec<Option<String>> {
    let node_options = inherited.map(Into::into);
    let mut primary = Primary::new(Settings { node_options, ..Settings::default() });
    if let Some(port) = inspect_port {
        primary.setup(SpawnOptions::new().inspect_port(port));
    }
    let mut options = Vec::new();
    for _ in 0..2 {
        let own = own.map(|own| ("NODE_OPTIONS", own));
        primary.fork_with_env(own).expect("the settings are valid");
        let Some(Call::Spawn { options: started, env, .. }) = primary.poll_call() else { continue };
        assert_eq!(
            started.exec_argv.as_deref().unwrap_or_default(),
            [""; 0],
            "a program that is not Node's would not understand it"
        );
        let mut given =
            env.into_iter().filter(|(name, _)| *name == "NODE_OPTIONS").map(|(_, value)| value.to_string());
        options.push(given.next());
        assert_eq!(given.next(), None);
    }
    options
}

/// Port 0 in the primary's own options means any port. The workers' ports then start at Node's default.
#[test]
fn inspected_port_zero_is_the_default() {
    let port = |own| options(Some(own), Some("--inspect"), None)[0].clone().unwrap_or_default();
    assert!(port("--inspect=0").ends_with("--inspect-port=9230"), "{}", port("--inspect=0"));
    assert!(port("--inspect=1").ends_with("--inspect-port=1025"), "{}", port("--inspect=1"));
}

/// If the primary's options start an inspector, in the arguments or in the environment, each worker has an
/// inspector at the next port. A port in these options is the port of the primary.
#[test]
fn inherited_inspector_options_are_counted() {
    let ports =
        |options: &str, ports: [u16; 2]| ports.map(|port| Some(format!("{options} --inspect-port={port}")));
    for asks in
        ["--inspect", "--inspect-brk", "--inspect-wait", "--inspect=localhost", "--no-warnings --inspect"]
    {
        assert_eq!(options(Some(asks), None, None), ports(asks, [9230, 9231]));
        assert_eq!(options(None, Some(asks), None), ports(asks, [9230, 9231]));
        assert_eq!(options(Some("--inspect=7000"), Some(asks), None), ports(asks, [7001, 7002]));
        assert_eq!(options(Some(asks), None, Some(5000)), ports(asks, [5000, 5000]));
    }
    for asks in [
        "--inspect=7000",
        "--inspect-brk=127.0.0.1:7000",
        "--inspect-wait=[::1]:7000",
        "--inspect --inspect-port=7000",
        "--inspect-port=7000",
        "--debug-port=7000",
        "--inspect=6000 --inspect=7000 --no-warnings",
    ] {
        assert_eq!(options(Some(asks), None, None), ports(asks, [7001, 7002]));
        assert_eq!(options(None, Some(asks), None), [Some(asks.into()), Some(asks.into())], "its own choice");
    }
    assert_eq!(options(Some("--inspect=65535"), None, None), ports("--inspect=65535", [1024, 1025]));
    assert_eq!(options(Some("--inspect=0"), None, None), [None, None], "the kernel chooses");
    assert_eq!(options(Some("--no-warnings"), None, Some(5000)), [None, None]);
    assert_eq!(
        options(None, Some("--no-warnings"), None),
        [Some("--no-warnings".into()), Some("--no-warnings".into())]
    );
}

/// After the last port, inspector ports restart at the first unprivileged one.
#[test]
fn inspector_ports_wrap_around() {
    let last = ports(56_307, "--inspect", None).split_off(56_305);
    assert_eq!(last, ["--inspect-port=65535", "--inspect-port=1024"]);
}
