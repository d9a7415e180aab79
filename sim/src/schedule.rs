//! The only source of choices. A seed, priorities, bytes, a list or a script decides, and every choice is
//! recorded.
//!
//! Choice 0 is what a quiet first-in-first-out machine does. A single alternative is no choice, and is not
//! recorded. The schedule receives only the [`Point`] of a choice, and not its meaning.

use crate::fault::{Fault, Faults};
use crate::numbers::Numbers;
use crate::step::Step;
use script::{Player, Recorder, Script};

mod independent;
mod pct;
pub(crate) mod script;

use independent::Independent;
use pct::Pct;

/// The kind of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// The next enabled step. 0 is the step of the running process or, if there is none, the oldest step.
    Step,
    /// The number of queued writes in one read. 0: all.
    Writes,
    /// The number of bytes of an incomplete read or write.
    Bytes,
    /// Whether a fault strikes. 0: no.
    Fault(Fault),
    /// The error number of a fault.
    Error,
    /// The receiver among sockets that share a port; or the timer that fires when the clock jumps.
    Target,
}

/// A choice that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Choice {
    /// The alternative, from 0.
    pub value: u32,
    /// The number of alternatives, at least two.
    pub of: u32,
}

/// The source of choices, the armed faults, and the choices made so far.
#[derive(Debug, Clone)]
pub struct Schedule {
    source: Source,
    armed: Faults,
    faults: Faults,
    struck: Vec<Fault>,
    taken: Vec<Choice>,
    recorder: Option<Box<Recorder>>,
}

#[derive(Debug, Clone)]
enum Source {
    Random(Random),
    Pct(Box<Pct>),
    Independent(Box<Independent>),
    Bytes {
        bytes: Vec<u8>,
        at: usize,
    },
    List {
        choices: Vec<u32>,
        at: usize,
    },
    /// One choice, then 0: the most frequent list in a search.
    One(u32),
    Script(Box<Player>),
}

impl Schedule {
    /// Always choice 0.
    pub fn quiet() -> Self {
        Schedule::replay(Vec::new())
    }

    /// Random choices, determined by `seed`.
    pub fn seed(seed: u64) -> Self {
        Schedule::from(Source::Random(Random::new(seed)))
    }

    /// [`seed`](Schedule::seed), but every process and client has a priority. `falls` times a run, the
    /// running process or client falls behind all others. Probabilistic concurrency testing: finds bugs that
    /// need few preemptions at the right places.
    pub fn pct(seed: u64, falls: u8) -> Self {
        Schedule::from(Source::Pct(Box::new(Pct::new(seed, falls))))
    }

    /// [`seed`](Schedule::seed), but each fault strikes by random numbers of its own, and a harmful fault one
    /// to three times. With [`Faults::independent`], no fault takes a strike from another.
    pub fn independent(seed: u64) -> Self {
        Schedule::from(Source::Independent(Box::new(Independent::new(seed))))
    }

    /// Choices of a fuzzer. Each choice takes a byte, or as many bytes as its alternatives need. After the
    /// last byte every choice is 0. Any bytes are a schedule.
    pub fn bytes(bytes: &[u8]) -> Self {
        Schedule::from(Source::Bytes { bytes: bytes.to_vec(), at: 0 })
    }

    /// The choices of a list. After the last choice of the list every choice is 0. A number beyond the last
    /// alternative means the last alternative.
    pub fn replay(choices: Vec<u32>) -> Self {
        Schedule::from(Source::List { choices, at: 0 })
    }

    fn from(source: Source) -> Self {
        // Allocates the length of most runs at once, because growing costs more.
        let none = Faults::none();
        Schedule {
            source,
            armed: none,
            faults: none,
            struck: Vec::new(),
            taken: Vec::with_capacity(64),
            recorder: None,
        }
    }

    /// The choices of a script.
    pub(crate) fn script(script: Script) -> Self {
        Schedule::from(Source::Script(Box::new(Player::new(script))))
    }

