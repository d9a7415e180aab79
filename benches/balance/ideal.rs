//! The ideal: one queue of requests for all workers. A free worker takes the first slice of the queue, so no
//! worker is idle while a request waits. No policy of a cluster can do this, because a connection belongs to
//! the worker that has accepted the connection.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::load::{Case, Client, WORKERS};
use super::outcome::Outcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Occurrence {
    /// A client sends its next request.
    Ask(usize),
    /// A worker has run a slice of a request of this client.
    SliceEnd(u32, usize),
}

struct Queue<'a> {
    case: &'a Case,
    agenda: BinaryHeap<Reverse<(u64, u64, Occurrence)>>,
    occurrences: u64,
    waiting: VecDeque<usize>,
    /// The workers without work. Workers of full speed are the last, and the next to take work.
    free: Vec<u32>,
    /// The time of the last request, and the work that is left, by client.
    states: Vec<(u64, u64)>,
}

/// The waiting times of the ideal.
pub(crate) fn run(case: &Case, mut clients: Vec<Client>) -> Outcome {
    let mut queue = Queue {
        case,
        agenda: BinaryHeap::new(),
        occurrences: 0,
        waiting: VecDeque::new(),
        free: (0..WORKERS).collect(),
        states: vec![(0, 0); clients.len()],
    };
    let mut outcome = Outcome::default();
    for (number, client) in clients.iter().enumerate() {
        queue.add(client.at, Occurrence::Ask(number));
    }
    while let Some(Reverse((now, _, occurrence))) = queue.agenda.pop() {
        match occurrence {
            Occurrence::Ask(number) => {
                queue.states[number] = (now, clients[number].requests[0].work);
                queue.waiting.push_back(number);
            }
            Occurrence::SliceEnd(worker, number) => {
                queue.free.push(worker);
                queue.free.sort_by_key(|worker| Reverse(case.slowness(*worker)));
                if queue.states[number].1 > 0 {
                    queue.waiting.push_back(number);
                } else {
                    queue.answered(now, worker, number, &mut clients, &mut outcome);
                }
            }
        }
        queue.start(now);
    }
    outcome
}

impl Queue<'_> {
    fn add(&mut self, at: u64, occurrence: Occurrence) {
        self.occurrences += 1;
        self.agenda.push(Reverse((at, self.occurrences, occurrence)));
    }

    fn answered(
        &mut self,
        now: u64,
        worker: u32,
        number: usize,
        clients: &mut [Client],
        outcome: &mut Outcome,
    ) {
        let requests = &mut clients[number].requests;
        let Some(request) = requests.pop_front() else { return };
        outcome.answered(worker, now - self.states[number].0 - request.work);
        if let Some(next) = requests.front() {
            self.add(now + next.pause, Occurrence::Ask(number));
        }
    }

    /// Gives the queue to the free workers.
    fn start(&mut self, now: u64) {
        while let (Some(&worker), Some(&number)) = (self.free.last(), self.waiting.front()) {
            self.free.pop();
            self.waiting.pop_front();
            let left = &mut self.states[number].1;
            let slice = self.case.slice.min(*left);
            *left -= slice;
            self.add(now + slice * self.case.slowness(worker), Occurrence::SliceEnd(worker, number));
        }
    }
}
