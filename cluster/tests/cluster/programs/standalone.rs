//! Primaries as separate processes. The variable STANDALONE selects the program. Each event is a line on
//! standard output.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use ::cluster::{
    Pool, PoolSettings, Primary, ProcessGroup, Settings, Signal, SpawnOptions, Supervisor, SupervisorSettings,
};

use super::Ended;
use super::supervised::SUPERVISED;
use crate::cluster::support::runtime;

pub(crate) fn run(program: &str) -> ExitCode {
    let ended = runtime().map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match program {
                "supervise" => supervise(SpawnOptions::new()).await,
                "supervise groups" => {
                    let spawn = SpawnOptions::new().process_group(ProcessGroup::Own);
                    supervise(spawn.parent_death_signal(Signal::SIGKILL)).await
                }
                "lead" => lead().await,
                "run tasks" => tasks().await,
                other => Err(format!("there is no program {other:?}").into()),
            }
        })
    });
    super::exit_code(ended)
}

fn primary(spawn: SpawnOptions) -> Result<Settings, env::VarError> {
    Ok(Settings { spawn: spawn.args([SUPERVISED, &env::var("WORKER")?]), ..Settings::default() })
}

/// Supervises two workers of the program in WORKER. No restart is allowed.
async fn supervise(spawn: SpawnOptions) -> Ended {
    let settings = SupervisorSettings::new(2)
        .primary(primary(spawn)?)
        .lame_duck(Duration::from_millis(10))
        .intensity(0, Duration::from_mins(1));
    Ok(Supervisor::new(settings)?.run_with(|_, event| println!("{event}")).await?)
}

/// A primary that handles no signal.
async fn lead() -> Ended {
    let mut primary = Primary::new(Settings::default())?;
    primary.fork_with_env([("PROGRAM", "serve")])?;
    while let Some(event) = primary.next().await {
        println!("{event}");
    }
    Ok(())
}

/// Prints the results of two tasks. The second task holds a connection to the port in PORT.
async fn tasks() -> Ended {
    let primary = primary(SpawnOptions::new())?;
    let pool = Pool::new(PoolSettings::new(1).map_supervisor(|settings| settings.primary(primary)))?;
    let doubled: u64 = pool.run(&("double", 2)).await?;
    println!("result {doubled}");
    let text: String = pool.run(&("hold", env::var("PORT")?.parse::<u16>()?)).await?;
    println!("result {text}");
    Ok(())
}