    /// Also records the run as a script.
    pub(crate) fn described(mut self) -> Self {
        self.recorder = Some(Box::default());
        self
    }

    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_deref()
    }

    /// The same schedule with these faults armed.
    #[must_use]
    pub(crate) fn with_faults(mut self, faults: Faults) -> Self {
        self.armed = faults;
        self.faults = faults;
        self
    }

    /// Chooses one of `n` alternatives.
    pub fn choose(&mut self, point: Point, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let of = u32::try_from(n).unwrap_or(u32::MAX);
        let value = match &mut self.source {
            Source::Random(random) => random.choose(point, of),
            Source::Pct(pct) => pct.random.choose(point, of),
            Source::Independent(independent) => independent.choose(point, of),
            Source::Bytes { bytes, at } => number(bytes, at, of),
            Source::List { choices, at } => {
                let value = choices.get(*at).copied().unwrap_or(0).min(of - 1);
                *at += 1;
                value
            }
            Source::One(value) => std::mem::take(value).min(of - 1),
            Source::Script(player) => player.choose(point).min(of - 1),
        };
        self.taken.push(Choice { value, of });
        if let (Some(recorder), true) = (&mut self.recorder, point != Point::Step) {
            recorder.choice(point, value);
        }
        value as usize
    }

    /// Chooses one of `n` enabled steps. `next` is a hash of the next action of the process of a step.
    pub(crate) fn choose_step(
        &mut self,
        n: usize,
        step: impl Fn(usize) -> Step,
        next: impl Fn(Step) -> u64,
    ) -> usize {
        let by_name = match &mut self.source {
            Source::Script(player) => Some(player.step(n, &step, &next)),
            Source::Pct(pct) => Some(pct.step(n, &step)),
            Source::Random(_)
            | Source::Independent(_)
            | Source::Bytes { .. }
            | Source::List { .. }
            | Source::One(_) => None,
        };
        let chosen = by_name.unwrap_or_else(|| self.choose(Point::Step, n));
        if by_name.is_some() && n > 1 {
            let [value, of] = [chosen, n].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
            self.taken.push(Choice { value, of });
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.step(n, step, next, chosen);
        }
        chosen
    }

    /// Whether a fault strikes. No choice is made for a fault that is not armed or has reached the limit.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        if !self.faults.may_strike(fault) || self.choose(Point::Fault(fault), 2) == 0 {
            return false;
        }
        self.faults.struck(fault);
        self.struck.push(fault);
        true
    }

    /// The faults that can still strike.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The armed faults of this schedule.
    pub fn armed(&self) -> Faults {
        self.armed
    }

    /// The faults that have struck, in order.
    pub fn struck(&self) -> &[Fault] {
        &self.struck
    }

    /// Every choice so far.
    pub fn taken(&self) -> &[Choice] {
        &self.taken
    }

    /// Copies the faults of another schedule of the same search. The caller sets the choices next, with
    /// `force`.
    pub(crate) fn copy_from(&mut self, other: &Schedule) {
        (self.armed, self.faults) = (other.armed, other.faults);
        self.force(&[]);
    }

    /// Replaces the choices and clears the record. A search continues a world in this way.
    pub(crate) fn force(&mut self, list: &[u32]) {
        self.taken.clear();
        self.struck.clear();
        self.source = match list {
            [] => Source::One(0),
            [one] => Source::One(*one),
            list => Source::List { choices: list.to_vec(), at: 0 },
        };
    }
}

/// A number below `of`, from the next bytes.
fn number(bytes: &[u8], at: &mut usize, of: u32) -> u32 {
    let mut number = 0_u64;
    let mut most = 1_u64;
    while most < u64::from(of) {
        number = number << 8 | u64::from(bytes.get(*at).copied().unwrap_or(0));
        most <<= 8;
        *at += 1;
    }
    u32::try_from(number % u64::from(of)).expect("a number below `of`")
}

