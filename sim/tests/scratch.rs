//! scratch
use cluster_core::*;
use cluster_sim::*;
#[test]
fn line() {
    let Ok(line) = std::env::var("LINE") else { return };
    let line: cluster_sim::replay::Line = line.parse().unwrap();
    let replayed = line.replay(cluster_sim::standard::world().traced());
    println!("{}\n{:?} {:?}", replayed.world.trace().unwrap(), replayed.outcome, replayed.left);
}
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct P;
impl Program for P {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork(vec![]);
    }
    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        if let Event::Message { worker, message } = event { process.observe(message.to_string()); if message == "c" { primary.disconnect(worker) } }
    }
    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        for m in ["a", "b", "c"] {
            worker.send(&m.into()).unwrap();
        }
    }
}
#[test]
fn order() {
    let mut world = World::new(P, Settings::default()).traced();
    let o = world.run();
    println!("{}\n{:?}", world.trace().unwrap(), o);
}
#[test]
fn search() {
    use cluster_sim::explore::*;
    let mut total = std::time::Duration::ZERO;
    for seed in 0..60u64 {
        let mut world = standard::world().on(Schedule::seed(seed));
        world.run().unwrap();
        let wanted = observed(world.observations()); println!("{}", wanted.iter().map(|(a, t)| format!("{a}: {}", t.join(", "))).collect::<Vec<_>>().join(" / "));
        let at = std::time::Instant::now();
        let r = reaches(&standard::world(), &wanted, 200_000);
        total += at.elapsed();
        match r {
            Reached::Yes(c) => {
                println!("{seed} yes {} {:?}", c.len(), at.elapsed());
                let mut w = standard::world().on(Schedule::replay(c));
                w.run().unwrap();
                assert_eq!(observed(w.observations()), wanted);
            }
            other => println!("{seed} {:?} {other:?}", at.elapsed()),
        }
    }
    println!("{total:?}");
}
#[test]
fn impossible() {
    use cluster_sim::explore::*;
    let mut world = standard::world().on(Schedule::seed(1));
    world.run().unwrap();
    let mut wanted = observed(world.observations());
    let list = wanted.get_mut(&Actor::Primary).unwrap();
    let at = list.iter().position(|t| t == "all disconnected").unwrap();
    list.remove(at);
    let at = std::time::Instant::now();
    println!("{:?} {:?}", reaches(&standard::world(), &wanted, 1_000_000), at.elapsed());
    wanted.get_mut(&Actor::Client(ClientId(1))).unwrap().insert(0, "refused".into());
    let at = std::time::Instant::now();
    println!("{:?} {:?}", reaches(&standard::world(), &wanted, 1_000_000), at.elapsed());
}
