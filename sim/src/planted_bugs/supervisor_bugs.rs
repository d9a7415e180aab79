//! Planted bugs of a supervisor, each for one of its checks.

use std::time::Duration;

use cluster_core::{
    Call, ChannelId, Event, ProcessGroup, Readiness, Settings, Signal, SpawnOptions, SupervisorSettings,
    WorkerId,
};

use super::{PlantedBug, Tampering};
use crate::program::Program;
use crate::running_process::NextAction;
use crate::scenarios::{SupervisedServer, SupervisorMove};
use crate::world::World;
use crate::{Check, Fault, Faults, Schedule};

/// The first check that fails in a few runs with this bug.
pub(super) fn failed_check<P: Program>(start: &World<P>, bug: PlantedBug) -> Option<Check> {
    let run = |seed| {
        let mut world = start.clone().on(if seed == 0 { Schedule::quiet() } else { Schedule::seed(seed) });
        world.state.planted_bug = Some(bug);
        world.run().err().map(|failure| {
            println!("{}", failure.summary());
            failure.check
        })
    };
    (0..30).find_map(run)
}

/// Asserts that the check finds the bug, and that no check fails without the bug.
pub(super) fn finds<P: Program>(check: Check, start: &World<P>, bug: PlantedBug) {
    assert_eq!(failed_check(start, |_, _| Tampering::None), None);
    assert_eq!(failed_check(start, bug), Some(check));
}

fn server(command: SupervisorMove) -> SupervisedServer {
    SupervisedServer::new(2, 2, command)
}

pub(super) fn change_calls(next: &NextAction, change: fn(&mut Call)) -> Tampering {
    super::tamper_if(matches!(next, NextAction::Call(_)), Tampering::Change(change))
}

/// A successor counts as ready as soon as its process runs.
#[test]
fn capacity_detects_early_readiness() {
    let settings = SupervisorSettings::new(2).readiness(Readiness::Online);
    let start = server(SupervisorMove::Reload).world_with(settings);
    assert_eq!(failed_check(&start, |_, _| Tampering::None), Some(Check::Capacity));
}

/// Instead of the signal to a late successor, the channel of the old worker is closed.
#[test]
fn abandonment_detects_a_killed_predecessor() {
    let start = SupervisedServer::new(2, 0, SupervisorMove::Reload).broken_from(WorkerId(3)).world();
    let bug: PlantedBug = |_, next| {
        change_calls(next, |call| {
            if let Call::Kill { worker: WorkerId(3), .. } = call {
                *call = Call::CloseChannel { channel: ChannelId(1) };
            }
        })
    };
    assert_eq!(failed_check(&start, bug), Some(Check::Abandonment));
}

/// The supervisor counts no restart.
#[test]
fn intensity_detects_forgotten_restarts() {
    let settings = SupervisorSettings::new(2).intensity(2, Duration::from_hours(24));
    let start = server(SupervisorMove::Serve).broken_from(WorkerId(2)).world_with(settings);
    finds(Check::Intensity, &start, |_, next| {
        change_calls(next, |call| {
            if let Call::SetTimer { after_ms: after_ms @ 86_400_000, .. } = call {
                *after_ms = 0;
            }
        })
    });
}

/// The timer that ends the lame duck is never set.
#[test]
fn deadlines_detects_a_missing_timer() {
    finds(Check::Deadlines, &server(SupervisorMove::Reload).world(), |_, next| {
        let is_lame = matches!(next, NextAction::Call(Call::SetTimer { after_ms: 500, .. }));
        super::tamper_if(is_lame, Tampering::Drop)
    });
}

/// A process starts during the shutdown.
#[test]
fn requested_detects_a_start_in_shutdown() {
    finds(Check::Requested, &server(SupervisorMove::Shutdown).world(), |_, next| {
        change_calls(next, |call| {
            if let Call::Write { bytes, .. } = call
                && String::from_utf8_lossy(bytes).contains("LAME_DUCK")
            {
                let env = vec![("CLUSTER_SLOT".into(), "0".into())];
                *call = Call::Spawn { worker: WorkerId(9), options: SpawnOptions::new(), env };
            }
        })
    });
}

/// Both workers receive the number of the first slot.
#[test]
fn slots_detects_a_shared_number() {
    finds(Check::Slots, &server(SupervisorMove::Serve).world(), |_, next| {
        change_calls(next, |call| {
            if let Call::Spawn { env, .. } = call {
                env.iter_mut().filter(|(name, _)| *name == "CLUSTER_SLOT").for_each(|it| it.1 = "0".into());
            }
        })
    });
}

/// The timer that ends the pause before a restart is never set.
#[test]
fn readiness_detects_a_missing_restart() {
    let start = SupervisedServer::new(1, 0, SupervisorMove::Serve).world();
    let start = start.with_faults(Faults::only(&[Fault::Kill]).limit(3));
    finds(Check::Readiness, &start, |_, next| {
        let is_pause = matches!(next, NextAction::Call(Call::SetTimer { after_ms: 100, .. }));
        super::tamper_if(is_pause, Tampering::Drop)
    });
}

/// The listening sockets and their queues are closed while connections still wait for the workers.
#[test]
fn unowned_detects_a_closed_queue() {
    let settings = SupervisorSettings::new(1).term(Duration::from_secs(1));
    let good = SupervisedServer::new(1, 4, SupervisorMove::Shutdown).world_with(settings.clone());
    assert_eq!(failed_check(&good, |_, _| Tampering::None), None);
    let bad = SupervisedServer::new(1, 4, SupervisorMove::DisconnectAll).world_with(settings);
    assert_eq!(failed_check(&bad, |_, _| Tampering::None), Some(Check::Unowned));
}

