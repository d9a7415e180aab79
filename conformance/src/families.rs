//! The families of forms: the ways to call `listen`, `bind` and `send` that have the same meaning, sorted by
//! this meaning.
//!
//! Random scenarios draw from the families. `conformance forms --families` derives the families from what
//! Node does with every form of `forms/forms.json`. A form has no family if the form fails, if Node swallows
//! the message, or if the server is outside the cluster.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text::is_one_word;

/// The longest message of a family: a pipe delivers lines with longer messages in several pieces.
const LONGEST_MESSAGE: usize = 100;

/// Forms by their meaning, in the order of `forms/forms.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Families {
    /// Forms of `listen` by the host: `any`, or an address; `path` for a path in the directory of the run.
    pub listen: BTreeMap<String, Vec<String>>,
    /// Forms of `bind` by the type of the socket and the host: `udp4`, `udp6 ::1`.
    pub bind: BTreeMap<String, Vec<String>>,
    /// Forms of `send` by the JSON text of the message.
    pub send: BTreeMap<String, Vec<String>>,
}

static OURS: LazyLock<Families> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../forms/families.json"))
        .expect("families.json is part of the program")
});

/// The request of the worker, or the echoed message, as reported by `forms.cjs`.
#[derive(Debug, Deserialize)]
struct ReportedEnd {
    #[serde(default)]
    shared: bool,
    key: Option<String>,
    path: Option<bool>,
    mode: Option<u32>,
    r#type: Option<String>,
    address: Option<String>,
    json: Option<String>,
}

/// The permissions of a path without `readableAll` and `writableAll`, under the mask 022.
const PLAIN_MODE: u32 = 0o755;

impl Families {
    /// The families of this suite.
    pub fn ours() -> &'static Families {
        &OURS
    }

    /// The JSON text of the message of a form.
    pub fn message(&self, form: &str) -> Option<&str> {
        let mut families = self.send.iter();
        families.find(|(_, forms)| forms.iter().any(|one| one == form)).map(|(json, _)| json.as_str())
    }

    /// Adds a form to the family of its reported result, if any.
    pub fn add(&mut self, form: &str, end: &Value) {
        // Without a family: the key of a server does not contain this option, although the option changes the
        // meaning.
        if form.contains("ipv6Only: true") || form.contains("ipv6Only: 1") {
            return;
        }
        let Ok(end) = serde_json::from_value::<ReportedEnd>(end.clone()) else { return };
        let (family, meaning) = match end {
            ReportedEnd { json: Some(json), .. } if is_sent_unchanged(&json) => (&mut self.send, json),
            ReportedEnd { shared: true, key: Some(key), .. } => match host(&key) {
                Some(host) => (&mut self.listen, host),
                None => return,
            },
            ReportedEnd { shared: true, path: Some(true), mode: Some(PLAIN_MODE), .. } => {
                (&mut self.listen, "path".to_owned())
            }
            ReportedEnd { shared: true, r#type: Some(kind), address: Some(address), .. } => {
                let is_any = ["0.0.0.0", "::"].contains(&address.as_str());
                // The primary's key and line contain the zone of the request; the bound address does not.
                if !is_any && form.contains('%') {
                    return;
                }
                (&mut self.bind, if is_any { kind } else { format!("{kind} {address}") })
            }
            _ => return,
        };
        family.entry(meaning).or_default().push(form.to_owned());
    }

    /// The forms that have the same family in both.
    #[must_use]
    pub fn common(self, other: &Families) -> Self {
        let both = |mut ours: BTreeMap<String, Vec<String>>, theirs: &BTreeMap<String, Vec<String>>| {
            for (meaning, forms) in &mut ours {
                forms.retain(|form| theirs.get(meaning).is_some_and(|theirs| theirs.contains(form)));
            }
            ours.retain(|_, forms| !forms.is_empty());
            ours
        };
        Families {
            listen: both(self.listen, &other.listen),
            bind: both(self.bind, &other.bind),
            send: both(self.send, &other.send),
        }
    }
}

/// The host in the key of a server in Node's cluster: `127.0.0.1` for `4:127.0.0.1:0`. `None`: the key has a
/// port or a zone.
fn host(key: &str) -> Option<String> {
    let host = key.get(2..)?.strip_suffix(":0")?;
    let is_plain = !host.contains('%') && !host.contains("ffff");
    is_plain.then(|| if host == "null" { "any".to_owned() } else { host.to_owned() })
}

/// Whether a Rust worker writes the same bytes for this value, and a line can contain them.
fn is_sent_unchanged(json: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return false };
    let text = value.as_str().unwrap_or(json);
    serde_json::to_string(&value).is_ok_and(|text| text == json)
        && json.len() <= LONGEST_MESSAGE
        && is_one_word(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The primary's line of a server has the zone of the request.
    #[test]
    fn zone_of_address_has_no_family() {
        let mut families = Families::default();
        let bound = |address| json!({ "shared": true, "type": "udp6", "address": address });
        for (form, address) in
            [("bind(0, '::1')", "::1"), ("bind(0, '::1%lo')", "::1"), ("bind('::1%lo')", "::")]
        {
            families.add(form, &bound(address));
        }
        assert_eq!(families.bind["udp6 ::1"], ["bind(0, '::1')"]);
        assert_eq!(families.bind["udp6"], ["bind('::1%lo')"]);
        let zoned = |(family, forms): (&String, &Vec<String>)| {
            family.contains("::1") && forms.iter().any(|form| form.contains('%'))
        };
        assert!(!Families::ours().bind.iter().any(zoned));
    }
}
