//! The texts of errors, for the user of a program.

use std::collections::BTreeSet;
use std::error::Error;

use ::cluster::{
    ForkError, JoinError, ListenError, NoRuntime, PrimaryError, RemoteError, RoleError, SendError,
};
use libtest_mimic::Trial;

use super::support::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("errors_have_distinct_texts", || {
        distinct();
        Ok(())
    })]
}

/// The texts of errors are distinct and not empty.
fn distinct() {
    let value = String::from("other");
    let errors: [Box<dyn Error>; 15] = [
        Box::new(RoleError::Id { value: value.clone() }),
        Box::new(RoleError::NoChannel),
        Box::new(RoleError::ChannelNumber { value: value.clone() }),
        Box::new(RoleError::Serialization { value }),
        Box::new(NoRuntime),
        Box::new(PrimaryError::IsWorker),
        Box::new(PrimaryError::Role(RoleError::NoChannel)),
        Box::new(PrimaryError::Runtime(NoRuntime)),
        Box::new(JoinError::NotAWorker),
        Box::new(JoinError::Joined),
        Box::new(JoinError::Role(RoleError::NoChannel)),
        Box::new(ListenError::Disconnected),
        Box::new(RemoteError::PrimaryDropped),
        Box::new(RemoteError::Fork(ForkError::NoChannel)),
        Box::new(RemoteError::Send(SendError::Closed)),
    ];
    let texts: BTreeSet<String> = errors.iter().map(ToString::to_string).collect();
    assert!(texts.len() == errors.len() && !texts.contains(""), "{texts:#?}");
}
