//! The arm on scenarios of the suite: searches find the traces of runs, and find no impossible trace.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::observation::Line;
use crate::scenario::DIRECTORY;

mod searches;

fn scenario(name: &str) -> Scenario {
    let path = Path::new(DIRECTORY).join(name).with_extension("json");
    Scenario::load(&path).expect("a valid scenario")
}

fn quiet(sim: &Sim) -> Run {
    sim.quiet().expect("no failure")
}

/// The run that a search has found. Fails if there is none.
#[track_caller]
fn found(reach: Reach) -> Run {
    if let Reach::Yes(run) = reach { Some(run) } else { None }.expect("the trace of a run")
}

/// The nearest run. Fails unless no schedule has the trace.
#[track_caller]
fn excluded(reach: Reach) -> Nearest {
    if let Reach::No(nearest) = reach { Some(nearest) } else { None }.expect("an impossible trace")
}

#[test]
fn run_is_found_and_replayed() {
    for name in ["serve_and_disconnect", "two_ports", "primary_dies", "shared_policy"] {
        let sim = Sim::new(&scenario(name));
        let run = sim.sample(42).expect("no failure");
        let found = found(sim.reaches(&run.trace, 100_000));
        assert_eq!(found.trace, run.trace);
        for replay in [run.replay, found.replay] {
            let line: replay::Line = replay.parse().expect("a line of our own");
            assert_eq!(line.scenario(), name);
            let replayed = sim.replay(&line);
            assert_eq!((seen(&replayed.world), replayed.left), (run.trace.clone(), None));
        }
    }
}

#[test]
fn search_names_impossible_line() {
    let sim = Sim::new(&scenario("uncaught_failure"));
    let mut trace = quiet(&sim).trace;
    let lines = trace.observers.get_mut(&Observer::Primary).expect("a primary is always there");
    let last = lines.last_mut().expect("a primary has lines");
    let code = last.details.iter_mut().find(|(key, _)| key == "code").expect("the last line is an exit");
    code.1 = "7".to_owned();
    let (wanted, line) = (last.to_string(), lines.len());
    let nearest = excluded(sim.reaches(&trace, 100_000));
    let (found, wanted) = (Some(wanted.replace("code=7", "code=1")), Some(wanted));
    assert_eq!(nearest.misfit, Some(Divergence { observer: Observer::Primary, line, found, wanted }));
    assert_eq!(nearest.failed, None);
}

#[test]
fn search_names_missing_line() {
    let sim = Sim::new(&scenario("uncaught_failure"));
    let mut trace = quiet(&sim).trace;
    let more: Line = "client 1: data text=more".parse().expect("a line");
    trace.push(more.observer, more.observation.clone());
    let nearest = excluded(sim.reaches(&trace, 100_000));
    let misfit = nearest.misfit.expect("a line");
    assert_eq!((misfit.found, misfit.wanted), (None, Some(more.observation.to_string())));
    assert_eq!((nearest.made, nearest.of), (trace.lines().count() - 1, trace.lines().count()));
}

#[test]
fn hidden_lines_still_drive_clients() {
    let scenario = scenario("serve_and_disconnect");
    let whole = quiet(&Sim::new(&scenario)).trace;
    let hidden = ["primary: listening", "client: connected"].map(|line| line.parse().expect(line));
    let part = quiet(&Sim::new(&scenario).hiding(hidden)).trace;
    let is_hidden = |line: &Observation| ["listening", "connected"].contains(&line.what.as_str());
    for (observer, lines) in &whole.observers {
        let others = lines.iter().filter(|line| matches!(observer, Observer::Worker(_)) || !is_hidden(line));
        assert!(others.eq(part.seen_by(*observer)), "{observer}:\n{whole}\n{part}");
    }
}

#[test]
fn search_without_budget_is_unknown() {
    let sim = Sim::new(&scenario("uncaught_failure"));
    let reach = sim.reaches(&quiet(&sim).trace, 0);
    let nearest = if let Reach::Unknown(nearest) = reach { Some(nearest) } else { None }.expect("no search");
    assert_eq!((nearest.made, nearest.misfit), (0, None));
}

