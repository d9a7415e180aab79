//! The commands about reloads, for a client: a reload, the restart of a slot, and the end of the reload in
//! progress. A client receives only the records of its own reload.

use std::io;
use std::pin::pin;

use tokio::net::unix::OwnedWriteHalf;
use tokio::time::interval;

use crate::feed::{EventRecord, Events, Record, now};
use crate::hint::NOT_READY;
use crate::protocol::{Reply, SIGN_OF_LIFE, send};
use crate::service::Service;
use crate::status::ReloadStatus;

/// Reloads every slot, or restarts one slot, and sends the client the records of this reload. If another
/// reload is in progress, the client receives a record that names the other reload.
pub(crate) async fn reload(
    slot: Option<u32>,
    service: &Service,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut events = service.feed.later_events();
    let requested = match service.request_reload(slot).await {
        Ok(requested) => requested,
        Err(error) => return send(writer, &Reply::Failed { error }).await,
    };
    let mut own = OwnRecords { id: requested.id().0, stage: Stage::Waits, behind: None };
    own.name_other(service.reloads.status(), writer).await?;
    let mut work = pin!(requested.complete());
    let mut signs = interval(SIGN_OF_LIFE);
    let result = loop {
        tokio::select! {
            biased;
            event = events.next() => own.take(event, service, writer).await?,
            result = &mut work => break result,
            _ = signs.tick() => send(writer, &Reply::Alive).await?,
        }
    };
    while let Some(event) = events.read() {
        own.take(event, service, writer).await?;
    }
    let reply = result.map_or_else(|error| Reply::Failed { error: error.to_string() }, |()| Reply::Done);
    send(writer, &reply).await
}

/// Abandons the reload in progress, and sends the client the record of the end.
pub(crate) async fn abandon(service: &Service, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    let mut events = service.feed.later_events();
    let id = match service.abandon_reload().await {
        Ok(id) => id.0,
        Err(error) => return send(writer, &Reply::Failed { error }).await,
    };
    let mut signs = interval(SIGN_OF_LIFE);
    loop {
        tokio::select! {
            event = end_of(id, &mut events) => {
                send(writer, &Reply::Progress { record: Record::Event(event), number: None }).await?;
                return send(writer, &Reply::Done).await;
            }
            _ = signs.tick() => send(writer, &Reply::Alive).await?,
        }
    }
}

/// Waits for the end of a reload.
async fn end_of(id: u64, events: &mut Events) -> EventRecord {
    loop {
        let event = events.next().await;
        if event.reload == Some(id) && event.event != STARTED {
            return event;
        }
    }
}

/// The name of the record about the begin of a reload.
const STARTED: &str = "reload-started";

/// The selection of the records for a client.
#[derive(Debug)]
struct OwnRecords {
    /// The number of the client's reload.
    id: u64,
    stage: Stage,
    /// The number of the reload before the client's reload, as last sent to the client.
    behind: Option<u64>,
}

/// The stage of the client's reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waits,
    Runs,
    Ended,
}

impl OwnRecords {
    async fn take(
        &mut self,
        event: EventRecord,
        service: &Service,
        writer: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        if self.includes(&event) {
            return send(writer, &Reply::Progress { record: Record::Event(event), number: None }).await;
        }
        if event.event == STARTED {
            return self.name_other(service.reloads.status(), writer).await;
        }
        Ok(())
    }

    /// Whether the client receives the record. A worker that is not ready is always of interest: a waiting
    /// reload begins only after the worker is ready or has failed.
    fn includes(&mut self, event: &EventRecord) -> bool {
        let was = self.stage;
        match event.reload {
            Some(id) if id == self.id => {
                self.stage = if event.event == STARTED { Stage::Runs } else { Stage::Ended };
                true
            }
            Some(_) => false,
            None if event.event == NOT_READY => was != Stage::Ended,
            None => was == Stage::Runs,
        }
    }

    /// Sends the name of the reload in progress, if the client's reload waits for the end of that reload.
    async fn name_other(
        &mut self,
        current: Option<ReloadStatus>,
        writer: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let Some(ReloadStatus { number, name, waits_for, .. }) = current else { return Ok(()) };
        if self.stage != Stage::Waits || number == self.id || self.behind == Some(number) {
            return Ok(());
        }
        self.behind = Some(number);
        let text = format!(
            "waits for {name} ({waits_for}); `cluster reload --abandon` abandons the reload in progress"
        );
        let event = EventRecord {
            time: now(),
            event: "reload-waits".to_owned(),
            slot: None,
            worker: None,
            reload: Some(self.id),
            text,
        };
        send(writer, &Reply::Progress { record: Record::Event(event), number: None }).await
    }
}
