//! The fields of an internal message, each as written. Unknown fields are skipped, because newer versions of Node
//! have more, and a program's own message may borrow a `cmd` of Node.

use alloc::borrow::Cow;
use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::js::Js;
use crate::violation::{FieldKind, Violation};

/// Every field that a cluster reads.
const NAMES: [&str; 22] = [
    "cmd",
    "act",
    "msg",
    "seq",
    "ack",
    "accepted",
    "errno",
    "key",
    "data",
    "sockname",
    "index",
    "address",
    "port",
    "addressType",
    "fd",
    "flags",
    "backlog",
    "readableAll",
    "writableAll",
    "type",
    "dgramType",
    "count",
];

/// The fields of one object, in the order of `NAMES`.
#[derive(Default)]
pub(super) struct Fields<'a>([Option<&'a RawValue>; NAMES.len()]);

#[derive(serde::Deserialize)]
struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

fn place(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(FieldName(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            if let Some(place) = place(&name) {
                fields.0[place] = Some(value);
            }
        }
        Ok(fields)
    }
}

impl<'a> Fields<'a> {
    /// The fields of an object inside a message; none of any other value.
    pub(super) fn of(raw: &'a RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    pub(super) fn raw(&self, name: &'static str) -> Option<&'a RawValue> {
        place(name).and_then(|place| self.0[place])
    }

    pub(super) fn get(&self, name: &'static str) -> Js<'a> {
        Js::from(self.raw(name))
    }

    /// The string of a field; `None` for null, which Node takes for absent.
    pub(super) fn text(&self, name: &'static str) -> Option<Cow<'a, str>> {
        let value = self.get(name);
        (!value.is_nullish()).then(|| value.text())
    }

    /// The number of a message or of a server, which Node itself counts.
    pub(super) fn count(&self, name: &'static str) -> Result<u64, Violation> {
        let value = self.get(name);
        match value.kind() {
            FieldKind::Number => value.integer().and_then(|number| u64::try_from(number).ok()),
            FieldKind::Absent => Some(0),
            FieldKind::Null | FieldKind::Boolean | FieldKind::Text | FieldKind::List | FieldKind::Object => {
                None
            }
        }
        .ok_or(self.violation(name))
    }

    /// The violation that a bad value of the field is.
    pub(super) fn violation(&self, name: &'static str) -> Violation {
        Violation::BadFields { field: name, found: self.get(name).kind() }
    }
}
