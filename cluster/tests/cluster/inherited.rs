//! What a worker inherits, and what a worker must not inherit: descriptors, users and groups.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process;

use ::cluster::{Errno, Event, Primary, Settings, SpawnOptions, Stdio, WorkerError};
use libtest_mimic::{Failed, Trial};
use nix::unistd::{Gid, Uid, dup, getegid, geteuid, getgroups, setegid, seteuid, setgroups};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::node::is_absent;
use super::support::{TestResult, asynchronous, fork, message, output, primary, primary_of, rest, until};

/// A user, a group and supplementary groups of the primary. Workers with another user or group must not have
/// these supplementary groups.
const NOBODY_USER: u32 = 65_534;
const OTHER_USER: u32 = 1_234;
const PRIVILEGED: u32 = 4_242;

/// Prints the user, the group and all groups.
const IDENTITY: &str = "id -u; id -g; id -G";

pub(crate) fn trials() -> Vec<Trial> {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("this is not root: the tests of users and groups are ignored");
    }
    let without_node = is_absent();
    vec![
        asynchronous("primary_descriptors_are_not_inherited", descriptors),
        asynchronous("node_worker_inherits_no_descriptors", node_descriptors).with_ignored_flag(without_node),
        asynchronous("descriptors_of_a_worker_are_exact", exact_descriptors),
        asynchronous("groups_follow_user_and_group", groups).with_ignored_flag(!is_root),
        asynchronous("groups_are_those_of_libuv", groups_of_node).with_ignored_flag(!is_root || without_node),
        asynchronous("groups_need_permission_to_change", forbidden_groups).with_ignored_flag(!is_root),
        asynchronous("directory_precedes_the_user", directory).with_ignored_flag(!is_root),
    ]
}

/// Descriptors without close-on-exec, as if inherited from the program that has started this process.
struct Leak {
    descriptors: Vec<OwnedFd>,
}

impl Leak {
    fn new() -> Result<Self, Failed> {
        let (listener, file) = (TcpListener::bind("127.0.0.1:0")?, File::open("/dev/zero")?);
        let (reader, _writer) = std::io::pipe()?;
        // `dup` clears close-on-exec.
        Ok(Leak { descriptors: vec![dup(listener)?, dup(file)?, dup(reader)?] })
    }

    /// The names of the descriptors in /proc.
    fn links(&self) -> Result<Vec<String>, Failed> {
        let link = |descriptor: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
        let links = self.descriptors.iter().map(|descriptor| Ok(link(descriptor)?.to_string_lossy().into()));
        links.collect()
    }

    /// The leaked descriptors among the descriptors of a worker.
    fn among(&self, found: &Value) -> Result<Vec<String>, Failed> {
        let found = found.as_array().ok_or("a list")?;
        let mut links = self.links()?;
        links.retain(|link| found.contains(&Value::from(link.as_str())));
        Ok(links)
    }
}

/// Workers do not inherit the descriptors. Other children of the program do.
async fn descriptors() -> TestResult {
    let leak = Leak::new()?;
    let mut primary = primary()?;
    fork(&mut primary, "list descriptors");
    let found = message(&mut primary).await?;
    assert_eq!(leak.among(&found)?, [""; 0]);
    primary.disconnect_all();
    rest(&mut primary).await?;
    let path = format!("/proc/self/fd/{}", leak.descriptors[1].as_raw_fd());
    assert_eq!(output(process::Command::new("readlink").arg(path))?, "/dev/zero\n");
    Ok(())
}

