//! A value of JavaScript's as the structured clone has it: what a message of [`Serialization::Advanced`] holds.
//! Reading one is in `read`, writing one in `write`, giving one to a type of the program's in `de`.
//!
//! [`Serialization::Advanced`]: crate::Serialization::Advanced

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

mod de;
mod read;
mod text;
mod write;

pub(crate) use de::to;
pub(crate) use read::read;
pub use text::{BigInt, JsString, OutOfRange};
pub(crate) use write::write;

/// How deep a value may be: it is dropped, compared and printed level by level.
pub(crate) const LEVELS: usize = 128;

/// A value of JavaScript's: what [`Message::structured`](crate::Message::structured) reads and
/// [`Message::from_structured`](crate::Message::from_structured) writes, every type and every reference kept.
///
/// Bytes are shared with the message they were read from. A value takes at most 128 bytes of memory for each byte that it
/// was read from, one of bytes alone none.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Structured {
    /// `undefined`.
    Undefined,
    /// An element that an array does not have.
    Hole,
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A big integer.
    BigInt(BigInt),
    /// A text.
    String(JsString),
    /// A `Date`, in milliseconds since 1970; NaN for an invalid one.
    Date(f64),
    /// A `Boolean`, `Number`, `String` or `BigInt` object, around its value.
    Boxed(Box<Structured>),
    /// A regular expression.
    RegExp(Box<RegExp>),
    /// An array, and what it has besides its elements.
    Array(Vec<Structured>, Vec<(JsString, Structured)>),
    /// An array of this length, mostly holes: its elements by their index, and what it has besides.
    SparseArray(u32, Vec<(JsString, Structured)>),
    /// A plain object, its members in their order.
    Object(Vec<(JsString, Structured)>),
    /// A `Map`, its entries in their order.
    Map(Vec<(Structured, Structured)>),
    /// A `Set`, its values in their order.
    Set(Vec<Structured>),
    /// An `ArrayBuffer`, and the length it may grow to if it is resizable.
    ArrayBuffer(Bytes, Option<u64>),
    /// A typed array, a `Buffer` or a `DataView`; numbers are little-endian.
    View(ViewKind, Bytes),
    /// An error.
    Error(Box<JsError>),
    /// An object of Node's own, such as a key, which arrives as a plain one.
    Host(Box<Structured>),
    /// An object of this value that began before, by its number: objects are numbered from 0 as they begin. All but
    /// `undefined`, a hole, `null`, a boolean, a number, a big integer, a text and a reference are objects.
    Reference(u32),
}

impl Structured {
    /// Whether a reference may mean it.
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

    /// The values inside of this one, in their order.
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
    /// Its constructor: `Error`, `EvalError`, `RangeError`, `ReferenceError`, `SyntaxError`, `TypeError` or `URIError`.
    pub name: String,
    /// Its message.
    pub message: Option<JsString>,
    /// Its cause.
    pub cause: Option<Structured>,
    /// Its stack.
    pub stack: Option<JsString>,
}

/// What a view of bytes is.
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
    /// One that came later, by Node's number.
    Other(u32),
}

/// By Node's numbers.
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
