//! This library beside other servers with several processes or threads, in one run: the same small answer, a
//! connection for each request, and the same load from `wrk`.

mod running;
mod serve;
mod subject;

use core::net::Ipv4Addr;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use cluster_benches::processes::median;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use running::{Running, Sample};
use subject::Subject;

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The variable with the port of a server.
const PORT: &str = "PORT";
/// The subject to which the others are compared.
const BASE: &str = "one process";

/// Compares servers in interleaved rounds. Needs `wrk` and `npm`; an absent server is reported as absent.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of rounds. Each round measures every server once.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of load for each server and round.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Number of worker processes or threads.
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Number of concurrent clients.
    #[arg(long, default_value_t = 32)]
    clients: u32,
    /// Measure only servers with this text in the name. May be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Write every figure to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Serve instead of measuring.
    #[arg(long, hide = true)]
    serve: Option<String>,
}

/// A bound of the project: the ratio of two subjects.
struct Bound {
    text: &'static str,
    subjects: [&'static str; 2],
    figure: fn(&Sample) -> f64,
    limit: &'static str,
}

const BOUNDS: [Bound; 4] = [
    Bound {
        text: "round robin, CPU by Node's",
        subjects: ["here, round-robin", "Node 20, round-robin"],
        figure: |sample| sample.microseconds,
        limit: "at most 0.35",
    },
    Bound {
        text: "round robin, CPU by one process",
        subjects: ["here, round-robin", BASE],
        figure: |sample| sample.microseconds,
        limit: "at most 2.0",
    },
    Bound {
        text: "round robin with axum, connections/s by one process with axum",
        subjects: ["axum, here, round-robin", "axum, one process"],
        figure: |sample| sample.per_second,
        limit: "at least 0.9 with a window",
    },
    Bound {
        text: "shared, CPU by processes with a listener by hand",
        subjects: ["here, shared", "processes, one listener by hand"],
        figure: |sample| sample.microseconds,
        limit: "at most 1.05",
    },
];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    match &options.serve {
        Some(name) => serve::serve(name, options.workers),
        None => Builder::new_current_thread().enable_all().build()?.block_on(measure(options)),
    }
}

/// The servers that run, with the results of each round; and the absent servers, each with the reason of the
/// absence.
#[derive(Default)]
struct Results {
    running: Vec<(Subject, String, Running)>,
    absent: Vec<(String, String)>,
    samples: BTreeMap<String, Vec<Sample>>,
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let subjects = subject::all(&subject::install().await?)?;
    let mut results = Results::default();
    let is_wanted = |subject: &Subject| {
        options.only.is_empty() || options.only.iter().any(|text| subject.name.contains(text))
    };
    for subject in subjects.into_iter().filter(is_wanted) {
        eprintln!("start: {}", subject.name);
        let started = async {
            let version = subject.version().await?;
            Ok((version, Running::start(&subject, options.workers).await?))
        };
        let started: anyhow::Result<_> = started.await;
        match started {
            Ok((version, running)) => results.running.push((subject, version, running)),
            Err(error) => results.absent.push((subject.name, format!("{error:#}"))),
        }
    }
    let measured = results.rounds(options).await;
    for (_, _, running) in &mut results.running {
        running.stop().await?;
    }
    measured?;
    results.print(options);
    if let Some(path) = &options.json {
        fs::write(path, format!("{:#}\n", results.json(options)))?;
    }
    Ok(())
}

impl Results {
    async fn rounds(&mut self, options: &Options) -> anyhow::Result<()> {
        for round in 1..=options.rounds {
            for (subject, _, running) in &self.running {
                eprintln!("round {round} of {}: {}", options.rounds, subject.name);
                let sample = running.sample(options.clients, options.seconds).await?;
                self.samples.entry(subject.name.clone()).or_default().push(sample);
            }
        }
        Ok(())
    }

    fn print(&self, options: &Options) {
        let Options { rounds, seconds, workers, clients, .. } = options;
        println!(
            "{workers} workers, {clients} clients, {rounds} rounds of {seconds} s: medians (least to greatest)\n"
        );
        println!("| | version | connections/s | by `{BASE}` | CPU per connection | by `{BASE}` | failed |");
        println!("|---|---|---|---|---|---|---|");
        for (subject, version, _) in &self.running {
            let name = &*subject.name;
            let rate = self.spread(name, |sample| sample.per_second, 0);
            let spent = self.spread(name, |sample| sample.microseconds, 1);
            let ratios =
                [self.ratio([name, BASE], |s| s.per_second), self.ratio([name, BASE], |s| s.microseconds)];
            let [rates, times] =
                ratios.map(|ratio| ratio.map_or_else(String::new, |[ratio, ..]| format!("{ratio:.2}")));
            let failed: u64 = self.samples[name].iter().map(|sample| sample.failed).sum();
            println!("| {name} | {version} | {rate} | {rates} | {spent} µs | {times} | {failed} |");
        }
        for (name, reason) in &self.absent {
            println!("| {name} | absent: {reason} | | | | | |");
        }
        println!("\n| ratio | median | least to greatest | bound |\n|---|---|---|---|");
        for Bound { text, subjects, figure, limit } in &BOUNDS {
            match self.ratio(*subjects, figure) {
                Some([ratio, least, greatest]) => {
                    println!("| {text} | {ratio:.2} | {least:.2} to {greatest:.2} | {limit} |");
                }
                None => println!("| {text} | not measured | | {limit} |"),
            }
        }
        println!("\nCommands:\n");
        for (subject, ..) in &self.running {
            println!("* {}: `{}`", subject.name, subject.line());
        }
    }

    /// The median and the range of a figure.
    fn spread(&self, name: &str, figure: impl Fn(&Sample) -> f64, digits: usize) -> String {
        let values = || self.samples[name].iter().map(&figure);
        let [least, greatest] = range(values());
        format!("{:.digits$} ({least:.digits$} to {greatest:.digits$})", median(values()))
    }

    /// The ratio of two subjects in the same round: the median, the least and the greatest.
    fn ratio(&self, [own, other]: [&str; 2], figure: impl Fn(&Sample) -> f64) -> Option<[f64; 3]> {
        let pairs = self.samples.get(own)?.iter().zip(self.samples.get(other)?);
        let ratios: Vec<f64> = pairs.map(|(own, other)| figure(own) / figure(other)).collect();
        let [least, greatest] = range(ratios.iter().copied());
        Some([median(ratios), least, greatest])
    }

    fn json(&self, options: &Options) -> Value {
        let subject = |(subject, version, _): &(Subject, String, Running)| {
            let samples = self.samples[&subject.name].iter().map(|sample| {
                json!({ "per_second": sample.per_second, "cpu_us": sample.microseconds, "failed": sample.failed })
            });
            json!({
                "name": subject.name, "version": version, "command": subject.line(),
                "rounds": samples.collect::<Vec<_>>(),
            })
        };
        json!({
            "workers": options.workers, "clients": options.clients, "seconds": options.seconds,
            "subjects": self.running.iter().map(subject).collect::<Vec<_>>(),
            "absent": self.absent.iter().map(|(name, reason)| json!({ "name": name, "reason": reason })).collect::<Vec<_>>(),
        })
    }
}

fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    values.fold([f64::INFINITY, f64::NEG_INFINITY], |[least, greatest], value| {
        [least.min(value), greatest.max(value)]
    })
}
