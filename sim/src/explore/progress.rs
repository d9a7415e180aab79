//! The progress of a run towards the wanted observations: the number that each observer has recorded, and the
//! objects that the names stand for.

/// The progress on one path.
#[derive(Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Progress {
    made: Vec<usize>,
    /// The object of each name; `None`: no observation has used the name.
    objects: Vec<Option<u64>>,
}

impl Clone for Progress {
    fn clone(&self) -> Self {
        Progress { made: self.made.clone(), objects: self.objects.clone() }
    }

    /// Reuses the allocations of `self`.
    fn clone_from(&mut self, other: &Self) {
        self.made.clone_from(&other.made);
        self.objects.clone_from(&other.objects);
    }
}

impl Progress {
    /// The progress before the first observation.
    pub(super) fn new(observers: usize) -> Self {
        Progress { made: vec![0; observers], objects: Vec::new() }
    }

    /// The number of wanted observations that an observer has recorded.
    pub(super) fn of(&self, observer: usize) -> usize {
        self.made[observer]
    }

    /// The number for every observer, in order.
    pub(super) fn all(&self) -> &[usize] {
        &self.made
    }

    /// The object of each name.
    pub(super) fn objects(&self) -> &[Option<u64>] {
        &self.objects
    }

    /// The number of lines of all observers together.
    pub(super) fn total(&self) -> usize {
        self.made.iter().sum()
    }

    /// An observer has recorded the next wanted observation.
    pub(super) fn advance(&mut self, observer: usize) {
        self.made[observer] += 1;
    }

    /// Whether a name can stand for the object: each name stands for one object, and each object has one
    /// name. If so, the name stands for the object from then on.
    pub(super) fn binds(&mut self, name: u32, object: u64) -> bool {
        let name = name as usize;
        if self.objects.len() <= name {
            self.objects.resize(name + 1, None);
        }
        let is_named = |&(other, bound): &(usize, &Option<u64>)| other != name && *bound == Some(object);
        let is_free = !self.objects.iter().enumerate().any(|named| is_named(&named));
        is_free && *self.objects[name].get_or_insert(object) == object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_objects_correspond() {
        let mut progress = Progress::new(1);
        assert!(progress.binds(2, 4001) && progress.binds(1, 4000) && progress.binds(2, 4001));
        assert!(!progress.binds(2, 4000) && !progress.binds(3, 4001));
        assert!(progress.binds(3, 4002));
    }
}
