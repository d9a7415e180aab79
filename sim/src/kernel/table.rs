//! A table of the kernel. The copies of a world share a row until one copy changes the row.
//!
//! A change of a row marks the dependencies of steps on the row. The comparison of two tables finds the
//! changed rows.

use std::hash::{Hash, Hasher};

use super::object_set::ObjectSet;
use super::ready::Dependencies;
use crate::cow::CowArc;

/// Rows, counted from 0. No row is removed.
#[derive(Debug, Clone)]
pub(super) struct Table<T> {
    rows: CowArc<Vec<CowArc<T>>>,
    /// The dependencies that have changed since the ready steps were last refreshed.
    touched: Dependencies,
}

impl<T> FromIterator<T> for Table<T> {
    fn from_iter<I: IntoIterator<Item = T>>(rows: I) -> Self {
        let rows: Vec<CowArc<T>> = rows.into_iter().map(CowArc::from).collect();
        Table { rows: rows.into(), touched: Dependencies::NONE }
    }
}

/// The hash covers only the rows.
impl<T: Hash> Hash for Table<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rows.hash(state);
    }
}

impl<T> Table<T> {
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.rows.get(at).map(|row| &**row)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.rows.iter().map(|row| &**row)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Copies `other`, and reuses the memory of `self`.
    pub(super) fn copy_from(&mut self, other: &Table<T>) {
        self.rows.clone_from(&other.rows);
        self.touched = other.touched;
    }

    /// Marks dependencies as changed.
    pub(super) fn touch(&mut self, depends: Dependencies) {
        self.touched |= depends;
    }

    /// Takes the dependencies that have changed since the last call.
    pub(super) fn take_touched(&mut self) -> Dependencies {
        std::mem::take(&mut self.touched)
    }

    /// The objects of the rows that differ from `before`, a copy from before the step. `changes` names the
    /// objects of a changed row, from the old and the new value. A new row also changes the counter of rows.
    pub(super) fn written_since(
        &self,
        before: &Table<T>,
        changes: impl Fn(usize, &T, Option<&T>) -> ObjectSet,
    ) -> ObjectSet {
        if self.rows.is_shared_with(&before.rows) {
            return ObjectSet::NONE;
        }
        let numbers = if self.len() == before.len() { ObjectSet::NONE } else { ObjectSet::NUMBERS };
        let rows = self.rows.iter().enumerate().map(|(at, now)| match before.rows.get(at) {
            Some(before) if now.is_shared_with(before) => ObjectSet::NONE,
            before => changes(at, now, before.map(|row| &**row)),
        });
        rows.chain([numbers]).collect()
    }
}

impl<T: Clone> Table<T> {
    /// A row, for a change. `depends` are the dependencies of steps on the row.
    pub(super) fn get_mut(&mut self, at: usize, depends: Dependencies) -> Option<&mut T> {
        self.touched |= depends;
        self.rows.get_mut(at).map(|row| &mut **row)
    }

    pub(super) fn push(&mut self, row: T) {
        self.rows.push(row.into());
    }
}

impl<T> std::ops::Index<usize> for Table<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.rows[at]
    }
}
