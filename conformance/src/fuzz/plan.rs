//! Random scenarios as plans: forks, listens, binds, messages, closes, disconnects, kills, crashes and
//! clients, on one to four workers, in random order. proptest draws and shrinks the plans.
//!
//! Workers on Node open servers and send messages in one of the forms of [`Families`]. Other arms perform
//! what the form means.
//!
//! A plan contains only actions that are valid in every worker at any time.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::families::Families;

/// A random scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    shared: bool,
    forks: u32,
    /// Whether the workers have a second server.
    admin: bool,
    /// The address of the first server: a key of [`Families::listen`](crate::families::Families::listen).
    address: &'static str,
    /// The address of the workers' server for datagrams, if the plan has one: a key of
    /// [`Families::bind`](crate::families::Families::bind).
    inbox: Option<&'static str>,
    primary: Vec<Rule>,
    /// The rules of the workers with odd ids, and of the workers with even ids.
    workers: [Vec<Rule>; 2],
    clients: Vec<Clients>,
    ending: Rule,
    /// The forms in which Node workers with odd ids open their servers, and those with even ids.
    forms: [u32; 2],
}

/// Actions on the `nth` event of a kind, or on every event if `nth` is 0.
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
    /// The content of a scenario file.
    pub fn scenario(&self, name: &str) -> Value {
        let start = json!({ "on": "start", "do": [{ "fork": self.forks }] });
        let rules = self.primary.iter().chain([&self.ending]);
        let primary: Vec<_> = std::iter::once(start).chain(rules.filter_map(Rule::json)).collect();
        let [odd, even] = [0, 1].map(|parity: usize| {
            let start = json!({ "on": "start", "do": self.servers(self.forms[parity]) });
            let rules = self.workers[parity].iter().filter_map(Rule::json);
            std::iter::once(start).chain(rules).collect::<Vec<_>>()
        });
        let evens: serde_json::Map<_, _> =
            [2, 4].iter().filter(|_| odd != even).map(|id: &u32| (id.to_string(), json!(even))).collect();
        json!({
            "name": name,
            "description": "A random scenario.",
            "settings": { "policy": if self.shared { "shared" } else { "round_robin" } },
            "primary": primary,
            "worker": odd,
            "workers": evens,
            "clients": self.clients.iter().map(|clients| clients.json(self)).collect::<Vec<_>>(),
            "contract": [{ "because": "There is a primary.", "seen": "primary: start", "times": 1 }],
        })
    }
}

impl Plan {
    /// The plans that lack one part of this plan. Plans that lack a large part are first.
    pub(super) fn simpler(&self) -> Vec<Plan> {
        let mut plans = Vec::new();
        let mut add = |change: &dyn Fn(&mut Plan)| {
            let mut plan = self.clone();
            change(&mut plan);
            if plan != *self {
                plans.push(plan);
            }
        };
        for at in 0..self.clients.len() {
            add(&|plan| drop(plan.clients.remove(at)));
        }
        add(&|plan| plan.primary.clear());
        for parity in [0, 1] {
            add(&|plan| plan.workers[parity].clear());
        }
        add(&|plan| plan.inbox = None);
        add(&|plan| plan.admin = false);
        add(&|plan| plan.forks = 1.max(plan.forks - 1));
        for list in 0..3 {
            for (at, rule) in self.rules(list).iter().enumerate() {
                for action in 0..rule.actions.len() {
                    add(&|plan| drop(plan.rules_mut(list)[at].actions.remove(action)));
                }
            }
        }
        plans
    }

    /// The rules of the primary, of the workers with odd ids, or of the workers with even ids.
    fn rules(&self, list: usize) -> &[Rule] {
        [&self.primary, &self.workers[0], &self.workers[1]][list]
    }

    fn rules_mut(&mut self, list: usize) -> &mut Vec<Rule> {
        let [odd, even] = &mut self.workers;
        [&mut self.primary, odd, even].into_iter().nth(list).expect("three lists")
    }

    fn servers(&self, form: u32) -> Vec<Value> {
        let families = Families::ours();
        let mut web = json!({ "server": "web" });
        match self.address {
            "any" => {}
            "path" => web["path"] = json!("web.sock"),
            host => web["host"] = json!(host),
        }
        let mut servers = vec![json!({ "listen": in_form(web, &families.listen[self.address], form) })];
        if self.admin {
            let admin = in_form(json!({ "server": "admin" }), &families.listen["any"], form);
            servers.push(json!({ "listen": admin }));
        }
        servers.extend(self.inbox.map(|family| {
            let mut inbox = json!({ "server": "inbox", "v6": family.starts_with("udp6") });
            if let Some((_, host)) = family.split_once(' ') {
                inbox["host"] = json!(host);
            }
            json!({ "bind": in_form(inbox, &families.bind[family], form) })
        }));
        servers
    }
}

/// A server in one of the forms; 0 is the simplest case, a server without a form.
fn in_form(mut server: Value, forms: &[String], form: u32) -> Value {
    let form = form as usize % (forms.len() + 1);
    if let Some(form) = form.checked_sub(1) {
        server["form"] = json!(forms[form]);
    }
    server
}

