//! A trace: the canonical lines of each observer. Lines of different observers have no order, because
//! observers have no common clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::observation::{Line, Observation, Observer};

/// The lines of all observers in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace {
    /// The lines of each observer, in order.
    pub observers: BTreeMap<Observer, Vec<Observation>>,
}

impl Trace {
    /// The trace of a run: makes the lines canonical, and sorts them by observer. `datagram_servers` is the
    /// result of `Scenario::datagram_servers`.
    pub fn of(lines: impl IntoIterator<Item = Line>, datagram_servers: &BTreeSet<String>) -> Self {
        let mut canon = Canon::default();
        let mut trace = Trace::default();
        for line in lines {
            trace.push(line.observer, canon.make(line.observer, line.observation, datagram_servers));
        }
        trace
    }

    /// Appends a canonical line.
    pub fn push(&mut self, observer: Observer, observation: Observation) {
        self.observers.entry(observer).or_default().push(observation);
    }

    /// The lines of one observer; empty if there are none.
    pub fn seen_by(&self, observer: Observer) -> &[Observation] {
        self.observers.get(&observer).map_or(&[], Vec::as_slice)
    }

    /// All lines, observer by observer.
    pub fn lines(&self) -> impl Iterator<Item = (Observer, &Observation)> {
        self.observers.iter().flat_map(|(observer, lines)| lines.iter().map(|line| (*observer, line)))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.observers.iter().try_for_each(|(observer, lines)| {
            writeln!(f, "{observer}")?;
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
        })
    }
}

/// Makes lines canonical, one by one: the first port of each observer becomes `p1`, the next different port
/// `p2`. A port for datagrams and a port for connections are different ports, even with the same number.
///
/// Ports are counted separately for each observer, because this needs no common clock. That two workers share
/// a port is visible in the lines of the primary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Canon {
    ports: BTreeMap<Observer, Vec<Port>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Port {
    of_datagrams: bool,
    number: String,
}

impl Canon {
    /// The canonical form of the next line of an observer.
    pub fn make(
        &mut self,
        observer: Observer,
        mut observation: Observation,
        datagram_servers: &BTreeSet<String>,
    ) -> Observation {
        let Some(number) = observation.detail("port").filter(|port| is_one(port)) else { return observation };
        let of_datagrams = is_of_datagrams(&observation, datagram_servers);
        let port = Port { of_datagrams, number: number.to_owned() };
        let symbol = symbol(self.ports.entry(observer).or_default(), port);
        observation
            .details
            .iter_mut()
            .filter(|(key, _)| key == "port")
            .for_each(|(_, port)| port.clone_from(&symbol));
        observation
    }
}

/// Whether the text is a port: 0 means that there is no port yet, and -1 that the address is a path.
fn is_one(port: &str) -> bool {
    port != "0" && port != "-1"
}

/// Whether the port in a line is a port for datagrams.
pub(crate) fn is_of_datagrams(observation: &Observation, servers: &BTreeSet<String>) -> bool {
    observation.what == "datagram"
        || observation.detail("type").is_some_and(|kind| kind.starts_with("udp"))
        || observation.detail("server").is_some_and(|server| servers.contains(server))
}

fn symbol(ports: &mut Vec<Port>, port: Port) -> String {
    let known = ports.iter().position(|known| *known == port);
    let index = known.unwrap_or_else(|| {
        ports.push(port);
        ports.len() - 1
    });
    format!("p{}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbered_per_observer() {
        let lines =
            ["primary: listening port=4001", "worker 1: listening port=4002", "primary: listening port=4002"]
                .map(|line| line.parse::<Line>().expect(line));
        let trace = Trace::of(lines, &BTreeSet::new());
        assert_eq!(
            trace.to_string(),
            "primary\n  listening port=p1\n  listening port=p2\nworker 1\n  listening port=p1\n"
        );
    }

    #[test]
    fn datagram_ports_are_numbered_apart() {
        let lines = [
            "worker 1: listening server=web port=4001",
            "worker 1: listening server=bell port=4001",
            "worker 1: datagram server=bell text=ring port=4001",
            "primary: listening type=udp4 port=4001",
            "primary: listening type=4 port=4001",
            "primary: listening type=udp4 port=0",
        ]
        .map(|line| line.parse::<Line>().expect(line));
        let trace = Trace::of(lines, &BTreeSet::from(["bell".to_owned()]));
        let ports = |observer| {
            let seen = trace.seen_by(observer).iter();
            seen.map(|seen| seen.detail("port").expect("a port")).collect::<Vec<_>>()
        };
        assert_eq!(ports(Observer::Worker(1)), ["p1", "p2", "p2"]);
        assert_eq!(ports(Observer::Primary), ["p1", "p2", "0"]);
    }

    #[test]
    fn port_0_has_no_symbol() {
        let mut canon = Canon::default();
        for (port, symbol) in [("0", "0"), ("4001", "p1"), ("0", "0"), ("4002", "p2"), ("4001", "p1")] {
            let line = Observation::new("listen_failed").with("port", port);
            assert_eq!(canon.make(Observer::Primary, line, &BTreeSet::new()).detail("port"), Some(symbol));
        }
    }

    #[test]
    fn trace_round_trips_through_json() {
        let lines = ["worker 10: start", "worker 2: start", "primary: start"].map(|l| l.parse().expect(l));
        let trace = Trace::of(lines, &BTreeSet::new());
        let json = serde_json::to_string(&trace).expect("a trace is plain data");
        assert_eq!(json, r#"{"primary":["start"],"worker 2":["start"],"worker 10":["start"]}"#);
        assert_eq!(serde_json::from_str::<Trace>(&json).expect(&json), trace);
    }
}