/// The primary closes its server after the second client has ended.
const OPEN: &str = r#"{
  "name": "open",
  "description": "The primary has a server of its own.",
  "primary": [
    { "on": "start", "do": [{ "open": { "server": "mine" } }] },
    { "on": "connection", "do": ["end"] },
    { "on": "end #2", "do": [{ "close": "mine" }] }
  ],
  "worker": [],
  "clients": [{ "count": 2, "steps": [{ "connect": "mine" }, "end"] }],
  "contract": [{ "because": "Both are served.", "seen": "client: connected", "times": 2 }]
}"#;

#[test]
fn open_server_keeps_primary_running() {
    let hang = |text: &str| {
        let scenario = Scenario::parse(Path::new("open.json"), text);
        let sim = Sim::new(&scenario.expect("a valid scenario"));
        sim.hang(&quiet(&sim).trace)
    };
    assert_eq!(hang(OPEN), None);
    let never = OPEN.replace("#2", "#3");
    assert_eq!(hang(&never).as_deref(), Some("hangs: the primary never closes its server `mine`"));
    assert_eq!(hang(&OPEN.replace("\"close\": \"mine\"", "\"exit\": 0")), None);
}

/// A worker greets each connection. The client has already reset the connection.
const GREETING: &str = r#"{
  "name": "greeting",
  "description": "A worker writes to a connection that the client may have reset.",
  "primary": [{ "on": "start", "do": [{ "fork": 1 }] }],
  "worker": [
    { "on": "start", "do": [{ "listen": { "server": "web" } }] },
    { "on": "connection", "do": [{ "reply": "hi" }] },
    { "on": "reset", "do": [{ "exit": 0 }] }
  ],
  "clients": [{ "count": 1, "steps": [{ "connect": "web" }, { "write": "hello" }, "reset"] }],
  "contract": [{ "because": "The worker exits.", "seen": "primary: exit code=0", "times": 1 }]
}"#;

/// A failed write ends the connection, even before unread bytes.
#[test]
fn failed_write_resets_connection() {
    let scenario = Scenario::parse(Path::new("greeting.json"), GREETING);
    let sim = Sim::new(&scenario.expect("a valid scenario"));
    let lines = |seed| {
        let trace = sim.sample(seed).expect("no failure").trace;
        let lines = trace.seen_by(Observer::Worker(1)).iter().skip(2).map(|line| line.what.clone());
        lines.collect::<Vec<_>>()
    };
    let seen: std::collections::BTreeSet<_> = (0..200).map(lines).collect();
    let all = [vec!["connection", "data", "reset"], vec!["connection", "reset"]];
    assert_eq!(seen, all.map(|lines| lines.into_iter().map(str::to_owned).collect()).into());
}

/// The kernel may assign a port again after the socket of the port is closed.
#[test]
fn reused_port_is_found() {
    let sim = Sim::new(&scenario("child_index_dgram"));
    let faults = Faults::only(&[Fault::ReusedPort]);
    let reuses = |seed| {
        let run = run(sim.world().with_faults(faults).on(Schedule::seed(seed))).expect("no failure");
        ports::repeats_one(&run.trace).then_some(run.trace)
    };
    let trace = (0..100).find_map(reuses).expect("a port is assigned again");
    let run = found(sim.reaches(&trace, 100_000));
    let line: replay::Line = run.replay.parse().expect("a line of our own");
    assert_eq!(seen(&sim.replay(&line).world), trace);
}

/// The primary disconnects four workers at once. Each worker has two servers.
const FOUR: &str = r#"{
  "name": "four",
  "description": "Four workers disconnect at once.",
  "primary": [
    { "on": "start", "do": [{ "fork": 4 }] },
    { "on": "listening #4", "do": [{ "disconnect": 1 }, { "disconnect": 2 }, { "disconnect": 3 }, { "disconnect": 4 }] }
  ],
  "worker": [{ "on": "start", "do": [{ "listen": { "server": "web" } }, { "listen": { "server": "admin" } }] }],
  "contract": [{ "because": "All disconnect.", "seen": "primary: disconnect", "times": 4 }]
}"#;

fn four() -> Sim {
    let scenario = Scenario::parse(Path::new("four.json"), FOUR);
    Sim::new(&scenario.expect("a valid scenario"))
}

