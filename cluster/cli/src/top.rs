//! `cluster top`: the workers on the whole terminal. A rate is the difference of two statuses, per second.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytesize::ByteSize;
use cluster::SlotState;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};

use crate::args::Target;
use crate::client;
use crate::protocol::Request;
use crate::report::Coded;
use crate::status::{SlotStatus, Status, name, time};
use crate::units::Scale;

/// The time between two statuses.
const REFRESH: Duration = Duration::from_secs(1);

/// `DELAY` is the longest delay of the event loop since the last status; only Node.js workers report delays.
const HEAD: [&str; 10] =
    ["slot", "state", "process", "cpu", "memory", "new conn/s", "open", "delay", "restarts", "age"];

const WIDTHS: [u16; 10] = [5, 12, 9, 6, 11, 14, 6, 8, 9, 14];

const KEYS: &str = "q quit   r reload   a abandon reload   + - scale";

/// Shows the workers until `q` or ctrl-c.
///
/// # Errors
/// No service runs, the service ends, or there is no terminal.
pub(crate) async fn top(target: Target) -> anyhow::Result<()> {
    if target.json {
        let text = "`cluster top` draws on a terminal; `cluster status --json` prints JSON".to_owned();
        return Err(Coded::wrong_line(text));
    }
    let status = client::ask_status(&target).await?;
    ensure!(
        io::stdout().is_terminal(),
        "`cluster top` needs a terminal; `cluster status` prints the workers"
    );
    let mut terminal = ratatui::try_init()?;
    let result = show(&mut terminal, target, View::of(status)).await;
    ratatui::restore();
    result
}

/// The results of commands, as texts to display.
type Notes = UnboundedSender<String>;

async fn show(terminal: &mut DefaultTerminal, target: Target, mut view: View) -> anyhow::Result<()> {
    let mut keys = keys();
    let (notes, mut results) = unbounded_channel();
    let mut refresh = interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        tokio::select! {
            key = keys.recv() => match key.as_ref().map(Action::of) {
                None | Some(Some(Action::Quit)) => return Ok(()),
                Some(Some(Action::Command(words, request))) => {
                    view.note = format!("{words} ...");
                    tokio::spawn(carry_out(target.clone(), words, request, notes.clone()));
                }
                // The terminal has another size: only draw again.
                Some(None) => {}
            },
            Some(note) = results.recv() => view.note = note,
            _ = refresh.tick() => view.update(client::ask_status(&target).await?, Instant::now()),
        }
    }
}

async fn carry_out(target: Target, words: &'static str, request: Request, notes: Notes) {
    let note = match client::complete(&target, &request).await {
        Ok(()) => format!("{words}: complete"),
        Err(error) => format!("{words}: {error:#}"),
    };
    // Fails if the display has ended.
    let _ = notes.send(note);
}

/// The events of the terminal. A thread reads the events, and ends with the process.
fn keys() -> UnboundedReceiver<Event> {
    let (sender, events) = unbounded_channel();
    thread::spawn(move || while event::read().is_ok_and(|event| sender.send(event).is_ok()) {});
    events
}

/// The effect of a key.
#[derive(Debug)]
enum Action {
    Quit,
    /// A command, and a name for people.
    Command(&'static str, Request),
}

impl Action {
    fn of(event: &Event) -> Option<Action> {
        let Event::Key(KeyEvent { code, modifiers, .. }) = event else { return None };
        let KeyCode::Char(key) = code else { return None };
        match key {
            'q' => Some(Action::Quit),
            'c' if modifiers.contains(KeyModifiers::CONTROL) => Some(Action::Quit),
            'r' => Some(Action::Command("reload", Request::Reload)),
            'a' => Some(Action::Command("abandon reload", Request::Abandon)),
            '+' => Some(Action::Command("scale +1", Request::Scale { workers: Scale::By(1) })),
            '-' => Some(Action::Command("scale -1", Request::Scale { workers: Scale::By(-1) })),
            _ => None,
        }
    }
}

/// The display: the last status, and the rates since the previous status.
#[derive(Debug)]
struct View {
    status: Status,
    at: Instant,
    rates: Vec<Rates>,
    note: String,
}

/// The rates of a slot. `None`: unknown, because the figures are missing, because the worker has changed, or
/// in the first status.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Rates {
    cpu_percent: Option<f64>,
    connections_per_second: Option<f64>,
}

impl View {
    fn of(status: Status) -> Self {
        let rates = vec![Rates::default(); status.slots.len()];
        View { status, at: Instant::now(), rates, note: String::new() }
    }