async fn node_descriptors() -> TestResult {
    const SCRIPT: &str = "
        const fs = require('fs');
        const link = (number) => { try { return fs.readlinkSync('/proc/self/fd/' + number); } catch { return ''; } };
        process.send(fs.readdirSync('/proc/self/fd').map(link));
    ";
    let leak = Leak::new()?;
    let script = super::node::script(SCRIPT)?;
    let mut primary = primary_of("node", &[&script.to_string_lossy()])?;
    primary.fork()?;
    let found = message(&mut primary).await?;
    assert_eq!(leak.among(&found)?, [""; 0]);
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// A worker inherits exactly the standard descriptors, the channel, and a descriptor passed by number.
async fn exact_descriptors() -> TestResult {
    let leak = Leak::new()?;
    let given = u32::try_from(leak.descriptors[1].as_raw_fd())?;
    let stdio = vec![
        Stdio::Ignore,
        Stdio::Pipe,
        Stdio::Inherit,
        Stdio::Channel,
        Stdio::Ignore,
        Stdio::Descriptor(given),
        Stdio::Ignore,
        Stdio::Pipe,
    ];
    let output = script("echo /proc/$$/fd/*; readlink /proc/$$/fd/5", SpawnOptions::new().stdio(stdio));
    let output = output.await?;
    let numbers: Vec<&str> = output.split_whitespace().filter_map(|path| path.rsplit('/').next()).collect();
    // The shell reads the directory through descriptor 4, the first free number.
    assert_eq!(numbers, vec!["0", "1", "2", "3", "4", "5", "7", "zero"]);
    Ok(())
}

/// Runs a shell script as a worker, and returns the standard output.
async fn script(script: &str, command: SpawnOptions) -> Result<String, Failed> {
    let silent = command.stdio.as_deref().unwrap_or_default().is_empty();
    let command = command.exec("/bin/sh").exec_argv(["-c"]).args([script]).silent(silent);
    let mut primary = Primary::new(Settings { spawn: command, ..Settings::default() })?;
    let worker = primary.fork()?;
    let mut text = String::new();
    let mut pipe = primary.stdio(worker).remove(&1).ok_or("there is a pipe")?;
    pipe.read_to_string(&mut text).await?;
    rest(&mut primary).await?;
    Ok(text)
}

/// A supplementary group of this process. Dropping the value removes the group.
struct Privileged(Vec<Gid>);

impl Privileged {
    fn new() -> Result<Self, Failed> {
        let before = Privileged(getgroups()?);
        setgroups(&[Gid::from_raw(0), Gid::from_raw(PRIVILEGED)])?;
        Ok(before)
    }
}

impl Drop for Privileged {
    fn drop(&mut self) {
        let restored = setgroups(&self.0);
        assert!(restored.is_ok(), "root may have any groups: {restored:?}");
    }
}

fn identity(uid: Option<u32>, gid: Option<u32>, groups: Option<&[u32]>) -> SpawnOptions {
    let options = SpawnOptions::new();
    let options = uid.into_iter().fold(options, SpawnOptions::uid);
    let options = gid.into_iter().fold(options, SpawnOptions::gid);
    groups.into_iter().fold(options, |options, groups| options.groups(groups.iter().copied()))
}

async fn groups() -> TestResult {
    let _privileged = Privileged::new()?;
    let (nobody, somebody) = (Some(NOBODY_USER), Some(OTHER_USER));
    for (uid, gid, groups, expected) in [
        (None, None, None, "0\n0\n0 4242\n"),
        (nobody, None, None, "65534\n0\n0\n"),
        (None, somebody, None, "0\n1234\n1234\n"),
        (nobody, somebody, None, "65534\n1234\n1234\n"),
        (None, None, Some([].as_slice()), "0\n0\n0\n"),
        (None, None, Some(&[7, 8]), "0\n0\n0 7 8\n"),
        (nobody, None, Some(&[7, 8]), "65534\n0\n0 7 8\n"),
        (None, somebody, Some(&[7, 8]), "0\n1234\n1234 7 8\n"),
        (nobody, somebody, Some(&[7]), "65534\n1234\n1234 7\n"),
        (nobody, somebody, Some(&[]), "65534\n1234\n1234\n"),
    ] {
        assert_eq!(script(IDENTITY, identity(uid, gid, groups)).await?, expected);
    }
    Ok(())
}

/// All four combinations: with and without a user, with and without a group.
async fn groups_of_node() -> TestResult {
    const SPAWN: &str = "
        const [, script, uid, gid] = process.argv;
        const options = { stdio: 'inherit' };
        if (uid !== '-') options.uid = Number(uid);
        if (gid !== '-') options.gid = Number(gid);
        require('child_process').spawnSync('/bin/sh', ['-c', script], options);
    ";
    let _privileged = Privileged::new()?;
    let text = |number: Option<u32>| number.map_or("-".into(), |number| number.to_string());
    for uid in [None, Some(NOBODY_USER)] {
        for gid in [None, Some(OTHER_USER)] {
            let mut node = process::Command::new("node");
            node.args(["-e", SPAWN, IDENTITY, &text(uid), &text(gid)]);
            let ours = script(IDENTITY, identity(uid, gid, None)).await?;
            assert_eq!(ours, output(&mut node)?);
        }
    }
    Ok(())
}

/// A group that the settings request must be set. A group that the worker should lose may remain, as in
/// libuv.
async fn forbidden_groups() -> TestResult {
    for (command, expected) in [
        (identity(None, None, Some(&[7])), Some(Errno::EPERM)),
        (identity(None, None, Some(&[])), Some(Errno::EPERM)),
        // The real user is root, so the process may become root again.
        (identity(Some(0), None, None), None),
    ] {
        let command = command.exec("/bin/true");
        let mut primary = Primary::new(Settings { spawn: command, ..Settings::default() })?;
        let (user, group) = (geteuid(), getegid());
        seteuid(Uid::from_raw(NOBODY_USER))?;
        let worker = primary.fork();
        seteuid(user)?;
        setegid(group)?;
        worker?;
        let seen = rest(&mut primary).await?;
        let errno = seen.iter().find_map(|event| match event {
            Event::Error { error: WorkerError::Spawn { errno, .. }, .. } => Some(*errno),
            _ => None,
        });
        assert_eq!(errno, expected);
    }
    Ok(())
}

/// The directory is entered with the rights of the primary, as in libuv.
async fn directory() -> TestResult {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
    let mut primary = primary_of("/bin/true", &[])?;
    primary.setup(::cluster::SpawnOptions::new().cwd(directory.path()).uid(NOBODY_USER));
    let worker = primary.fork()?;
    let exit = Event::Exit { worker, status: ::cluster::ExitStatus::Code(0), exited_after_disconnect: false };
    until(&mut primary, |event| *event == exit).await?;
    rest(&mut primary).await.map(drop)
}
