//! The data model of the structured clone, which is the content of a message of [`Serialization::Advanced`].
//! `read` and `write` convert from and to payloads; `de` deserializes into types of the program.
//!
//! [`Serialization::Advanced`]: crate::Serialization::Advanced

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

mod de;
mod js_string;
mod read;
mod write;

pub(crate) use de::to;
pub use js_string::{BigInt, JsString, OutOfRange};
pub(crate) use read::read;
pub(crate) use write::write;

/// The greatest depth, because dropping, comparing and printing a value is recursive.
pub(crate) const LEVELS: usize = 128;

/// A JavaScript value, read by [`Message::structured`](crate::Message::structured) and written by
/// [`Message::from_structured`](crate::Message::from_structured), with every type and every reference
/// preserved.
///
/// Bytes are shared with the message. A value takes at most 128 bytes of memory per byte of the message, and
/// shared bytes take none.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Structured {
    /// `undefined`.
    Undefined,
    /// A missing element of an array.
    Hole,
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A big integer.
    BigInt(BigInt),
    /// A string.
    String(JsString),
    /// A `Date`, in milliseconds since 1970; NaN for an invalid date.
    Date(f64),
    /// A `Boolean`, `Number`, `String` or `BigInt` object, around its primitive value.
    Boxed(Box<Structured>),
    /// A regular expression.
    RegExp(Box<RegExp>),
    /// An array: the elements, and the other members.
    Array(Vec<Structured>, Vec<(JsString, Structured)>),
    /// An array of this length that consists mostly of holes: its elements with the indexes, and the other
    /// members.
    SparseArray(u32, Vec<(JsString, Structured)>),
    /// A plain object: its members in order.
    Object(Vec<(JsString, Structured)>),
    /// A `Map`, entries in order.
    Map(Vec<(Structured, Structured)>),
    /// A `Set`, values in order.
    Set(Vec<Structured>),
    /// An `ArrayBuffer`. If it can be resized, also its greatest length.
    ArrayBuffer(Bytes, Option<u64>),
    /// A typed array, a `Buffer` or a `DataView`; numbers are little-endian.
    View(ViewKind, Bytes),
    /// An error.
    Error(Box<JsError>),
    /// A host object of Node, such as a key, which arrives as a plain object.
    Host(Box<Structured>),
    /// A reference to an object of this value that has begun earlier. Objects are numbered from 0 in the
    /// order in which they begin. Every value counts as an object, except `undefined`, a hole, `null`, a
    /// boolean, a number, a big integer, a string and a reference.
    Reference(u32),
}

impl Structured {
    /// Whether references to the value are possible.
    fn is_object(&self) -> bool {
        match self {
            Structured::Undefined
            | Structured::Hole
            | Structured::Null
            | Structured::Bool(_)
            | Structured::Number(_)
            | Structured::BigInt(_)
            | Structured::String(_)
            | Structured::Reference(_) => false,
            Structured::Date(_)
            | Structured::Boxed(_)
            | Structured::RegExp(_)
            | Structured::Array(..)
            | Structured::SparseArray(..)
            | Structured::Object(_)
            | Structured::Map(_)
            | Structured::Set(_)
            | Structured::ArrayBuffer(..)
            | Structured::View(..)
            | Structured::Error(_)
            | Structured::Host(_) => true,
        }
    }

    /// Calls `act` with each inner value, in order.
    fn for_each_inside<'a>(&'a self, act: &mut dyn FnMut(&'a Structured)) {
        if let Structured::Array(values, _) | Structured::Set(values) = self {
            values.iter().for_each(&mut *act);
        }
        if let Structured::Array(_, members)
        | Structured::SparseArray(_, members)
        | Structured::Object(members) = self
        {
            members.iter().map(|(_, value)| value).for_each(&mut *act);
        }
        if let Structured::Map(entries) = self {
            entries.iter().flat_map(|(key, value)| [key, value]).for_each(&mut *act);
        }
        if let Structured::Error(error) = self
            && let Some(cause) = &error.cause
        {
            act(cause);
        }
        if let Structured::Host(inner) = self {
            act(inner);
        }
    }
}

/// A regular expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegExp {
    /// The pattern.
    pub source: JsString,
    /// The flags, by V8's bits: 1 global, 2 ignore case, 4 multiline, 8 sticky, 16 unicode, 32 dot all.
    pub flags: u32,
}

/// An error.
#[derive(Debug, Clone, PartialEq)]
pub struct JsError {
    /// The name of the constructor: `Error`, `EvalError`, `RangeError`, `ReferenceError`, `SyntaxError`,
    /// `TypeError` or `URIError`.
    pub name: String,
    /// The message.
    pub message: Option<JsString>,
    /// The cause.
    pub cause: Option<Structured>,
    /// The stack.
    pub stack: Option<JsString>,
}

/// The kind of a view of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "they have JavaScript's names")]
pub enum ViewKind {
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    DataView,
    Buffer,
    BigInt64Array,
    BigUint64Array,
    Float16Array,
    /// A later kind, by Node's number.
    Other(u32),
}

/// The kinds in the order of Node's numbers.
const VIEWS: [ViewKind; 14] = [
    ViewKind::Int8Array,
    ViewKind::Uint8Array,
    ViewKind::Uint8ClampedArray,
    ViewKind::Int16Array,
    ViewKind::Uint16Array,
    ViewKind::Int32Array,
    ViewKind::Uint32Array,
    ViewKind::Float32Array,
    ViewKind::Float64Array,
    ViewKind::DataView,
    ViewKind::Buffer,
    ViewKind::BigInt64Array,
    ViewKind::BigUint64Array,
    ViewKind::Float16Array,
];

impl ViewKind {
    fn of(number: u32) -> Self {
        VIEWS.get(number as usize).copied().unwrap_or(ViewKind::Other(number))
    }

    fn number(self) -> u32 {
        let known = VIEWS.iter().zip(0..).find(|(kind, _)| **kind == self).map(|(_, number)| number);
        if let ViewKind::Other(number) = self { number } else { known.unwrap_or(u32::MAX) }
    }
}
