//! What random scenarios are made of: forks, listens, messages, closes, disconnects, kills, crashes and clients, on one to
//! four workers, in random order. proptest makes plans and shrinks them; this only says which there are.
//!
//! Workers on Node call `listen` in one of the forms that mean the same; other arms do not see which.
//!
//! A plan does only what has a meaning for every worker at every time; what that meaning is, the arms say.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A random scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    shared: bool,
    forks: u32,
    /// Whether the workers have a second server.
    admin: bool,
    primary: Vec<Rule>,
    /// What the workers with odd ids do, and those with even ids.
    workers: [Vec<Rule>; 2],
    clients: Vec<Clients>,
    ending: Rule,
    /// How the workers with odd ids call `listen` on Node, and those with even ids.
    forms: [&'static str; 2],
}

/// On the n-th of these events, or on each of them if `nth` is 0, do this.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    on: &'static str,
    nth: u32,
    actions: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clients {
    count: u32,
    together: bool,
    after: &'static str,
    nth: u32,
    admin: bool,
    steps: Vec<Value>,
}

impl Plan {
    /// As the file of a scenario.
    pub fn scenario(&self, name: &str) -> Value {
        let start = json!({ "on": "start", "do": [{ "fork": self.forks }] });
        let rules = self.primary.iter().chain([&self.ending]);
        let primary: Vec<_> = std::iter::once(start).chain(rules.filter_map(Rule::json)).collect();
        let servers = if self.admin { &["web", "admin"][..] } else { &["web"] };
        let [odd, even] = [0, 1].map(|parity: usize| {
            let listens: Vec<_> = servers.iter().map(|server| listen(server, self.forms[parity])).collect();
            let listen = json!({ "on": "start", "do": listens });
            let rules = self.workers[parity].iter().filter_map(Rule::json);
            std::iter::once(listen).chain(rules).collect::<Vec<_>>()
        });
        let evens: serde_json::Map<_, _> =
            [2, 4].iter().filter(|_| odd != even).map(|id: &u32| (id.to_string(), json!(even))).collect();
        json!({
            "name": name,
            "description": "A random one.",
            "settings": { "policy": if self.shared { "shared" } else { "round_robin" } },
            "primary": primary,
            "worker": odd,
            "workers": evens,
            "clients": self.clients.iter().map(|clients| clients.json(self.admin)).collect::<Vec<_>>(),
            "contract": [{ "because": "There is a primary.", "seen": "primary: start", "times": 1 }],
        })
    }
}

fn listen(server: &str, form: &str) -> Value {
    if form == FORMS[0] {
        json!({ "listen": { "server": server } })
    } else {
        json!({ "listen": { "server": server, "form": form } })
    }
}

impl Rule {
    fn json(&self) -> Option<Value> {
        let Rule { on, nth, actions } = self;
        let on = if *nth == 0 { (*on).to_owned() } else { format!("{on} #{nth}") };
        (!actions.is_empty()).then(|| json!({ "on": on, "do": actions }))
    }
}

impl Clients {
    fn json(&self, has_admin: bool) -> Value {
        let Clients { count, together, after, nth, admin, steps } = self;
        let server = if *admin && has_admin { "admin" } else { "web" };
        let before = [json!({ "await": format!("{after} #{nth}") }), json!({ "connect": server })];
        let steps: Vec<_> = before.into_iter().chain(steps.iter().cloned()).collect();
        json!({ "count": count, "order": if *together { "together" } else { "in_turn" }, "steps": steps })
    }
}

/// All plans. Every client ends in some way, so that no worker has to wait for one.
pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let workers = [vec(worker_rule(), 0..4), vec(worker_rule(), 0..4)];
    let policy_and_servers = (any::<bool>(), proptest::bool::weighted(0.3));
    let rules = (vec(primary_rule(), 0..4), workers, vec(clients(), 0..3), ending());
    let parts = (policy_and_servers, 1_u32..=4, rules, [form(), form()]);
    parts.prop_map(|((shared, admin), forks, (primary, workers, clients, ending), forms)| Plan {
        shared,
        forks,
        admin,
        primary,
        workers,
        clients,
        ending,
        forms,
    })
}

