//! The slots as the program sees them, and as JSON.

use serde_json::json;

use super::story::{Story, serving, settings};
use cluster_core::{Readiness, SlotInfo};

fn status(story: &Story) -> Vec<SlotInfo> {
    story.supervisor.slots().collect()
}

/// Every field has the name and the form that a client of another process reads.
#[test]
fn status_has_json() -> Result<(), serde_json::Error> {
    let mut story = serving(settings(2), 2);
    story.dies(1);
    story.exits(3, 1);
    let json = serde_json::to_value(status(&story))?;
    let waiting = json!({
        "slot": 0, "state": "backing_off", "worker": null, "pid": null, "successor": null, "restarts": 2, "failures": 2,
        "acknowledged_connections": null, "open_connections": null, "recycle": null
    });
    assert_eq!(json[0], waiting);
    assert_eq!((&json[1]["state"], &json[1]["worker"]), (&json!("ready"), &json!(2)));
    assert!(json[1]["pid"].is_u64(), "{json}");
    assert_eq!(serde_json::from_value::<Vec<SlotInfo>>(json)?, status(&story));
    Ok(())
}

/// A restart is counted when the supervisor decides to start another worker; a reload is not counted.
#[test]
fn restarts_count_failures_alone() {
    let mut story = serving(settings(1), 1);
    story.command(|supervisor| {
        let _ = supervisor.reload();
    });
    story.serves(2);
    assert_eq!(status(&story)[0].restarts, 0);
    story.dies(2);
    assert_eq!(status(&story)[0].restarts, 1);
}

/// If connections do not pass through the primary, their number is unknown, not zero.
#[test]
fn connections_of_others_are_unknown() {
    let heartbeat = std::time::Duration::from_secs(1);
    let options = settings(1).heartbeat(heartbeat, heartbeat).readiness(Readiness::Online);
    let mut story = Story::new(options);
    story.online(1);
    story.says(1, r#"{"cmd":"NODE_CLUSTER_PONG","seq":9,"count":0}"#);
    assert_eq!(
        (status(&story)[0].acknowledged_connections, status(&story)[0].open_connections),
        (None, None)
    );
    let story = serving(settings(1), 1);
    assert_eq!(status(&story)[0].acknowledged_connections, Some(0));
}

/// The number of open connections is from the last report.
#[test]
fn open_connections_are_reported() {
    let options = settings(1).heartbeat(std::time::Duration::from_secs(1), std::time::Duration::from_secs(1));
    let mut story = serving(options, 1);
    assert_eq!(status(&story)[0].open_connections, None);
    story.says(1, r#"{"cmd":"NODE_CLUSTER_PONG","seq":9,"count":3}"#);
    assert_eq!(status(&story)[0].open_connections, Some(3));
}
