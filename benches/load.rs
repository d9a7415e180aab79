//! The load generator `wrk`, and how many requests it counts without an answer.

use std::cell::Cell;
use std::convert::Infallible;
use std::ops::AddAssign;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, bail};
use tokio::process::Command;

/// The amount of load of a measurement. The measurement ends when both numbers are reached.
#[derive(Debug, Clone, clap::Args)]
pub struct Amount {
    /// The least number of requests.
    #[arg(long, default_value_t = 1_000_000)]
    pub requests: u64,
    /// The least number of reloads or kills.
    #[arg(long, default_value_t = 40)]
    pub times: u64,
}

/// Clients. Each client sends one request after the other.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    /// The number of clients.
    pub number: u32,
    /// Whether each request has a connection of its own, instead of a lasting connection for each client.
    pub is_fresh: bool,
    /// The duration of the load.
    pub seconds: u32,
}

/// Counts of `wrk`.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Answered requests.
    pub answered: u64,
    /// Refused connections.
    pub refused: u64,
    /// Requests without a whole answer on a connection.
    pub broken: u64,
    /// Requests without an answer within 30 seconds.
    pub late: u64,
    /// Answers with another status than 200.
    pub status: u64,
}

impl Clients {
    /// Sends requests for the duration of the load.
    ///
    /// # Errors
    /// `wrk` cannot be started, has failed, or has printed an unknown report.
    pub async fn load(self, url: &str) -> anyhow::Result<Counts> {
        let header: &[&str] = if self.is_fresh { &["--header", "Connection: close"] } else { &[] };
        let output = Command::new("wrk")
            .args(["--threads", "1", "--timeout", "30s"])
            .args(["--connections", &self.number.to_string(), "--duration", &format!("{}s", self.seconds)])
            .args(header)
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
}

impl Counts {
    /// The failed requests.
    pub fn failed(&self) -> u64 {
        self.refused + self.broken + self.late + self.status
    }

    /// Prints the counts. The result is a failure if more than `allowed` requests are broken.
    pub fn verdict(self, name: &str, times: u64, allowed: u64) -> ExitCode {
        let Counts { answered, refused, broken, late, status } = self;
        println!(
            "| requests answered | {name} | refused | broken | late | another status |\n|---|---|---|---|---|---|"
        );
        println!("| {answered} | {times} | {refused} | {broken} | {late} | {status} |");
        if allowed > 0 {
            println!("\nConnections that the killed workers had accepted: {allowed}");
        }
        if self.failed() == broken && broken <= allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Reads the report of `wrk`. In a report without errors, the line for errors is missing.
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

/// Loads a server in rounds of 10 seconds until both numbers of `amount` are reached: the answered requests,
/// and the `times` that `disturbance` counts. 64 clients have a lasting connection each, and 16 clients open
/// a connection for each request.
///
/// # Errors
/// The load or the disturbance has failed.
pub async fn under_load(
    url: &str,
    amount: &Amount,
    times: &Cell<u64>,
    disturbance: impl Future<Output = anyhow::Result<Infallible>>,
) -> anyhow::Result<Counts> {
    let lasting = Clients { number: 64, is_fresh: false, seconds: 10 };
    let fresh = Clients { number: 16, is_fresh: true, seconds: 10 };
    let rounds = async {
        let mut counts = Counts::default();
        while counts.answered < amount.requests || times.get() < amount.times {
            let (one, other) = tokio::join!(lasting.load(url), fresh.load(url));
            counts += one?;
            counts += other?;
            eprintln!("{} requests, {} times, {} failed", counts.answered, times.get(), counts.failed());
        }
        Ok(counts)
    };
    tokio::select! {
        counts = rounds => counts,
        never = disturbance => match never? {},
    }
}
