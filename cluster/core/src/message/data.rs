//! Data that all servers of a key share: the primary keeps the JSON value of the first worker, and sends it
//! to the others. Node uses the data for the keys of TLS session tickets, but any JavaScript value is
//! possible.

use alloc::boxed::Box;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The longest data, in bytes. The data is kept for every socket, and sent to every worker. Node sends 107
/// bytes for TLS.
pub(super) const LONGEST: usize = 16 << 10;

/// The greatest depth of data, because the 'advanced' serialization writes it level by level.
const DEEPEST: usize = 64;

/// A JavaScript value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) enum Data {
    #[default]
    Undefined,
    /// The data of every server without TLS, so this variant takes no memory.
    Null,
    /// Any other value, as JSON.
    Json(#[serde(deserialize_with = "checked")] Box<str>),
}

impl Data {
    /// `None`: the value is too long or nested too deep to be kept.
    pub(super) fn of(raw: Option<&RawValue>) -> Option<Self> {
        let Some(json) = raw.map(RawValue::get) else { return Some(Data::default()) };
        let fits = json.len() <= LONGEST && depth(json) <= DEEPEST;
        fits.then(|| if json == "null" { Data::Null } else { Data::Json(json.into()) })
    }

    /// The value inside an internal message.
    pub(super) fn as_json(&self) -> &str {
        match self {
            Data::Undefined | Data::Null => "null",
            Data::Json(json) => json,
        }
    }

    pub(crate) fn is_undefined(&self) -> bool {
        *self == Data::Undefined
    }

    /// Whether the value is false in JavaScript. Then the data of the next worker replaces it.
    pub(crate) fn is_falsy(&self) -> bool {
        match self {
            Data::Undefined | Data::Null => true,
            Data::Json(json) => matches!(&**json, "false" | "0" | r#""""#),
        }
    }
}

/// The depth of a JSON value by the brackets. Brackets in strings are counted as well.
fn depth(json: &str) -> usize {
    let depths = json.bytes().scan(0_usize, |depth, byte| {
        *depth = match byte {
            b'[' | b'{' => *depth + 1,
            b']' | b'}' => depth.saturating_sub(1),
            _ => *depth,
        };
        Some(*depth)
    });
    depths.max().unwrap_or(0)
}

fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    let json = Box::<str>::deserialize(deserializer)?;
    serde_json::from_str::<&RawValue>(&json).map_err(serde::de::Error::custom)?;
    Ok(json)
}
