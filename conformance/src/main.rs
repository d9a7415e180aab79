//! The command, for now only what is needed to record: `conformance SCENARIO IDLE LOADED`. It decides nothing itself.

use std::path::Path;

use cluster_conformance::arm::node::Runtime;
use cluster_conformance::fixture::{self, Fixture, Load};
use cluster_conformance::scenario::{self, Scenario};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [wanted, idle, loaded] = args.as_slice() else { return Err("SCENARIO IDLE LOADED".into()) };
    let node = Runtime::find(Path::new("node"))?;
    for scenario in Scenario::all(Path::new(scenario::DIRECTORY))? {
        if wanted != "all" && *wanted != scenario.name {
            continue;
        }
        let mut fixture = Fixture::new(&scenario.name, &node.name());
        node.record(&scenario, idle.parse()?, Load::Idle, &mut fixture, || ())?;
        node.record(&scenario, loaded.parse()?, Load::Loaded, &mut fixture, || ())?;
        fixture.save(&Path::new(fixture::DIRECTORY).join(node.directory()))?;
        println!("{} {:?}", scenario.name, fixture.traces.iter().map(|t| t.seen.clone()).collect::<Vec<_>>());
    }
    Ok(())
}