impl Rule {
    fn json(&self) -> Option<Value> {
        let Rule { on, nth, actions } = self;
        let on = if *nth == 0 { (*on).to_owned() } else { format!("{on} #{nth}") };
        (!actions.is_empty()).then(|| json!({ "on": on, "do": actions }))
    }
}

impl Clients {
    fn json(&self, plan: &Plan) -> Value {
        let Clients { count, together, after, nth, admin, steps } = self;
        let connect = match (*admin && plan.admin, plan.address) {
            (true, _) => json!({ "connect": "admin" }),
            (false, "::1") => json!({ "connect_v6": "web" }),
            (false, _) => json!({ "connect": "web" }),
        };
        let before = [json!({ "await": format!("{after} #{nth}") }), connect];
        let steps: Vec<_> = before.into_iter().chain(steps.iter().cloned()).collect();
        json!({ "count": count, "order": if *together { "together" } else { "in_turn" }, "steps": steps })
    }
}

/// All plans. Every client ends in some way, so no worker waits for a client forever.
pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let workers = [vec(worker_rule(), 0..4), vec(worker_rule(), 0..4)];
    let families = Families::ours();
    let address = prop_oneof![3 => Just("any"), 2 => one_of(&families.listen)];
    let inbox = proptest::option::weighted(0.3, one_of(&families.bind));
    let policy_and_servers = (any::<bool>(), proptest::bool::weighted(0.3), address, inbox);
    let rules = (vec(primary_rule(), 0..4), workers, vec(clients(), 0..3), ending());
    let parts = (policy_and_servers, 1_u32..=4, rules, any::<[u32; 2]>());
    parts.prop_map(|(servers, forks, (primary, workers, clients, ending), forms)| Plan {
        shared: servers.0,
        forks,
        admin: servers.1,
        address: servers.2,
        inbox: servers.3,
        primary,
        workers,
        clients,
        ending,
        forms,
    })
}

/// The name of one of the families.
fn one_of(families: &'static BTreeMap<String, Vec<String>>) -> impl Strategy<Value = &'static str> {
    select(families.keys().map(String::as_str).collect::<Vec<_>>())
}

const LIVES: [&str; 6] = ["fork", "online", "listening", "message", "disconnect", "exit"];

fn primary_rule() -> impl Strategy<Value = Rule> {
    (select(&LIVES[..]), 1_u32..=4, vec(primary_action(), 1..3)).prop_map(|(on, nth, actions)| Rule {
        on,
        nth,
        actions,
    })
}

/// The last rule: disconnects or kills workers.
fn ending() -> impl Strategy<Value = Rule> {
    let all = prop_oneof![Just(json!("disconnect_all")), Just(json!({ "disconnect": "same" })), kill()];
    (select(&LIVES[1..5]), 0_u32..=4, all).prop_map(|(on, nth, all)| Rule { on, nth, actions: vec![all] })
}

fn kill() -> impl Strategy<Value = Value> {
    select(&["SIGTERM", "SIGKILL"][..])
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
    let messages: Vec<_> = Families::ours().send.values().flatten().map(String::as_str).collect();
    prop_oneof![
        3 => Just(json!({ "send": "hello" })),
        2 => select(messages).prop_map(|form| json!({ "send_form": form })),
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
    let after = select(&["primary: listening", "primary: online"][..]);
    (1_u32..=3, any::<bool>(), after, 1_u32..=2, any::<bool>(), steps).prop_map(
        |(count, together, after, nth, admin, steps)| Clients { count, together, after, nth, admin, steps },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    use super::*;

    /// Every family of every call is drawn, in more than one form, with servers of every kind.
    #[test]
    fn plans_draw_every_family() {
        let mut runner = TestRunner::deterministic();
        let (mut meanings, mut forms) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..2000 {
            let plan = plan().new_tree(&mut runner).expect("every plan is accepted").current();
            meanings.extend([plan.address.to_owned()].into_iter().chain(plan.inbox.map(str::to_owned)));
            let scenario = plan.scenario("plan");
            for program in [&scenario["worker"], &scenario["workers"]["2"]] {
                forms.extend(program.as_array().into_iter().flatten().flat_map(drawn));
            }
        }
        let families = Families::ours();
        let messages = families.send.iter().filter(|(_, all)| all.iter().any(|form| forms.contains(form)));
        meanings.extend(messages.map(|(json, _)| json.clone()));
        let all = [&families.listen, &families.bind, &families.send].into_iter().flat_map(BTreeMap::keys);
        assert_eq!(meanings, all.cloned().collect());
        let known = [&families.listen, &families.bind, &families.send];
        let count = known.into_iter().flat_map(BTreeMap::values).map(Vec::len).sum::<usize>();
        assert!(count > 500 && forms.len() * 2 > count, "{} of {count} forms", forms.len());
        let kinds =
            ["net.", "http.", "https.", "http2.createServer", "http2.createSecure", "'udp4'", "'udp6'"];
        for kind in kinds {
            assert!(forms.iter().any(|form| form.contains(kind)), "no form of {kind}");
        }
    }

    fn drawn(rule: &Value) -> Vec<String> {
        let actions = rule["do"].as_array().into_iter().flatten();
        let form = |action: &Value| {
            let servers = [&action["listen"]["form"], &action["bind"]["form"], &action["send_form"]];
            servers.into_iter().find_map(Value::as_str).map(str::to_owned)
        };
        actions.filter_map(form).collect()
    }
}
