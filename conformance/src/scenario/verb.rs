//! The declaration of verbs: an enum with one variant for each verb. The notation in files, the validation,
//! the resolution of arguments and the tables of the manual follow from the declaration. Each arm performs
//! the verbs in one `match`.

use std::collections::BTreeMap;

use super::error::ValidationError;
use super::listen::{Bind, Listen, Open};
use super::token::{ServerName, Signal, Target, Text, Token};
use super::{Policy, Setup};
use crate::pattern::LinePattern;

/// A property of a verb itself, rather than of its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property {
    /// No action follows, because the process ends.
    Ends,
    /// The verb needs the connection of the observation or of the client.
    OnConnection,
    /// The verb opens the connection of a client.
    Connects,
}

/// A part of an argument that depends on other places of the file, or on the run.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// The name of a server that the verb opens.
    Opens(&'a Token),
    /// A server that another action opens.
    Server(&'a mut ServerName),
    /// The connection of the observation.
    Connection,
    /// A worker.
    Worker(&'a mut Target),
    /// A text with `$worker`.
    Text(&'a mut Text),
    /// A variable for a worker, with `$port`.
    Variable(&'a mut Token),
}

/// The argument of a verb.
pub(crate) trait Argument {
    /// Visits the parts.
    fn visit(&mut self, _visitor: &mut dyn FnMut(Part<'_>)) {}

    /// Finds errors within the argument.
    fn check(&self) -> Result<(), ValidationError> {
        Ok(())
    }
}

/// A verb with its argument.
pub(crate) trait ScenarioVerb: Clone {
    /// For each verb, the lines of its documentation: an example, a colon, and the effect.
    #[cfg(test)]
    const MANUAL: &[&[&str]];

    /// The position of the verb in the declaration.
    #[cfg(test)]
    fn number(&self) -> usize;

    /// The properties of the verb.
    fn properties(&self) -> &'static [Property];

    /// The argument.
    fn argument(&mut self) -> Option<&mut dyn Argument>;

    /// Completes the parts of the argument.
    fn complete(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        if let Some(argument) = self.argument() {
            argument.visit(visitor);
        }
    }

    /// Reads the parts of the argument. Works on a copy, so that the visitor for changes also serves readers.
    fn read(&self, visitor: &mut dyn FnMut(Part<'_>)) {
        self.clone().complete(visitor);
    }

    /// Finds errors within the argument.
    fn check(&self) -> Result<(), ValidationError> {
        self.clone().argument().map_or(Ok(()), |argument| argument.check())
    }

    /// Whether the verb has this property.
    fn has(&self, property: Property) -> bool {
        self.properties().contains(&property)
    }
}

/// Declares verbs: documentation, properties in brackets, the name, and the argument.
macro_rules! verbs {
    ($(#[$meta:meta])* pub enum $name:ident { $(
        $(#[doc = $doc:literal])+
        $([$($property:ident),+])?
        $verb:ident $(($argument:ident: $(#[$read:meta])* $kind:ty))?,
    )+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        pub enum $name { $(
            $(#[doc = $doc])+
            $verb $(($(#[$read])* $kind))?,
        )+ }

        impl $crate::scenario::verb::ScenarioVerb for $name {
            #[cfg(test)]
            const MANUAL: &[&[&str]] = &[$(&[$($doc),+]),+];

            #[cfg(test)]
            fn number(&self) -> usize {
                let mut is_this = [$(matches!(self, $name::$verb { .. })),+].into_iter();
                is_this.position(|is_this| is_this).expect("a verb is declared")
            }

            fn properties(&self) -> &'static [$crate::scenario::verb::Property] {
                match self { $(
                    $name::$verb { .. } => &[$($($crate::scenario::verb::Property::$property),+)?],
                )+ }
            }

            fn argument(&mut self) -> Option<&mut dyn $crate::scenario::verb::Argument> {
                match self { $(
                    $name::$verb $(($argument))? => {
                        let argument: Option<&mut dyn $crate::scenario::verb::Argument> = None;
                        $(let argument = argument.or(Some($argument));)?
                        argument
                    }
                )+ }
            }
        }
    };
}

/// Declares an argument. The fields must be arguments as well.
macro_rules! arguments {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$attr:meta])* pub $field:ident: $kind:ty,)+ })+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$attr])* pub $field: $kind,)+ }

        impl $crate::scenario::verb::Argument for $name {
            fn visit(&mut self, visitor: &mut dyn FnMut($crate::scenario::verb::Part<'_>)) {
                $($crate::scenario::verb::Argument::visit(&mut self.$field, visitor);)+
            }
        }
    )+ };
}

pub(super) use {arguments, verbs};

/// Declares arguments without parts.
macro_rules! plain {
    ($($type:ty),+) => { $(impl Argument for $type {})+ };
}

plain!(bool, i32, u32, u64, String, Token, Signal, Policy, LinePattern);

impl<T: Argument> Argument for Option<T> {
    fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        if let Some(argument) = self {
            argument.visit(visitor);
        }
    }
}

impl Argument for BTreeMap<String, Token> {
    fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        for value in self.values_mut() {
            visitor(Part::Variable(value));
        }
    }
}

impl Argument for Target {
    fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        visitor(Part::Worker(self));
    }
}

impl Argument for Text {
    fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        visitor(Part::Text(self));
    }
}

impl Argument for ServerName {
    fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        visitor(Part::Server(self));
    }
}

impl Argument for Open {
    fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        visitor(Part::Opens(&self.server));
    }
}

/// Declares the servers of workers as arguments.
macro_rules! worker_servers {
    ($($type:ty),+) => { $(
        impl Argument for $type {
            fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
                visitor(Part::Opens(&self.server));
                self.port_of.visit(visitor);
                self.fd_of.visit(visitor);
            }

            fn check(&self) -> Result<(), ValidationError> {
                self.check_form()
            }
        }
    )+ };
}

worker_servers!(Listen, Bind);

impl Argument for Setup {
    fn check(&self) -> Result<(), ValidationError> {
        self.check_channel()
    }
}
