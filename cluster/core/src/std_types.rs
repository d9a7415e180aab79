//! Conversions from and to types of `std`. No other part of the crate uses `std`, so the machines cannot
//! reach a clock or a socket by accident.

extern crate std;

use std::io;

use crate::os::Errno;

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        io::Error::from_raw_os_error(errno.0)
    }
}

#[cfg(unix)]
mod unix {
    use super::std::ffi::{OsStr, OsString};
    use super::std::os::unix::ffi::{OsStrExt, OsStringExt};
    use super::std::path::{Path, PathBuf};

    use crate::os_bytes::OsBytes;

    impl From<OsString> for OsBytes {
        fn from(text: OsString) -> Self {
            OsBytes::from(text.into_vec())
        }
    }

    impl From<&OsStr> for OsBytes {
        fn from(text: &OsStr) -> Self {
            OsBytes::from(text.as_bytes().to_vec())
        }
    }

    impl From<PathBuf> for OsBytes {
        fn from(path: PathBuf) -> Self {
            OsBytes::from(path.into_os_string())
        }
    }

    impl From<&Path> for OsBytes {
        fn from(path: &Path) -> Self {
            OsBytes::from(path.as_os_str())
        }
    }

    impl From<&PathBuf> for OsBytes {
        fn from(path: &PathBuf) -> Self {
            OsBytes::from(path.as_path())
        }
    }

    impl AsRef<OsStr> for OsBytes {
        fn as_ref(&self) -> &OsStr {
            OsStr::from_bytes(self.as_bytes())
        }
    }

    impl AsRef<Path> for OsBytes {
        fn as_ref(&self) -> &Path {
            Path::new(OsStr::from_bytes(self.as_bytes()))
        }
    }
}
