//! The command line of an adapter. The same version of the command writes and reads the line.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;
use clap::Args;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::listen::Sockets;
use crate::program::Program;
use crate::units::{Word, text_in_file};

/// How the adapter runs the program.
#[derive(Debug, Args)]
pub(crate) struct AdapterArguments {
    /// The condition under which the program is ready.
    #[arg(long)]
    pub(super) ready: Ready,

    /// The directory for the sockets of `sd_notify`.
    #[arg(long)]
    pub(super) notify: Option<PathBuf>,

    /// The signal that asks the program to end.
    #[arg(long)]
    pub(super) stop_signal: StopSignal,

    /// The addresses of the inherited sockets.
    #[arg(long = "address")]
    pub(super) addresses: Vec<SocketAddr>,

    /// The names of the inherited sockets.
    #[arg(long = "socket-name")]
    pub(super) names: Vec<String>,

    #[arg(last = true)]
    pub(super) program: Vec<OsString>,
}

/// The condition under which a foreign program is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ready {
    /// As soon as the process runs.
    Started,
    /// When the program has accepted a connection.
    Accepting,
    /// When the program sends `READY=1`, as to systemd.
    Notify,
    /// When a request of the path is answered with a status from 200 to 399.
    Http(String),
}

impl Ready {
    /// The condition of the setting `ready`. `None`: a condition of programs with knowledge of clusters.
    /// Without the setting, a program with sockets is ready when accepting.
    ///
    /// # Errors
    /// The condition needs a socket and there is none, or there is a socket and the condition is unknown.
    pub(crate) fn of(setting: Option<&str>, sockets: &Sockets) -> anyhow::Result<Option<Ready>> {
        let has_sockets = !sockets.addresses.is_empty();
        let Some(setting) = setting else { return Ok(has_sockets.then_some(Ready::Accepting)) };
        match setting.parse() {
            Ok(Ready::Accepting | Ready::Http(_)) if !has_sockets => {
                bail!(
                    "`ready` is `{setting}`: a program without `listen` accepts no connections of the service"
                )
            }
            Ok(ready) => Ok(Some(ready)),
            Err(error) if has_sockets => bail!("`ready` is `{setting}`: with `listen`, {error}"),
            Err(_) => Ok(None),
        }
    }
}

impl FromStr for Ready {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "started" => Ready::Started,
            "accepting" => Ready::Accepting,
            "notify" => Ready::Notify,
            text => match text.strip_prefix("http:") {
                Some(path) if path.starts_with('/') => Ready::Http(path.to_owned()),
                Some(_) | None => {
                    return Err("expected `accepting`, `started`, `notify` or `http:/PATH`".into());
                }
            },
        })
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ready::Started => f.write_str("started"),
            Ready::Accepting => f.write_str("accepting"),
            Ready::Notify => f.write_str("notify"),
            Ready::Http(path) => write!(f, "http:{path}"),
        }
    }
}

/// A signal by name: `TERM`, `SIGTERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub(crate) struct StopSignal(pub(crate) Signal);

impl Default for StopSignal {
    fn default() -> Self {
        StopSignal(Signal::SIGTERM)
    }
}

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_uppercase();
        let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
        name.parse().map(StopSignal).map_err(|_| format!("`{text}` is no signal; write TERM, INT or QUIT"))
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

text_in_file!(StopSignal);

/// The command of an adapter that starts the program.
pub(crate) fn adapted(
    program: &Program,
    ready: &Ready,
    signal: StopSignal,
    notify: Option<&Path>,
    sockets: &Sockets,
) -> Program {
    let mut args: Vec<OsString> = vec!["__adapter".into(), "--ready".into(), ready.to_string().into()];
    args.extend(["--stop-signal".into(), signal.to_string().into()]);
    if let Some(notify) = notify {
        args.extend(["--notify".into(), notify.into()]);
    }
    for (address, name) in sockets.addresses.iter().zip(&sockets.names) {
        args.extend(["--address".into(), address.to_string().into()]);
        args.extend([format!("--socket-name={name}").into()]);
    }
    args.push("--".into());
    args.push(program.exec.clone());
    args.extend(program.args.iter().cloned());
    Program { exec: own_executable().into(), args, is_node: false, ..program.clone() }
}

/// The path of the command's own executable; the path also works after the file was replaced.
pub(super) fn own_executable() -> PathBuf {
    let path = env::current_exe().ok().filter(|path| path.exists());
    path.unwrap_or_else(|| "/proc/self/exe".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_fits_the_sockets() {
        let (none, mut one) = (Sockets::default(), Sockets::default());
        one.addresses.push("127.0.0.1:80".parse().expect("valid"));
        assert_eq!(Ready::of(None, &none).expect("valid"), None);
        assert_eq!(Ready::of(None, &one).expect("valid"), Some(Ready::Accepting));
        assert_eq!(Ready::of(Some("online"), &none).expect("valid"), None);
        assert_eq!(Ready::of(Some("notify"), &none).expect("valid"), Some(Ready::Notify));
        assert!(Ready::of(Some("accepting"), &none).is_err());
        let error = Ready::of(Some("online"), &one).expect_err("not of such programs").to_string();
        assert!(error.contains("expected `accepting`, `started`"), "{error}");
    }

    #[test]
    fn signal_has_short_name() {
        for text in ["TERM", "sigterm", "SIGTERM"] {
            assert_eq!(text.parse(), Ok(StopSignal::default()));
        }
        assert!("TREM".parse::<StopSignal>().is_err());
    }
}
