//! How errors are shown to who prints them unread. It makes none.

/// When `main` returns an error, the runtime prints its `Debug`: here the text of the error and those of its sources.
/// For the errors of this project's libraries.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_display {
    ($($error:ty),+ $(,)?) => {
        $(impl ::core::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)?;
                let mut source = ::core::error::Error::source(self);
                while let Some(error) = source {
                    ::core::write!(f, ": {error}")?;
                    source = error.source();
                }
                ::core::result::Result::Ok(())
            }
        })+
    };
}
