//! The kernel and the checks, for hooks. The access records whether a hook uses them: the effect of a hook
//! without any use depends only on the process.

use std::cell::Cell;

use crate::check::Checks;
use crate::cow::CowArc;
use crate::kernel::Kernel;

/// The kernel and the checks in a hook.
#[derive(Debug)]
pub(crate) struct KernelAccess<'a> {
    kernel: &'a mut Kernel,
    checks: &'a mut CowArc<Checks>,
    is_used: Cell<bool>,
}

impl<'a> KernelAccess<'a> {
    pub(crate) fn new(kernel: &'a mut Kernel, checks: &'a mut CowArc<Checks>) -> Self {
        KernelAccess { kernel, checks, is_used: Cell::new(false) }
    }

    pub(crate) fn is_used(&self) -> bool {
        self.is_used.get()
    }

    pub(super) fn kernel(&self) -> &Kernel {
        self.is_used.set(true);
        self.kernel
    }

    pub(super) fn kernel_mut(&mut self) -> &mut Kernel {
        self.is_used.set(true);
        self.kernel
    }

    pub(super) fn checks(&mut self) -> &mut CowArc<Checks> {
        self.is_used.set(true);
        self.checks
    }
}
