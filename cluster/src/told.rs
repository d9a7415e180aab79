//! How the errors of this crate are shown. It makes none.

/// A program whose `main` returns an error prints its `Debug`: it reads as what a person is told, advice included.
macro_rules! debug_as_display {
    ($($error:ty),+ $(,)?) => {
        $(impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        })+
    };
}

debug_as_display!(
    crate::JoinError,
    crate::ListenError,
    crate::NoRuntime,
    crate::NotSent,
    crate::PrimaryError,
    crate::RemoteError,
    crate::RoleError,
);
