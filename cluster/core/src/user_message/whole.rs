//! A message inside a serialized machine: its serialization and the bytes. (Elsewhere, serde writes a
//! [`Message`] as its JSON.)

use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Message;
use crate::serialization::{Serialization, advanced, json};
use crate::violation::Violation;

#[derive(Serialize, Deserialize)]
#[serde(rename = "Message")]
struct MessageForm {
    serialization: Serialization,
    #[serde(with = "crate::byte_form")]
    bytes: Bytes,
}

impl MessageForm {
    /// Checks the bytes as strictly as a channel does, because later conversions rely on the check.
    fn check(&self) -> Result<(), Violation> {
        match self.serialization {
            Serialization::Json => {
                json::check(core::str::from_utf8(&self.bytes).map_err(|_| Violation::Malformed)?)
            }
            Serialization::Advanced => advanced::outline(&self.bytes).map(|_| ()),
        }
    }
}

pub(crate) fn serialize<S: Serializer>(message: &Message, serializer: S) -> Result<S::Ok, S::Error> {
    let Message { serialization, bytes } = message.clone();
    MessageForm { serialization, bytes }.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Message, D::Error> {
    let whole = MessageForm::deserialize(deserializer)?;
    whole.check().map_err(D::Error::custom)?;
    let MessageForm { serialization, bytes } = whole;
    Ok(Message { serialization, bytes })
}
