//! The load generator: two processes of `wrk` with counts of the requests without an answer.

use std::ops::AddAssign;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

const SECONDS: u32 = 10;

/// Counts of `wrk`.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// Answered requests.
    pub(crate) answered: u64,
    /// Refused connections.
    pub(crate) refused: u64,
    /// Requests without a whole answer on a connection.
    pub(crate) broken: u64,
    /// Requests without an answer within 30 seconds.
    pub(crate) late: u64,
    /// Answers with another status than 200.
    pub(crate) status: u64,
}

impl Counts {
    /// The failed requests.
    pub(crate) fn failed(&self) -> u64 {
        self.refused + self.broken + self.late + self.status
    }

    /// Reads the report of `wrk`. A report without errors has no line for errors.
    fn parse(report: &str) -> anyhow::Result<Self> {
        let mut counts = Counts::default();
        let mut answered = None;
        for line in report.lines().map(str::trim) {
            let numbers =
                || line.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
            if line.contains(" requests in ") {
                answered = numbers().next();
            } else if line.starts_with("Socket errors:") {
                let &[refused, read, write, late] = numbers().collect::<Vec<u64>>().as_slice() else {
                    bail!("wrk printed `{line}`, which has not four counts");
                };
                counts = Counts { refused, broken: read + write, late, ..counts };
            } else if line.starts_with("Non-2xx") {
                counts.status = numbers().next_back().context("wrk printed no count of statuses")?;
            }
        }
        counts.answered = answered.with_context(|| format!("wrk printed no count of requests: {report}"))?;
        Ok(counts)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.broken += other.broken;
        self.late += other.late;
        self.status += other.status;
    }
}

/// One round of load, 10 seconds: 64 clients with a lasting connection each, and 16 clients with a connection per request.
pub(crate) async fn round(url: &str) -> anyhow::Result<Counts> {
    let (keeping, closing) = tokio::join!(wrk(url, 64, &[]), wrk(url, 16, &["-H", "Connection: close"]));
    let mut counts = keeping?;
    counts += closing?;
    Ok(counts)
}

async fn wrk(url: &str, clients: u32, more: &[&str]) -> anyhow::Result<Counts> {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--timeout", "30s"])
        .args(["--connections", &clients.to_string(), "--duration", &format!("{SECONDS}s")])
        .args(more)
        .arg(url)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("`wrk` cannot be started: install it, on Debian with `apt-get install wrk`")?;
    anyhow::ensure!(output.status.success(), "wrk ended with {}", output.status);
    Counts::parse(&String::from_utf8_lossy(&output.stdout))
}
