//! The inspector ports of Node workers. Node: `process.debugPort` and its increments.

use alloc::format;
use alloc::vec::Vec;

use super::Setup;
use crate::os_bytes::OsBytes;
use crate::spawn_options::SpawnOptions;

/// The inspector port of a primary that does not choose one. The workers' ports follow.
const DEFAULT: u64 = 9229;

/// The environment variable with options for Node.js.
const NODE_OPTIONS: &str = "NODE_OPTIONS";

/// An inspector that the options start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    /// The last port in the options.
    port: Option<u16>,
}

impl Setup {
    /// Assigns an inspector port to the next worker if its arguments, or the options in its environment,
    /// start an inspector.
    ///
    /// The arguments take precedence over the environment, as in Node. If a fork's own environment names a
    /// port, the port was chosen for this worker, and is kept. Port 0 is kept as well: the kernel chooses.
    pub(super) fn assign_inspector(&mut self, options: &mut SpawnOptions, env: &mut Vec<(OsBytes, OsBytes)>) {
        if asked(options.exec_argv.as_deref().unwrap_or_default().iter().filter_map(OsBytes::to_str))
            .is_some()
        {
            let port = self.inspect_port();
            options.push_exec_arg(format!("--inspect-port={port}"));
            return;
        }
        let own =
            env.iter().rfind(|(name, _)| *name == NODE_OPTIONS).map(|(_, options)| options.to_string_lossy());
        let inherited = self.settings.node_options.as_deref();
        let Some(options) = own.as_deref().or(inherited) else { return };
        let Some(Asked { port }) = asked(options.split_whitespace()) else { return };
        if port == Some(0) || (own.is_some() && port.is_some()) {
            return;
        }
        let options = format!("{options} --inspect-port=");
        let port = self.inspect_port();
        env.retain(|(name, _)| *name != NODE_OPTIONS);
        env.push((NODE_OPTIONS.into(), format!("{options}{port}").into()));
    }

    /// The inspector port of the next worker. A configured port is the same for all workers, as in Node.
    fn inspect_port(&mut self) -> u64 {
        const UNPRIVILEGED: u64 = 1024;
        if let Some(port) = self.settings.spawn.inspect_port {
            return port.into();
        }
        let inherited =
            self.settings.node_options.as_ref().and_then(|options| asked(options.split_whitespace()));
        let first =
            inherited.and_then(|asked| asked.port).filter(|port| *port > 0).map_or(DEFAULT, u64::from);
        let ports = 65_536 - UNPRIVILEGED;
        // The count begins at the first port. A privileged first port counts as the first unprivileged port.
        let offset = first.saturating_sub(UNPRIVILEGED) + self.inspected.next() % ports;
        UNPRIVILEGED + offset % ports
    }
}

/// The inspector in the options, found as in Node: all forms of `--inspect` (`-brk`, `-port`, `-wait`, with
/// or without a host and a port), and `--debug-port`.
fn asked<'a>(options: impl Iterator<Item = &'a str>) -> Option<Asked> {
    let mut asking = options.filter(|option| option.contains("--inspect") || option.contains("--debug-port"));
    let first = asking.next()?;
    let ports = [first].into_iter().chain(asking).filter_map(|option| {
        let (_, at) = option.trim_matches('"').split_once('=')?;
        at.rsplit(':').next()?.parse().ok()
    });
    Some(Asked { port: ports.last() })
}
