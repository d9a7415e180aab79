//! How errors are shown to who prints them unread. It makes none.

/// A program whose `main` returns an error prints its `Debug`: it reads as what a person is told, advice included.
/// For the errors of this project's libraries; nobody else needs it.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_display {
    ($($error:ty),+ $(,)?) => {
        $(impl ::core::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)
            }
        })+
    };
}

// Not those that an event carries: a trace names them.
debug_as_display!(crate::ForkError, crate::PolicyFrozen, crate::SendError);