/// The timer for a retained channel is never set, and the group of an exited worker gets no signal.
#[test]
fn leftovers_detects_missing_ends() {
    let start = |group| {
        let spawn = SpawnOptions::new().process_group(group);
        let settings = SupervisorSettings::new(1).primary(Settings { spawn, ..Settings::default() });
        SupervisedServer::new(1, 1, SupervisorMove::Serve).leaving_child().world_with(settings)
    };
    finds(Check::Leftovers, &start(ProcessGroup::Inherited), |_, next| {
        let is_wait = matches!(next, NextAction::Call(Call::SetTimer { after_ms: 10_000, .. }));
        super::tamper_if(is_wait, Tampering::Drop)
    });
    finds(Check::Leftovers, &start(ProcessGroup::Own), |_, next| {
        super::tamper_if(matches!(next, NextAction::Call(Call::Kill { .. })), Tampering::Drop)
    });
}

/// The timer after SIGTERM is ten times as long.
#[test]
fn deadlines_detects_a_long_phase() {
    let start = SupervisedServer::new(2, 0, SupervisorMove::Reload).world();
    let start = start.with_faults(Faults::only(&[Fault::Stop]).limit(1));
    finds(Check::Deadlines, &start, |_, next| {
        change_calls(next, |call| {
            if let Call::SetTimer { after_ms: after_ms @ 5000, .. } = call {
                *after_ms = 50_000;
            }
        })
    });
}

/// A world in which phases end by timers: a slow process, and a schedule in which a timer may fire at any
/// moment.
fn slow(command: SupervisorMove) -> World<SupervisedServer> {
    server(command).world().with_faults(Faults::only(&[Fault::Stop]).limit(1))
}

/// A drain and a shutdown have only a thousandth of the time in the settings, and SIGTERM is early.
#[test]
fn deadlines_detects_an_early_term() {
    for command in [SupervisorMove::Reload, SupervisorMove::ScaleDown, SupervisorMove::Shutdown] {
        finds(Check::Deadlines, &slow(command), |_, next| {
            change_calls(next, |call| {
                if let Call::SetTimer { after_ms: after_ms @ 30_000, .. } = call {
                    *after_ms = 30;
                }
            })
        });
    }
}

/// The time between SIGTERM and SIGKILL is a thousandth of the setting.
#[test]
fn deadlines_detects_an_early_kill() {
    for command in [SupervisorMove::Reload, SupervisorMove::Shutdown] {
        finds(Check::Deadlines, &slow(command), |_, next| {
            change_calls(next, |call| {
                if let Call::SetTimer { after_ms: after_ms @ 5000, .. } = call {
                    *after_ms = 5;
                }
            })
        });
    }
}

/// The time for a worker to become ready is a thousandth of the setting.
#[test]
fn deadlines_detects_an_early_failure() {
    let start = server(SupervisorMove::Reload).broken_from(WorkerId(1)).world();
    finds(Check::Deadlines, &start, |_, next| {
        change_calls(next, |call| {
            if let Call::SetTimer { after_ms: after_ms @ 60_000, .. } = call {
                *after_ms = 60;
            }
        })
    });
}

/// A worker stops forever, and no SIGKILL follows SIGTERM.
#[test]
fn deadlines_detects_a_missing_kill() {
    let stop = Faults::only(&[Fault::StopForever]).limit(1);
    for command in [SupervisorMove::Reload, SupervisorMove::ScaleDown, SupervisorMove::Shutdown] {
        finds(Check::Deadlines, &server(command).world().with_faults(stop), |_, next| {
            let is_kill = matches!(next, NextAction::Call(Call::Kill { signal: Signal::SIGKILL, .. }));
            super::tamper_if(is_kill, Tampering::Drop)
        });
    }
}

/// A worker stops forever, and the watchdog does not kill it.
#[test]
fn deadlines_detects_an_idle_watchdog() {
    let settings = SupervisorSettings::new(1).heartbeat(Duration::from_secs(5), Duration::from_secs(2));
    let start = SupervisedServer::new(1, 1, SupervisorMove::ServeOnce).world_with(settings);
    let start = start.with_faults(Faults::only(&[Fault::StopForever]).limit(1)).with_patient_timers();
    finds(Check::Deadlines, &start, |_, next| {
        let is_kill = matches!(next, NextAction::Call(Call::Kill { signal: Signal::SIGKILL, .. }));
        super::tamper_if(is_kill, Tampering::Drop)
    });
}

/// One event of the primary is dropped under a supervisor.
#[test]
fn order_detects_missing_events() {
    let bugs: [PlantedBug; 4] = [
        |_, next| super::tamper_if(matches!(next, NextAction::Primary(Event::Fork { .. })), Tampering::Drop),
        |_, next| {
            super::tamper_if(matches!(next, NextAction::Primary(Event::Online { .. })), Tampering::Drop)
        },
        |_, next| {
            super::tamper_if(matches!(next, NextAction::Primary(Event::Disconnect { .. })), Tampering::Drop)
        },
        |_, next| super::tamper_if(matches!(next, NextAction::Primary(Event::Exit { .. })), Tampering::Drop),
    ];
    for bug in bugs {
        for command in [SupervisorMove::Reload, SupervisorMove::ScaleDown, SupervisorMove::Shutdown] {
            finds(Check::Order, &server(command).world(), bug);
        }
    }
}
