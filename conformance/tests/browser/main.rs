//! The page of a run in a real browser: its content, and the effect of clicks and keys.

mod browser;
mod page;