/// The names of every [`CallForm`](crate::scenario::CallForm), the one first to which the others shrink.
pub const FORMS: [&str; 8] =
    ["options", "callback", "arguments", "text", "text_options", "nulls", "fraction", "negative"];

fn form() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&FORMS[..])
}

const LIVES: [&str; 6] = ["fork", "online", "listening", "message", "disconnect", "exit"];

fn primary_rule() -> impl Strategy<Value = Rule> {
    (proptest::sample::select(&LIVES[..]), 1_u32..=4, vec(primary_action(), 1..3))
        .prop_map(|(on, nth, actions)| Rule { on, nth, actions })
}

/// The end of the whole: everything is told to go.
fn ending() -> impl Strategy<Value = Rule> {
    let all = prop_oneof![Just(json!("disconnect_all")), Just(json!({ "disconnect": "same" })), kill()];
    (proptest::sample::select(&LIVES[1..5]), 0_u32..=4, all).prop_map(|(on, nth, all)| Rule {
        on,
        nth,
        actions: vec![all],
    })
}

fn kill() -> impl Strategy<Value = Value> {
    proptest::sample::select(&["SIGTERM", "SIGKILL"][..])
        .prop_map(|signal| json!({ "kill": { "worker": "same", "signal": signal } }))
}

fn primary_action() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(json!({ "send": { "to": "same", "text": "go" } })),
        2 => Just(json!({ "fork": 1 })),
        3 => Just(json!({ "disconnect": "same" })),
        2 => kill(),
        1 => Just(json!("disconnect_all")),
        2 => Just(json!({ "disconnect": 1 })),
        1 => Just(json!({ "kill": { "worker": 1, "signal": "SIGKILL" } })),
    ]
}

fn worker_rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        on("start", worker_action().boxed()),
        on("listening server=web", prop_oneof![worker_action(), Just(json!({ "close": "web" }))].boxed()),
        on(
            "connection server=web",
            prop_oneof![connection_action(), Just(json!({ "close": "web" }))].boxed()
        ),
        on("data", connection_action().boxed()),
        on("message", worker_action().boxed()),
        on("end", worker_action().boxed()),
        on("closed server=web", worker_action().boxed()),
    ]
}

fn on(event: &'static str, action: BoxedStrategy<Value>) -> impl Strategy<Value = Rule> {
    (0_u32..=2, vec(action, 1..3)).prop_map(move |(nth, actions)| Rule { on: event, nth, actions })
}

fn worker_action() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(json!({ "send": "hello" })),
        2 => Just(json!("disconnect")),
        1 => Just(json!("kill")),
        1 => Just(json!({ "exit": 0 })),
        1 => Just(json!({ "exit": 3 })),
        1 => Just(json!("crash")),
        1 => Just(json!({ "raise": "SIGKILL" })),
        1 => Just(json!("end_all")),
    ]
}

fn connection_action() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({ "reply": "hi" })),
        4 => Just(json!("end")),
        3 => worker_action(),
    ]
}

fn clients() -> impl Strategy<Value = Clients> {
    let steps = prop_oneof![
        Just(vec![json!({ "write": "hello" }), json!("end")]),
        Just(vec![json!({ "write": "hello" }), json!("reset")]),
        Just(vec![json!("end")]),
        Just(vec![json!("reset")]),
    ];
    let after = proptest::sample::select(&["primary: listening", "primary: online"][..]);
    (1_u32..=3, any::<bool>(), after, 1_u32..=2, any::<bool>(), steps).prop_map(
        |(count, together, after, nth, admin, steps)| Clients { count, together, after, nth, admin, steps },
    )
}
