//! How the errors of this crate are shown: as those of the machines. It makes none.

cluster_core::debug_as_display!(
    crate::JoinError,
    crate::ListenError,
    crate::NoRuntime,
    crate::NotSent,
    crate::PrimaryError,
    crate::RemoteError,
    crate::RoleError,
);