/// A search finds the trace of a random run, and needs far less than the budget that CI gives for random
/// scenarios.
#[test]
fn four_disconnects_at_once_are_found() {
    let sim = four();
    for seed in 0..24 {
        let trace = sim.sample(seed).expect("no failure").trace;
        let reach = sim.reaches(&trace, 50_000);
        assert!(matches!(reach, Reach::Yes(_)), "seed {seed}: {reach:?}\n{trace}");
    }
}

/// No run has a worker that exits before its fork, or listens after its exit.
#[test]
fn impossible_orders_are_not_found() {
    let sim = four();
    for seed in 0..6 {
        let trace = sim.sample(seed).expect("no failure").trace;
        for (observer, lines) in &trace.observers {
            let mut wrong = trace.clone();
            let swapped = wrong.observers.get_mut(observer).expect("the copied lines");
            swapped.swap(0, lines.len() - 1);
            let reach = sim.reaches(&wrong, 2_000);
            assert!(!matches!(reach, Reach::Yes(_)), "seed {seed}: {wrong}");
        }
    }
}

/// A worker with a server on an address, a server on every address, and a server for datagrams.
fn with_lookup(form: &str) -> Scenario {
    let text = format!(
        r#"{{
          "name": "lookup",
          "description": "A server with a host, and a server without.",
          "primary": [
            {{ "on": "start", "do": [{{ "fork": 1 }}] }},
            {{ "on": "listening #3", "do": ["disconnect_all"] }}
          ],
          "worker": [{{ "on": "start", "do": [
            {{ "listen": {{ "server": "web", "host": "127.0.0.1"{form} }} }},
            {{ "listen": {{ "server": "admin" }} }},
            {{ "bind": {{ "server": "inbox", "host": "127.0.0.1" }} }}
          ] }}],
          "contract": [{{ "because": "There is a primary.", "seen": "primary: start", "times": 1 }}]
        }}"#
    );
    Scenario::parse(Path::new("lookup.json"), &text).expect("a valid scenario")
}

/// The traces of a runtime, by the order in which the worker listens.
fn by_order(sim: &Sim) -> BTreeMap<String, Trace> {
    let order = |trace: &Trace| {
        let lines = trace.seen_by(Observer::Worker(1)).iter().filter(|line| line.what == "listening");
        lines.filter_map(|line| line.detail("server")).collect::<Vec<_>>().join(" ")
    };
    let traces = (0..300).map(|seed| sim.sample(seed).expect("no failure").trace);
    traces.map(|trace| (order(&trace), trace)).collect()
}

/// A worker on Node asks for its servers in the order of their lookups: none, an address, a name.
#[test]
fn node_looks_up_hosts() {
    let (plain, by_name) =
        (with_lookup(""), with_lookup(r#", "form": "net.createServer().listen(0, 'localhost')""#));
    let orders = |scenario, runtime: &str| by_order(&Sim::new(scenario).like(runtime));
    let ours = orders(&plain, "unix");
    assert!(ours.contains_key("web admin inbox") && ours.contains_key("admin web inbox"), "{ours:#?}");
    assert_eq!(orders(&plain, "node v20.20.2 with workers on unix"), ours);
    for runtime in ["node v20.20.2", "unix with workers on node v26.12.1"] {
        let (address, name) = (orders(&plain, runtime), orders(&by_name, runtime));
        assert!(address.contains_key("admin web inbox"), "{address:#?}");
        assert!(!address.keys().any(|order| order.starts_with("web")), "{address:#?}");
        assert!(name.contains_key("admin inbox web"), "{name:#?}");
        let node = Sim::new(&plain).like(runtime);
        found(node.reaches(&address["admin web inbox"], 100_000));
        excluded(node.reaches(&ours["web admin inbox"], 100_000));
    }
}

/// A replay line contains the runtime of the workers.
#[test]
fn replay_knows_node() {
    let scenario = with_lookup("");
    let sim = Sim::new(&scenario).like("node v20.20.2");
    let run = quiet(&sim);
    let line: replay::Line = run.replay.parse().expect("a line of our own");
    let again =
        Sim::of_line(&line, |name| (name == "lookup").then_some(scenario).ok_or(())).expect("the name");
    assert_eq!(seen(&again.replay(&line).world), run.trace);
}
