//! Node's 'advanced' serialization: V8's structured clone, as far as JSON can say it.
//!
//! A message of Node's arrives as it would have arrived in mode 'json': what `JSON.stringify` makes of it. Thus
//! `undefined` vanishes from objects and is `null` in arrays, NaN is `null`, a date is its text, a buffer is
//! `{"type":"Buffer","data":[..]}`, a typed array an object of its elements, and a map, a set, an error or a regular
//! expression is `{}`. What `JSON.stringify` refuses has a form, too: a big integer is a text (its decimal digits, or
//! hexadecimal ones if it has more than 128 bits), and a reference to an object inside itself is `null`.
//!
//! It knows values, neither frames nor what they mean.

mod lossy;
mod read;
mod write;

pub(crate) use read::read;
pub(crate) use write::write;

#[cfg(test)]
mod tests;

/// What every payload begins with; the version of the format follows.
const HEADER: u8 = 0xFF;

/// The version that Node 18 to 26 write. Older ones are read all the same.
const VERSION: u8 = 15;
