//! `cluster run`: the service in the foreground.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use cluster::Supervisor;
use tokio::net::TcpListener;

use crate::args::RunArguments;
use crate::control::Control;
use crate::feed::Feed;
use crate::hint::LATE;
use crate::options::Options;
use crate::output::Output;
use crate::plan::{Plan, Prepared};
use crate::resources::Resources;
use crate::service::{Service, ServiceMemory};
use crate::strays::Strays;
use crate::subject::Subject;
use crate::systemd::{self, Notifications, Notifier, Reported};
use crate::upgrade::{Handed, Upgrades};
use crate::watch::watch;
use crate::{first_start, health, log, mistakes, report, settings, socket_path};

/// Runs until the service has ended.
pub(crate) async fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let plan = Plan::of(&arguments)?;
    let format = plan.options.log_format.unwrap_or_default();
    log::start(format);
    mistakes::warn(&arguments);
    if arguments.dry_run {
        let text = if arguments.json { plan.json()?.to_string() } else { plan.text()? };
        plan.validate()?;
        return Ok(report::line(text.trim_end())?);
    }
    let activated = systemd::activated()?;
    let Prepared { settings, subject, addresses, resources } = plan.prepare(&activated)?;
    let control = Control::bind(&control_path(&plan)?).await?;
    plan.program.prepare(&plan.options.directory()?)?;
    // The limit is raised only here, so the script before the program has run with the original limit.
    if let Err(error) = cluster::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
    let mut supervisor = settings::supervisor(settings)?;
    for own in activated {
        supervisor.adopt_listener(own.descriptor).context("cannot use a socket of the service manager")?;
    }
    let metrics = match plan.options.metrics {
        Some(address) => Some(health::bind(address).await?),
        None => None,
    };
    for address in &addresses {
        tracing::info!("listening on {address}");
    }
    let feed = Feed::default();
    let output = Output::new(format, feed.clone());
    let memory = Memory { service: ServiceMemory::serving(&addresses), ..Memory::default() };
    let refused = first_start::watch(&plan.options, &feed, supervisor.handle());
    let parts = Parts { options: plan.options, subject, control, metrics, resources, feed, output, memory };
    let result = Box::pin(serve(parts, supervisor)).await;
    if let Some(refused) = refused.get() {
        bail!("{refused}; {LATE:?} later no worker was ready");
    }
    result
}

/// The parts of a service except the supervisor.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) subject: Subject,
    pub(crate) control: Control,
    pub(crate) metrics: Option<TcpListener>,
    pub(crate) resources: Resources,
    pub(crate) feed: Feed,
    pub(crate) output: Output,
    pub(crate) memory: Memory,
}

/// What a service remembers across an upgrade.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) service: ServiceMemory,
    pub(crate) reported: Reported,
}

/// Serves until the supervisor ends.
///
/// # Errors
/// A watched path does not exist, or the supervisor has given up.
pub(crate) async fn serve(parts: Parts, mut supervisor: Supervisor) -> anyhow::Result<()> {
    let Parts { options, subject, control, metrics, resources, feed, mut output, memory } = parts;
    let strays = Strays::of(&subject, &mut supervisor)?;
    let notifications = Notifications::start();
    tokio::spawn(notifications.clone().watch(supervisor.handle()));
    let notifier = Notifier::after(memory.reported, notifications);
    let service = Service::new(&options, subject.clone(), memory.service, supervisor.handle(), feed);
    let service = Arc::new(service);
    let handed = Handed {
        control: control.copy()?,
        metrics: metrics.as_ref().map(|socket| socket.as_fd().try_clone_to_owned()).transpose()?,
        resources,
        service: service.clone(),
        output: output.remote(),
        notifier: notifier.clone(),
        options: options.clone(),
        subject,
    };
    let upgrades = Arc::new(Upgrades::new(supervisor.handle(), handed));
    health::start(metrics, &options, &service);
    let _watch = options.watch.map(|paths| watch(&paths, supervisor.handle())).transpose()?;
    let commands = tokio::spawn(control.serve(service.clone(), upgrades));
    let result = supervisor.run_with(|supervisor, event| {
        service.observe(supervisor, event, &mut output);
        notifier.observe(supervisor, event);
        strays.observe(event);
    });
    let result = result.await;
    output.finish().await;
    commands.abort();
    let _ = commands.await;
    Ok(result?)
}

/// The path of the control socket. The directory is made if necessary.
fn control_path(plan: &Plan) -> anyhow::Result<PathBuf> {
    if let Some(path) = &plan.options.control {
        return Ok(path.clone());
    }
    let path = socket_path::of_service(&plan.name)?;
    socket_path::make(&socket_path::directory())?;
    Ok(path)
}
