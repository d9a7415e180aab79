//! The page of a run in a real browser, as its readers have it: what it shows, and what happens when they click and type.

mod browser;
mod page;
