//! Limits of descriptors, and the reasons why a process cannot be started.

use cluster_core::{BindAddress, Call, Errno, HandleId, OsEvent, SocketId, SpawnOptions, Stdio, WorkerId};

use super::super::ready::Readiness;
use super::super::{Kernel, Step};
use super::{DOWN, PRIMARY, UP, WORKER, accept, kernel, perform, read, served, write};

fn not_started(errno: Errno) -> OsEvent {
    OsEvent::SpawnFailed { worker: WorkerId(2), program: None, directory: false, errno }
}

#[test]
fn process_at_its_limit_opens_nothing() {
    let mut kernel = kernel();
    kernel.limit(PRIMARY, Some(0));
    let failed = OsEvent::BindFailed { handle: HandleId(1), errno: Errno::EMFILE };
    assert_eq!(super::bind(&mut kernel, 0, Some(1)), Some(failed));
    let failed = not_started(Errno::EMFILE);
    assert_eq!(spawn(&mut kernel, SpawnOptions::new()), Some(failed));
    kernel.limit(PRIMARY, None);
    assert!(matches!(super::bind(&mut kernel, 0, Some(1)), Some(OsEvent::Bound { .. })));
}

#[test]
fn starved_listener_fails_once() {
    let mut kernel = kernel();
    served(&mut kernel);
    perform(&mut kernel, PRIMARY, Call::ResumeAccept { socket: SocketId(0) });
    kernel.limit(PRIMARY, Some(0));
    let step = Step::Accept(PRIMARY, SocketId(0));
    assert_eq!(kernel.readiness(step), Readiness::Enabled);
    let failed = OsEvent::AcceptFailed { listener: SocketId(0), errno: Errno::EMFILE };
    assert_eq!(accept(&mut kernel), Some(failed));
    assert_eq!(kernel.readiness(step), Readiness::Waiting);
    perform(&mut kernel, PRIMARY, Call::CloseChannel { channel: DOWN });
    assert_eq!(kernel.readiness(step), Readiness::Enabled, "a closed channel frees a descriptor");
    assert!(matches!(accept(&mut kernel), Some(OsEvent::Accepted { .. })));
}

#[test]
fn descriptor_beyond_the_limit_is_lost() {
    let mut kernel = kernel();
    served(&mut kernel);
    accept(&mut kernel);
    kernel.limit(WORKER, Some(0));
    write(&mut kernel, PRIMARY, "take it", Some(SocketId(1)));
    perform(&mut kernel, PRIMARY, Call::Close { socket: SocketId(1) });
    let arrived = read(&mut kernel, WORKER, UP);
    assert_eq!(arrived, Some(OsEvent::Read { channel: UP, bytes: b"take it".to_vec(), socket: None }));
}

#[test]
fn spawn_needs_paths_rights_and_descriptors() {
    let mut kernel = kernel();
    kernel.system_mut().break_path("/no/program".into(), Errno::ENOENT);
    kernel.system_mut().break_path("/no/entry".into(), Errno::EACCES);
    kernel.system_mut().no_root = true;
    let exec = |exec: &str| SpawnOptions::new().exec(exec);
    let cwd = |cwd: &str| SpawnOptions::new().cwd(cwd);
    let stdio = |fd| SpawnOptions::new().stdio([Stdio::Channel, Stdio::Descriptor(fd)]);
    for (command, errno) in [
        (exec("/no/program"), Errno::ENOENT),
        (cwd("/no/entry/below"), Errno::EACCES),
        (SpawnOptions::new().uid(1), Errno::EPERM),
        (SpawnOptions::new().gid(1), Errno::EPERM),
        (stdio(77), Errno::EBADF),
    ] {
        let failed = not_started(errno);
        assert_eq!(spawn(&mut kernel, command), Some(failed));
    }
    for command in [exec("/no"), cwd("/no"), stdio(2)] {
        assert!(matches!(spawn(&mut kernel, command), Some(OsEvent::Spawned { .. })));
    }
    assert_eq!(*kernel.processes.get(WORKER).options, SpawnOptions::new());
}

fn spawn(kernel: &mut Kernel, options: SpawnOptions) -> Option<OsEvent> {
    perform(kernel, PRIMARY, Call::Spawn { worker: WorkerId(2), options, env: Vec::new() })
}

#[test]
fn worker_with_socket_keeps_running() {
    let mut kernel = kernel();
    assert!(!kernel.keeps_running(WORKER));
    let address = BindAddress::Tcp { host: None, port: 0, ipv6_only: false, reuse_port: false };
    perform(&mut kernel, WORKER, Call::Bind { handle: HandleId(1), address, backlog: Some(1) });
    assert!(kernel.keeps_running(WORKER), "an exclusive server keeps it running");
    perform(&mut kernel, WORKER, Call::Close { socket: SocketId(0) });
    assert!(!kernel.keeps_running(WORKER));
    kernel.processes.get_mut(WORKER).kept_alive = true;
    assert!(kernel.keeps_running(WORKER));
}
