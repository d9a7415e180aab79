//! The state of a supervisor and of the program for a hand-over, as a versioned value.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use cluster_core::{SocketId, SupervisorState};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::unix::executable;
use crate::unix::hand_over::DriverState;

/// The version of the format of [`HandedState`] and [`DriverState`]. The state of the machine and the state
/// of the program have other versions.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HandedState {
    pub(super) format: u32,
    /// The version of the library in the old program.
    pub(super) version: String,
    /// The path of the old program, and of the new program.
    pub(super) path: Option<PathBuf>,
    /// The arguments of the old program.
    pub(super) arguments: Vec<OsString>,
    pub(super) machine: SupervisorState,
    pub(super) driver: DriverState,
    /// The number of the last request to a worker.
    pub(super) last_request: u64,
    /// The received sockets still held by the program.
    pub(super) received: Vec<SocketId>,
    /// The signals blocked by the old program.
    pub(super) signals: Vec<i32>,
    /// The descriptors of the program.
    pub(super) descriptors: Vec<i32>,
    pub(super) program: Option<Box<RawValue>>,
}

/// The first field of every format: the version.
#[derive(Deserialize)]
struct Numbered {
    format: u32,
}

impl HandedState {
    /// A state in the present format, without the parts of the program.
    pub(super) fn new(machine: SupervisorState, driver: DriverState) -> Self {
        HandedState {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            path: executable::path().ok().map(PathBuf::from),
            arguments: env::args_os().collect(),
            machine,
            driver,
            last_request: 0,
            received: Vec::new(),
            signals: Vec::new(),
            descriptors: Vec::new(),
            program: None,
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// The text is no state, or a state of another format.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let unread =
            |error: serde_json::Error| format!("the state of the old program is not readable: {error}");
        let Numbered { format } = serde_json::from_slice(text).map_err(unread)?;
        if format != FORMAT {
            return Err(format!(
                "the old program has written format {format}, and this program reads format {FORMAT}; restart instead"
            ));
        }
        serde_json::from_slice(text).map_err(unread)
    }

    pub(super) fn all_descriptors(&self) -> Vec<i32> {
        let mut all = self.driver.descriptors();
        all.extend(&self.descriptors);
        all
    }
}
