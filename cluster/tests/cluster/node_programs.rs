//! Node.js programs under a Rust primary: any worker resumes a TLS session, and `node -e` runs a text.
//! Ignored without `node`.

use std::fs;
use std::process::{Command, Stdio};

use ::cluster::{ForkError, SchedulingPolicy, Settings, SpawnOptions};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use super::node::{is_absent, script};
use super::support::{TestResult, asynchronous, connect, port, primary, primary_of, read_answer, rest};

const EVALUATED: &str = "require('net').createServer((c) => c.end(`node ${require('cluster').worker.id}`)).listen(0, '127.0.0.1')";

const TLS_SERVER: &str = "
    const { readFileSync } = require('fs');
    const [key, cert] = [readFileSync(process.argv[2]), readFileSync(process.argv[3])];
    require('tls').createServer({ key, cert }, (client) => client.end('hello')).listen(0, '127.0.0.1');
";

/// Connects repeatedly, each time with the previous session. Prints the number of resumed sessions.
const TLS_CLIENT: &str = "
    const tls = require('tls');
    let [session, resumed, left] = [undefined, 0, 20];
    const next = () => {
        if (left-- === 0) return console.log(resumed);
        const options = { port: Number(process.argv[2]), host: '127.0.0.1', rejectUnauthorized: false, session };
        const client = tls.connect(options, () => { resumed += client.isSessionReused() ? 1 : 0; });
        client.on('session', (ticket) => { session = ticket; });
        client.on('error', (error) => console.log(error.message)).on('close', next).resume();
    };
    next();
";

/// A key and a certificate for these tests only. No client here checks the dates.
const KEY: &str = include_str!("tls/key.pem");
const CERTIFICATE: &str = include_str!("tls/certificate.pem");

pub(crate) fn trials() -> Vec<Trial> {
    let absent = is_absent();
    let trials = [
        asynchronous("node_workers_resume_each_others_sessions", sessions),
        asynchronous("node_eval_with_an_argument_serves", evaluated),
        asynchronous("node_eval_alone_is_refused", refused),
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(absent)).collect()
}

/// Every client except the first resumes a session.
async fn sessions() -> TestResult {
    let directory = TempDir::new()?;
    let place = |name: &str, text: &str| -> Result<String, Failed> {
        let path = directory.path().join(name);
        fs::write(&path, text)?;
        Ok(path.to_str().ok_or("a temporary directory is named in UTF-8")?.to_owned())
    };
    let (key, certificate) = (place("key", KEY)?, place("certificate", CERTIFICATE)?);
    let server = place("server.cjs", TLS_SERVER)?;
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let mut primary = ::cluster::Primary::new(Settings { policy, ..Settings::default() })?;
        let args = [&server, &key, &certificate];
        primary.setup(SpawnOptions::new().exec("node").args(args));
        for _ in 0..2 {
            primary.fork()?;
        }
        let first = port(&mut primary).await?;
        assert_eq!(port(&mut primary).await?, first);
        let client = script(TLS_CLIENT)?;
        let mut client =
            Command::new("node").arg(&client).arg(first.to_string()).stdout(Stdio::piped()).spawn()?;
        let resumed = client.stdout.take().ok_or("its output is a pipe")?;
        assert_eq!(read_answer(&mut primary, resumed).await?, "19\n");
        client.wait()?;
        primary.disconnect_all();
        rest(&mut primary).await?;
    }
    Ok(())
}

async fn evaluated() -> TestResult {
    let mut primary = primary_of("node", &["-e", EVALUATED, "x"])?;
    let worker = primary.fork()?;
    let port = port(&mut primary).await?;
    assert_eq!(read_answer(&mut primary, connect(port)?).await?, format!("node {worker}"));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn refused() -> TestResult {
    let mut primary = primary()?;
    for exec in ["node", "/usr/bin/node"] {
        for args in [vec!["-e", EVALUATED], vec!["--no-warnings", "--eval", EVALUATED], vec!["-p", "1"]] {
            primary.setup(SpawnOptions::new().exec(exec).args(args));
            assert_eq!(primary.fork(), Err(ForkError::NoScript));
        }
    }
    rest(&mut primary).await.map(drop)
}
