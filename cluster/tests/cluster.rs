//! Real processes: a primary in this process, and workers of the same program (`programs`) or of another
//! program. Every test leaves the descriptors and the children as before. The simulator tests the schedules.

mod cluster {
    pub(crate) mod bad_programs;
    pub(crate) mod commands;
    pub(crate) mod counting;
    pub(crate) mod ends;
    pub(crate) mod holding;
    pub(crate) mod http2;
    pub(crate) mod inherited;
    pub(crate) mod interrupted;
    pub(crate) mod leftovers;
    pub(crate) mod lives;
    pub(crate) mod node;
    pub(crate) mod node_programs;
    pub(crate) mod node_sockets;
    pub(crate) mod passing;
    pub(crate) mod pooling;
    pub(crate) mod primary_death;
    pub(crate) mod programs;
    pub(crate) mod relay;
    pub(crate) mod requesting;
    pub(crate) mod returning;
    pub(crate) mod roles;
    pub(crate) mod sending;
    pub(crate) mod serving;
    pub(crate) mod settings;
    pub(crate) mod signals;
    pub(crate) mod sockets;
    pub(crate) mod standalone;
    pub(crate) mod starts;
    pub(crate) mod supervising;
    pub(crate) mod support;
    pub(crate) mod texts;
    pub(crate) mod zones;
}

use std::process::ExitCode;

use ::cluster::{Role, role};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Builder;

use crate::cluster::{
    bad_programs, commands, counting, ends, holding, http2, inherited, interrupted, leftovers, lives, node,
    node_programs, node_sockets, passing, pooling, primary_death, programs, relay, requesting, returning,
    roles, sending, serving, settings, signals, sockets, standalone, starts, supervising, support, texts,
    zones,
};

fn main() -> ExitCode {
    // Threads exist before the call of `role`, as with `#[tokio::main]`.
    let _threads = std::env::var_os("EARLY").map(|_| Builder::new_multi_thread().worker_threads(4).build());
    match role() {
        Ok(Role::Primary) => {
            if let Ok(program) = std::env::var("STANDALONE") {
                return programs::standalone::run(&program);
            }
            // The first runtime opens descriptors that all runtimes share.
            drop(support::runtime());
            // One test at a time, because descriptors and children are counted.
            let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
            libtest_mimic::run(&arguments, trials()).exit_code()
        }
        Ok(Role::Worker) => programs::run(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn trials() -> Vec<Trial> {
    [
        lives::trials(),
        settings::trials(),
        inherited::trials(),
        signals::trials(),
        starts::trials(),
        relay::trials(),
        requesting::trials(),
        serving::trials(),
        sockets::trials(),
        passing::trials(),
        ends::trials(),
        holding::trials(),
        leftovers::trials(),
        bad_programs::trials(),
        primary_death::trials(),
        standalone::trials(),
        sending::trials(),
        interrupted::trials(),
        roles::trials(),
        returning::trials(),
        node::trials(),
        node_programs::trials(),
        node_sockets::trials(),
        commands::trials(),
        counting::trials(),
        zones::trials(),
        supervising::trials(),
        http2::trials(),
        pooling::trials(),
        texts::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
