//! The connection of a client: the actions that are in flight to the server.

use std::collections::VecDeque;

use crate::Actor;

/// The actions of a client that the server has not received yet, by row.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// The process with the other end.
    pub(super) server: Option<Actor>,
    pub(super) connect: Option<usize>,
    /// The row and the number of bytes.
    pub(super) sent: VecDeque<(usize, usize)>,
    pub(super) end: Option<usize>,
}

impl Connection {
    /// Receives a number of bytes, or the end. Returns the rows of the actions that have arrived.
    pub(super) fn arrives(&mut self, bytes: Option<usize>) -> Vec<usize> {
        let Some(mut left) = bytes else { return self.end.take().into_iter().collect() };
        let mut rows = Vec::new();
        while left > 0
            && let Some((row, waiting)) = self.sent.front_mut()
        {
            rows.push(*row);
            let taken = left.min(*waiting);
            (left, *waiting) = (left - taken, *waiting - taken);
            if *waiting == 0 {
                self.sent.pop_front();
            }
        }
        rows
    }

    /// The rows of the actions that never arrived.
    pub(super) fn rest(self) -> impl Iterator<Item = usize> {
        self.connect.into_iter().chain(self.sent.into_iter().map(|(row, _)| row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_match_the_rows_of_sends() {
        let mut connection =
            Connection { sent: [(1, 5), (2, 5)].into(), end: Some(3), ..Connection::default() };
        assert_eq!(connection.arrives(Some(3)), [1]);
        assert_eq!(connection.arrives(Some(4)), [1, 2]);
        assert_eq!(connection.arrives(None), [3]);
        assert_eq!(connection.rest().collect::<Vec<_>>(), [2]);
    }
}
