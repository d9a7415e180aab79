//! The fields of an internal message, as they were written. Unknown fields are skipped, because newer
//! versions of Node have more, and because a program's own message may use a `cmd` of Node.

use alloc::borrow::Cow;
use core::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::js::Js;
use crate::violation::{FIELDS, FieldKind, Violation};

/// A field that a cluster reads. Several fields of each message are read, so values are found by index rather
/// than by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
pub(super) enum Field {
    Cmd,
    Act,
    Msg,
    Seq,
    Ack,
    Accepted,
    Errno,
    Key,
    Data,
    Sockname,
    Index,
    Address,
    Port,
    AddressType,
    Fd,
    Flags,
    Backlog,
    ReadableAll,
    WritableAll,
    Type,
    DgramType,
    Count,
    Report,
    #[serde(other)]
    Unknown,
}

/// The names, in the order of [`Field`].
const NAMES: [&str; Field::Unknown as usize] = FIELDS;

impl Field {
    fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// Integers of at most this many digits are exact JavaScript numbers.
const EXACT: usize = 15;

/// The values of an object, in the order of [`Field`].
#[derive(Default)]
pub(super) struct Fields<'a>([Option<&'a RawValue>; NAMES.len()]);

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
        while let Some(field) = map.next_key::<Field>()? {
            let value: &RawValue = map.next_value()?;
            if let Some(place) = fields.0.get_mut(field as usize) {
                *place = Some(value);
            }
        }
        Ok(fields)
    }
}

impl<'a> Fields<'a> {
    /// The fields of an object inside a message. A value that is no object has no fields.
    pub(super) fn of(raw: &'a RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    pub(super) fn raw(&self, field: Field) -> Option<&'a RawValue> {
        self.0[field as usize]
    }

    pub(super) fn get(&self, field: Field) -> Js<'a> {
        Js::from(self.raw(field))
    }

    /// The string in a field. `None` for null, which Node treats as absent.
    pub(super) fn text(&self, field: Field) -> Option<Cow<'a, str>> {
        let value = self.get(field);
        (!value.is_nullish()).then(|| value.text())
    }

    /// A number that Node itself counts: of a message or of a server.
    pub(super) fn count(&self, field: Field) -> Result<u64, Violation> {
        // A short integer, as Node writes it. A longer number may have no exact float.
        if let Some(Ok(count)) =
            self.raw(field).map(RawValue::get).filter(|raw| raw.len() <= EXACT).map(str::parse)
        {
            return Ok(count);
        }
        let value = self.get(field);
        match value.kind() {
            FieldKind::Number => value.integer().and_then(|number| u64::try_from(number).ok()),
            FieldKind::Absent => Some(0),
            FieldKind::Null | FieldKind::Boolean | FieldKind::Text | FieldKind::List | FieldKind::Object => {
                None
            }
        }
        .ok_or_else(|| self.violation(field))
    }

    /// The violation for a bad value of the field.
    pub(super) fn violation(&self, field: Field) -> Violation {
        Violation::BadFields { field: field.name(), found: self.get(field).kind() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name reads as the field with this name.
    #[test]
    fn names_are_in_order_of_fields() {
        for (place, name) in NAMES.iter().enumerate() {
            let field: Field = serde_json::from_str(&alloc::format!("{name:?}")).expect("a name is a string");
            assert_eq!((field as usize, field.name()), (place, *name));
        }
        assert_eq!(serde_json::from_str::<Field>(r#""other""#).ok(), Some(Field::Unknown));
    }

    /// A short count is read from the text, with the same result as through a float.
    #[test]
    fn counts_read_as_floats() {
        for (text, count) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("1.0", Some(1)),
            ("1e2", Some(100)),
            ("999999999999999", Some(999_999_999_999_999)),
            ("9007199254740993", Some(9_007_199_254_740_992)),
            ("18446744073709551615", None),
            ("0.5", None),
            ("-1", None),
            (r#""1""#, None),
            ("null", None),
        ] {
            let line = alloc::format!(r#"{{"seq":{text}}}"#);
            let fields: Fields<'_> = serde_json::from_str(&line).expect("an object");
            assert_eq!(fields.count(Field::Seq).ok(), count, "{text}");
        }
    }
}