/// The number of kinds of faults in the first version of the simulator. The odds of later kinds are drawn
/// from a copy of the generator, so a seed keeps its run when a kind is added.
const FIRST_FAULTS: usize = 10;

/// The first kind of fault with a generator of its own.
const FIRST_SEPARATE: usize = Fault::Reexec as usize;

/// Random choices. Each run draws its odds once: for the running process to continue, and for each fault to
/// strike.
#[derive(Debug, Clone)]
struct Random {
    numbers: Numbers,
    /// Random numbers for the strikes of each fault from [`FIRST_SEPARATE`] on: a seed keeps its run when
    /// such a fault is added and does not strike. A run without a failure is the same with and without
    /// re-execs.
    separate: [Numbers; Fault::ALL.len() - FIRST_SEPARATE],
    sticky_percent: u32,
    fault_odds: [u32; Fault::ALL.len()],
}

impl Random {
    fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let sticky_percent = numbers.pick([0, 50, 90, 97]);
        let mut fault_odds = [0; Fault::ALL.len()];
        let (first, later) = Fault::ALL.split_at(FIRST_FAULTS);
        for &fault in first {
            fault_odds[fault as usize] = numbers.pick(fault.odds());
        }
        let mut aside = numbers.clone();
        let separate = later.iter().filter_map(|&fault| {
            fault_odds[fault as usize] = aside.pick(fault.odds());
            (fault as usize >= FIRST_SEPARATE).then(|| aside.distant())
        });
        let separate: Vec<Numbers> = separate.collect();
        let separate = separate.try_into().expect("a generator for each separate fault");
        Random { numbers, separate, sticky_percent, fault_odds }
    }

    fn choose(&mut self, point: Point, n: u32) -> u32 {
        match point {
            Point::Step if self.numbers.below(100) < self.sticky_percent => 0,
            Point::Writes if self.numbers.below(2) == 0 => 0,
            Point::Fault(fault) => {
                let separate = (fault as usize).checked_sub(FIRST_SEPARATE);
                let numbers = separate.map_or(&mut self.numbers, |at| &mut self.separate[at]);
                u32::from(numbers.below(self.fault_odds[fault as usize]) == 0)
            }
            Point::Step | Point::Writes | Point::Bytes | Point::Error | Point::Target => {
                self.numbers.below(n)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(schedule: &mut Schedule) -> Vec<usize> {
        (1..50).map(|n| schedule.choose(Point::Bytes, n)).collect()
    }

    #[test]
    fn recorded_run_replays() {
        let mut first = Schedule::seed(7);
        let drawn = draw(&mut first);
        let list = first.taken().iter().map(|choice| choice.value).collect();
        assert_eq!(drawn, draw(&mut Schedule::replay(list)));
        assert_ne!(drawn, draw(&mut Schedule::seed(8)));
        assert_eq!(first.taken().len(), 48, "a single alternative is not recorded");
    }

    #[test]
    fn bytes_are_choices() {
        let mut schedule = Schedule::bytes(&[7, 1, 2, 3]);
        assert_eq!([4, 1000, 256, 2].map(|n| schedule.choose(Point::Bytes, n)), [3, 258, 3, 0]);
    }

    #[test]
    fn list_continues_with_zeros() {
        let mut schedule = Schedule::replay(vec![9, 1]);
        assert_eq!([4, 2, 2].map(|n| schedule.choose(Point::Step, n)), [3, 1, 0]);
    }

    #[test]
    fn faults_strike_within_the_limit() {
        let mut schedule = Schedule::replay(vec![1; 9]).with_faults(Faults::only(&[Fault::Kill]).limit(2));
        assert!(!schedule.strikes(Fault::AcceptFailure));
        assert_eq!([(); 3].map(|()| schedule.strikes(Fault::Kill)), [true, true, false]);
        assert_eq!(schedule.taken().len(), 2);
    }
}