    fn update(&mut self, status: Status, now: Instant) {
        let seconds = now.duration_since(self.at).as_secs_f64();
        let before = |slot: &SlotStatus| {
            let same =
                |old: &&SlotStatus| (old.info.slot, old.info.worker) == (slot.info.slot, slot.info.worker);
            self.status.slots.iter().find(same)
        };
        let rates = status
            .slots
            .iter()
            .map(|slot| before(slot).map_or_else(Rates::default, |old| rates(old, slot, seconds)));
        self.rates = rates.collect();
        (self.status, self.at) = (status, now);
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, table, foot] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)])
                .areas(frame.area());
        let Status { name, program, uptime_ms, addresses, reload, .. } = &self.status;
        let reload = reload.as_ref().map_or_else(String::new, |reload| format!(", {reload}"));
        let first = Line::from(format!("{name}: {program}, up {}{reload}", time(*uptime_ms))).bold();
        let second = Line::from(addresses.join(", "));
        frame.render_widget(ratatui::text::Text::from(vec![first, second]), head);
        let rows = self.status.slots.iter().zip(&self.rates).map(|(slot, rates)| row(slot, *rates));
        let widths = WIDTHS.map(Constraint::Length);
        frame.render_widget(Table::new(rows, widths).header(Row::new(HEAD).bold()), table);
        frame.render_widget(Line::from(format!("{KEYS}   {}", self.note)).dim(), foot);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rates(old: &SlotStatus, new: &SlotStatus, seconds: f64) -> Rates {
    let connections = old.info.acknowledged_connections.zip(new.info.acknowledged_connections);
    let cpu = old.usage.zip(new.usage).map(|(old, new)| new.cpu_ms.saturating_sub(old.cpu_ms));
    Rates {
        cpu_percent: cpu.map(|ms| ms as f64 / (10.0 * seconds)),
        connections_per_second: connections.map(|(old, new)| new.saturating_sub(old) as f64 / seconds),
    }
}

fn row(slot: &SlotStatus, rates: Rates) -> Row<'static> {
    let info = slot.info;
    let dash = || "-".to_owned();
    let color = match info.state {
        SlotState::Ready => Color::Green,
        SlotState::Starting | SlotState::Lame | SlotState::Draining => Color::Yellow,
        SlotState::Terminating | SlotState::BackingOff | SlotState::Suspended => Color::Red,
    };
    let state = Cell::from(name(info.state)).style(Style::new().fg(color));
    let rest = [
        info.pid.map_or_else(dash, |pid| pid.to_string()),
        rates.cpu_percent.map_or_else(dash, |percent| format!("{percent:.0} %")),
        slot.usage.map_or_else(dash, |usage| ByteSize(usage.memory_bytes).to_string()),
        rates.connections_per_second.map_or_else(dash, |rate| format!("{rate:.0}")),
        slot.open_connections().map_or_else(dash, |open| open.to_string()),
        slot.statistics.map_or_else(dash, |statistics| format!("{:.0} ms", statistics.delay_max)),
        info.restarts.to_string(),
        slot.usage.map_or_else(dash, |usage| time(usage.age_ms)),
    ];
    Row::new([Cell::from(info.slot.to_string()), state].into_iter().chain(rest.map(Cell::from)))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn status(connections: u64, cpu_ms: u64) -> Status {
        let slot = json!({
            "slot": 0, "state": "ready", "worker": 3, "pid": 4_000, "successor": null, "restarts": 1, "failures": 0,
            "acknowledged_connections": connections, "open_connections": 7,
            "usage": { "memory_bytes": 50_331_648, "cpu_ms": cpu_ms, "age_ms": 63_000 }, "statistics": null
        });
        let service = json!({
            "name": "app", "pid": 1, "program": "app.js", "uptime_ms": 60_000, "addresses": ["127.0.0.1:80"],
            "slots": [slot]
        });
        serde_json::from_value(service).expect("a status")
    }

    #[test]
    fn rates_are_differences() {
        let mut view = View::of(status(100, 1_000));
        view.update(status(300, 1_900), view.at + Duration::from_secs(2));
        let mut terminal = Terminal::new(TestBackend::new(90, 5)).expect("a terminal");
        terminal.draw(|frame| view.draw(frame)).expect("memory");
        let shown = terminal.backend().to_string();
        for text in ["app: app.js, up 1m", "127.0.0.1:80", "45 %", "48.0 MiB", "100", "1m 3s", "q quit"] {
            assert!(shown.contains(text), "{text} in\n{shown}");
        }
    }
}
