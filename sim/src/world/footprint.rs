//! The footprint of a step of a world: the footprint in the kernel, together with the processes, the driver
//! and the log.

use super::{State, World};
use crate::kernel::object_set::{Footprint, ObjectSet};
use crate::program::Program;
use crate::running_process::NextAction;
use crate::step::Pid;
use crate::step::Step;

impl<P: Program> World<P> {
    /// The footprint of `step`. The step has changed `before` into this world; `before` is an unchanged copy.
    pub(crate) fn footprint(&self, step: Step, before: &World<P>) -> Footprint {
        let (now, before) = (&self.state, &before.state);
        let mut footprint =
            if let Step::Run(pid) = step { call_of(before, pid) } else { Footprint::default() };
        footprint.reads |= before.kernel.read_by(step);
        footprint.writes |=
            now.kernel.written_since(&before.kernel) | now.running.written_since(&before.running);
        if now.kernel.lookups != before.kernel.lookups {
            footprint.reads = ObjectSet::ALL;
        }
        let faults = *before.schedule.faults();
        if !faults.is_none() {
            footprint.reads |= ObjectSet::FAULTS;
        }
        for (is_written, object) in [
            (now.driver != before.driver, ObjectSet::DRIVER),
            (now.log.len() != before.log.len(), ObjectSet::LOG_WRITTEN),
            (now.log.read() != before.log.read(), ObjectSet::LOG_READ),
            (*now.schedule.faults() != faults, ObjectSet::FAULTS),
        ] {
            if is_written {
                footprint.writes |= object;
            }
        }
        footprint
    }
}

fn call_of<P>(state: &State<P>, pid: Pid) -> Footprint {
    match state.running.next(pid) {
        Some(NextAction::Call(call)) => state.kernel.footprint_of(pid, call),
        Some(
            NextAction::Begin
            | NextAction::Primary(_)
            | NextAction::Supervisor(_)
            | NextAction::Worker(_)
            | NextAction::Resume(_)
            | NextAction::Exit(_),
        )
        | None => Footprint::default(),
    }
}

#[cfg(test)]
mod tests {
    use cluster_core::{Event, LocalAddress, Primary, Settings, Signal, Worker, WorkerEvent, WorkerId};

    use crate::cow::fingerprint;
    use crate::program::Program;
    use crate::scenarios::{RandomProgram, ReplyServer, Scenario};
    use crate::step::Step;
    use crate::world::World;
    use crate::{Actor, ClientEvent, ClientId, Driver, Fault, Faults, Process, Schedule, SocketEvent};

    /// The standard program, with a driver that uses every operation in turn.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct InterferingDriver {
        serve: ReplyServer,
        turn: u32,
    }

    impl InterferingDriver {
        fn interfere(&mut self, driver: &mut Driver<'_>) {
            let worker = Actor::Worker(WorkerId(1 + u64::from(self.turn % 2)));
            let at = LocalAddress::Ip(([127, 0, 0, 1], 40_001).into());
            self.turn += 1;
            match self.turn % 7 {
                0 => driver.kill(worker, Signal::SIGKILL),
                1 => driver.limit_descriptors(worker, Some(1)),
                2 => driver.limit_descriptors(Actor::Primary, Some(4)),
                3 => self.turn += driver.backlog(at).unwrap_or(0),
                4 => self.turn += driver.mode("/nowhere").unwrap_or(0),
                5 => driver.limit_descriptors(Actor::Primary, None),
                _ => driver.occupy(1 + u16::try_from(self.turn).unwrap_or(0)),
            }
        }
    }

    impl Program for InterferingDriver {
        fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
            self.serve.primary_start(primary, process);
        }

        fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
            self.serve.primary_event(primary, process, event);
        }

        fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
            self.serve.worker_start(worker, process);
        }

        fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
            self.serve.worker_event(worker, process, event);
        }

        fn worker_socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
            self.serve.worker_socket(worker, process, event);
        }

        fn observed(&mut self, driver: &mut Driver<'_>, observer: Actor, text: &str) {
            self.serve.observed(driver, observer, text);
            self.interfere(driver);
        }

        fn notified(&mut self, driver: &mut Driver<'_>, author: Actor, text: &str) {
            self.serve.notified(driver, author, text);
        }

        fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
            self.serve.client_event(driver, client, event);
            self.interfere(driver);
        }

        fn driver_start(&mut self, driver: &mut Driver<'_>) {
            self.serve.driver_start(driver);
            driver.connect(1);
        }
    }

    /// The world after this step, if the step is enabled.
    fn after<P: Program>(world: &World<P>, step: Step) -> Option<World<P>> {
        let mut world = world.clone();
        let at = (0..world.refresh()).find(|&at| world.enabled(at) == step)?;
        world.schedule_mut().force(&[u32::try_from(at).ok()?]);
        world.step().expect("every check holds");
        Some(world)
    }

    /// Asserts that each pair of independent enabled steps has the same result in both orders; returns the
    /// number of pairs.
    fn pairs_commute<P: Program>(world: &mut World<P>) -> usize {
        let steps: Vec<Step> = (0..world.refresh()).map(|at| world.enabled(at)).collect();
        let done: Vec<_> = steps.iter().map(|&step| after(world, step).expect("an enabled step")).collect();
        let mut independent = 0;
        for (a, after_a) in done.iter().enumerate() {
            for (b, after_b) in done.iter().enumerate().skip(a + 1) {
                let footprints =
                    [(a, after_a), (b, after_b)].map(|(n, after)| after.footprint(steps[n], world));
                if footprints[0].is_independent_of(footprints[1]) {
                    let both = [after(after_a, steps[b]), after(after_b, steps[a])];
                    let prints = both.map(|both| both.map(|both| fingerprint(&(&both, both.checks()))));
                    let is_same = prints[0].is_some() && prints[0] == prints[1];
                    assert!(is_same, "{:?} and {:?}: {footprints:?}", steps[a], steps[b]);
                    independent += 1;
                }
            }
        }
        independent
    }

    fn walk<P: Program>(start: &World<P>, seed: u64) -> usize {
        let mut guide = Schedule::seed(seed);
        let mut world = start.clone().searched();
        let mut independent = 0;
        loop {
            independent += pairs_commute(&mut world);
            let n = world.refresh();
            if n == 0 {
                return independent;
            }
            let step = world.enabled(guide.choose(crate::Point::Step, n));
            world = after(&world, step).expect("an enabled step");
        }
    }

    #[test]
    fn independent_steps_commute() {
        let kill = Faults::only(&[Fault::Kill]).limit(1);
        let serve = Scenario::new(ReplyServer::new(2, 2)).world();
        let plans = ["plan-3-2-..d1s2.k3-.lcs", "plan-2-2-...k1..a-s.d+keep", "plan-2-2-..x-.l.z+shared"];
        let plans =
            plans.map(|name| name.parse::<Scenario<RandomProgram>>().expect("a scenario name").world());
        let interferer =
            |turn| World::new(InterferingDriver { serve: ReplyServer::new(2, 2), turn }, Settings::default());
        let mut independent = 0;
        for seed in 0..100 {
            independent += (0..7).map(|turn| walk(&interferer(turn), seed)).sum::<usize>();
            independent += walk(&serve, seed) + walk(&serve.clone().with_faults(kill), seed);
            independent += plans.iter().map(|plan| walk(plan, seed)).sum::<usize>();
        }
        assert!(independent > 10_000, "{independent}");
    }
}
