//! Fields with more than one notation. Written by hand, because with serde's `untagged` the position of an
//! error is lost.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::clause::{Clause, Times, Written};
use super::{MOST, Target};

/// A number of workers or of clients, within the limit.
pub(super) fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    deserializer.deserialize_u32(Few)
}

struct Few;

impl Visitor<'_> for Few {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number up to {MOST}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
        let few = u32::try_from(number).ok().filter(|number| *number <= MOST);
        few.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyTarget)
    }
}

struct AnyTarget;

impl Visitor<'_> for AnyTarget {
    type Value = Target;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a worker, or \"same\" for the worker of the matched line")
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<Target, E> {
        let known = (id > 0).then_some(Target::Id(id));
        known.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(id), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Target, E> {
        if text == "same" { Ok(Target::Same) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyTimes)
    }
}

struct AnyTimes;

impl<'de> Visitor<'de> for AnyTimes {
    type Value = Times;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of times, or a list of permitted numbers")
    }

    fn visit_u64<E: Error>(self, times: u64) -> Result<Times, E> {
        let times = u32::try_from(times).map_err(|_| E::invalid_value(Unexpected::Unsigned(times), &self))?;
        Ok(Times(vec![times]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Times, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Times)
    }
}

impl<'de> Deserialize<'de> for Clause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnyClaim)
    }
}

struct AnyClaim;

impl<'de> Visitor<'de> for AnyClaim {
    type Value = Clause;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Clause, A::Error> {
        let written = Written::deserialize(MapAccessDeserializer::new(fields))?;
        Clause::try_from(written).map_err(A::Error::custom)
    }
}
