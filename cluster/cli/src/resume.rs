//! The start of the new program after a hand-over: takes the service over from the old program, and answers
//! `cluster upgrade`.

use std::io;

use anyhow::Context;
use cluster::{Predecessor, SupervisorHandle};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixStream};

use crate::args::RunArguments;
use crate::control::Control;
use crate::feed::Feed;
use crate::log;
use crate::output::Output;
use crate::plan::Plan;
use crate::protocol::{self, Reply};
use crate::resources::Resources;
use crate::run::{self, Memory, Parts};
use crate::upgrade::{ServiceState, VERSION};

/// Continues the service of the previous program, after a hand-over.
///
/// # Errors
/// As [`run::serve`].
pub(crate) async fn resume(arguments: &RunArguments, mut predecessor: Predecessor) -> anyhow::Result<()> {
    let state: ServiceState = predecessor.state();
    if predecessor.is_trial() {
        // An invalid file of settings is an error of the upgrade, rather than of the next start.
        if let Err(error) = Plan::of(arguments).and_then(Plan::validate) {
            predecessor.give_up(format!("{error:#}"));
        }
        predecessor.resume();
        return Ok(());
    }
    log::start(state.options.log_format.unwrap_or_default());
    let (version, failure) = (state.version.clone(), predecessor.failure().map(ToOwned::to_owned));
    let taken = match take(state, &mut predecessor) {
        Ok(taken) => taken,
        Err(error) => predecessor.give_up(format!("{error:#}")),
    };
    let (parts, client) = taken;
    let mut supervisor = predecessor.resume();
    tokio::spawn(answer(client, supervisor.handle(), parts.feed.clone(), version, failure));
    run::serve(parts, supervisor).await
}

/// Takes over all parts of the service except the supervisor.
fn take(state: ServiceState, predecessor: &mut Predecessor) -> anyhow::Result<(Parts, UnixStream)> {
    let format = state.options.log_format.unwrap_or_default();
    let feed = Feed::after(state.feed);
    let mut output = Output::new(format, feed.clone());
    output.restore(state.output, predecessor)?;
    let (control, path) = state.control;
    let control = Control::after(predecessor.descriptor(control), path);
    let metrics = state.metrics.map(|number| {
        let socket = std::net::TcpListener::from(predecessor.descriptor(number));
        TcpListener::from_std(socket).context("cannot take the socket of the metrics")
    });
    let client = std::os::unix::net::UnixStream::from(predecessor.descriptor(state.client));
    let parts = Parts {
        options: state.options,
        subject: state.subject,
        control: control.context("cannot take the control socket")?,
        metrics: metrics.transpose()?,
        resources: Resources::after(state.resources, predecessor),
        feed,
        output,
        memory: Memory { service: state.service, reported: state.reported },
    };
    Ok((parts, UnixStream::from_std(client)?))
}

/// Answers `cluster upgrade` as soon as the supervisor runs.
async fn answer(
    mut client: UnixStream,
    supervisor: SupervisorHandle,
    feed: Feed,
    version: String,
    failure: Option<String>,
) {
    if supervisor.status().await.is_err() {
        return;
    }
    let (event, text, reply) = match failure {
        None => {
            let text = format!("upgraded: version {version} has handed over to version {VERSION}");
            tracing::info!("{text}");
            ("upgraded", text, Reply::Done)
        }
        Some(failure) => {
            tracing::warn!(%failure, "the new program has failed, and the old program continues");
            let text = format!("the new program has failed, and version {VERSION} continues: {failure}");
            ("upgrade-failed", text.clone(), Reply::Failed { error: text })
        }
    };
    let record = feed.publish_text(event, text);
    // Fails if the client no longer waits.
    let _ = send(&mut client, &[Reply::Progress { record, number: None }, reply]).await;
}

async fn send(client: &mut UnixStream, replies: &[Reply]) -> io::Result<()> {
    for reply in replies {
        client.write_all(protocol::encode(reply).as_bytes()).await?;
    }
    Ok(())
}
