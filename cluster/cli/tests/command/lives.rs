//! The life of a service: start, status, reload, scale, restart, stop.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::support::{SERVER, Service, command, error, get, text};

#[test]
fn commands_change_a_service() {
    let mut service = Service::of_script(SERVER, &["-n", "2"]);
    let port = service.port();
    service.line("slot 1: worker 2 is ready");
    let before = get(port);
    let reload = text(&service.command("reload", &[]));
    assert!(reload.starts_with("reload 1 started\n") && reload.ends_with("reload 1 finished\n"), "{reload}");
    assert_ne!(before, get(port), "another process answers");
    assert!(text(&service.command("scale", &["+1"])).ends_with("scaled to 3 workers\n"));
    let restart = text(&service.command("restart", &["1"]));
    assert!(restart.starts_with("restart of slot 1 started\n"), "{restart}");
    let status: Value = serde_json::from_str(&text(&service.command("status", &["--json"]))).expect("JSON");
    let slots = status["slots"].as_array().expect("slots").iter();
    assert_eq!(slots.map(|slot| slot["state"].as_str()).collect::<Vec<_>>(), [Some("ready"); 3]);
    assert_eq!(status["name"], "app");
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
}

#[test]
fn signal_stops_a_service() {
    let mut service = Service::of_script(SERVER, &["-n", "1"]);
    let line = service.line("slot 0: worker 1 is ready");
    let (line, process) = line.split_once(" (process ").expect("a process");
    assert!(line.ends_with("Z  INFO slot 0: worker 1 is ready"), "{line}");
    let status = text(&service.command("status", &[]));
    assert!(status.contains(process.trim_end_matches(')')), "{process}: {status}");
    service.signal(Signal::SIGTERM);
    service.line("the shutdown finished");
    assert_eq!(service.code(), Some(0));
    for options in [&[][..], &["--name", "app"]] {
        let status = service.command("status", options);
        assert!(error(&status).contains("no service runs"));
        assert_eq!(status.status.code(), Some(3));
    }
}

#[test]
fn wrong_commands_are_errors() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    service.line("slot 0: worker 1 is ready");
    for name in ["restart", "logs"] {
        assert!(error(&service.command(name, &["7"])).contains("there is no slot 7; the slots are 0"));
    }
    for fewer in ["0", "-1", "-9"] {
        let text = error(&service.command("scale", &[fewer]));
        assert!(
            text.contains("a service needs at least one worker (1 now); `cluster stop` ends the service"),
            "{text}"
        );
    }
    for slot in ["-1", "x", "4294967296"] {
        assert!(error(&service.command("restart", &[slot])).contains("expected the number of a slot"));
    }
    assert!(error(&service.command("status", &["--control", "app.js"])).contains("app.js is no socket"));
    assert!(error(&service.command("run", &["app.js"])).contains("a service already runs"));
    assert!(error(&service.command("status", &["--name", "other"])).contains("no service runs at"));
    let wrong_lines: [(&str, &[&str], &str); 2] = [
        ("run", &["--drian", "5s", "app.js"], "there is no option `--drian`; did you mean `--drain`?"),
        ("top", &["--json"], "`cluster status --json` prints JSON"),
    ];
    for (name, arguments, expected) in wrong_lines {
        let output = service.command(name, arguments);
        assert!(error(&output).contains(expected));
        assert_eq!(output.status.code(), Some(2));
    }
    assert!(error(&service.command("top", &[])).contains("needs a terminal"));
}

/// The first line about the end of a worker has the reason, also if no restart follows.
#[test]
fn lines_name_the_reason() {
    let service = Service::of_script(SERVER, &["-n", "1", "--restart", "never"]);
    let worker = get(service.ready_port()).parse().expect("a process id");
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("a worker");
    service.line("signal: SIGKILL");
    let service = Service::of_script("process.exit(3)", &["-n", "1", "--restart", "never"]);
    service
        .line("slot 0 is suspended, without a worker: the worker exited before it was ready: exit status: 3");
}

/// The status lists an address once, for all workers.
#[test]
fn log_names_the_address() {
    let service = Service::of_script(SERVER, &["-n", "2"]);
    let port = service.port();
    service.line("slot 0: worker 1 is ready");
    service.line("slot 1: worker 2 is ready");
    text(&service.command("reload", &[]));
    text(&service.command("stop", &[]));
    let lines = service.rest();
    let named = lines.iter().filter(|line| line.ends_with(&format!("INFO listening on 127.0.0.1:{port}")));
    assert_eq!(named.count(), 1, "{lines:#?}");
}

/// A reader that closes the pipe early, as in `cluster completions bash | head -1`, is no error.
#[test]
fn closed_pipe_ends_completions() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let directory = tempfile::tempdir().expect("a directory");
    let status = command(directory.path(), "completions").arg("bash").stdout(writer).status();
    assert!(status.expect("a command").success());
}

#[test]
fn readers_receive_output_and_events() {
    let script =
        "console.log('a line'); console.error('an error'); require('http').createServer().listen(0);";
    let service = Service::of_script(script, &["-n", "2"]);
    service.line("slot 0: worker 1 is ready");
    service.line("slot 1: worker 2 is ready");
    let logs = text(&service.command("logs", &["1"]));
    assert!(logs.contains(" 1 | a line\n") && logs.contains(" 1 | an error\n"), "{logs}");
    assert!(!logs.contains(" 0 | "), "{logs}");
    assert!(text(&service.command("events", &[])).contains(" slot 1: worker 2 is ready\n"));
    let follower = service.follow("logs");
    follower.line(" 1 | a line");
    text(&service.command("restart", &["0"]));
    follower.line(" 0 | a line");
}

#[test]
fn check_starts_one_worker() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    std::fs::write(directory.path().join("bad.js"), "process.exit(3)").expect("a file");
    let check = |script: &str| command(directory.path(), "check").arg(script).output().expect("a command");
    let good = text(&check("app.js"));
    assert!(good.contains(" 0 | port ") && good.ends_with('\n'), "{good}");
    assert!(good.contains("ready, and listening on 127.0.0.1:"), "{good}");
    assert!(error(&check("bad.js")).contains("exited before it was ready: exit status: 3"));
    assert!(error(&check("none.js")).contains("there is no script"));
}

#[test]
fn change_of_file_reloads() {
    let service = Service::of_script(SERVER, &["-n", "1", "--watch", "app.js"]);
    service.line("slot 0: worker 1 is ready");
    std::fs::write(service.directory.path().join("app.js"), SERVER.replace("'port'", "'new port'"))
        .expect("a file");
    service.line("| new port ");
    service.line("reload 1 finished");
}

#[test]
fn flag_precedes_variable_and_file() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let file = "program = 'app.js'\nworkers = 1\ndrain = '1s'\nterm = '1s'\n";
    std::fs::write(directory.path().join("cluster.toml"), file).expect("a file");
    let run = command(directory.path(), "run")
        .args(["--dry-run", "--workers", "3", "--max-rss", "512MiB"])
        .env("CLUSTER_WORKERS", "2")
        .env("CLUSTER_DRAIN", "2s")
        .output();
    let settings = text(&run.expect("a command"));
    for line in
        ["# app: node app.js", "workers = 3", "drain = \"2s\"", "term = \"1s\"", "max-rss = \"512MiB\""]
    {
        assert!(settings.contains(line), "{line} in {settings}");
    }
}

/// `scale` and `stop` print what concerns them, and no other event of the same time.
#[test]
fn commands_print_their_own_events() {
    let script = format!("{SERVER} if (process.env.CLUSTER_SLOT === '0') setTimeout(process.exit, 100);");
    let service = Service::of_script(&script, &["-n", "2", "--max-restarts", "1000", "--min-uptime", "1ms"]);
    service.line("slot 1: worker 2 is ready");
    let scale = text(&service.command("scale", &["+2"]));
    assert!(scale.ends_with("scaled to 4 workers\n"), "{scale}");
    let others = scale.lines().filter(|line| !line.contains("slot 2") && !line.contains("slot 3"));
    assert_eq!(others.count(), 1, "{scale}");
    let stop = text(&service.command("stop", &[]));
    assert!(stop.starts_with("the shutdown started\n"), "{stop}");
    assert!(stop.ends_with("the shutdown finished\n"), "{stop}");
}

/// The status has exactly the documented keys. A new key is added to the README.
#[test]
fn status_has_the_documented_keys() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    service.line("slot 0: worker 1 is ready");
    let status: Value = serde_json::from_str(&text(&service.command("status", &["--json"]))).expect("JSON");
    let readme = include_str!("../../README.md");
    let (_, documented) = readme.split_once("## JSON\n").expect("a section");
    let (documented, _) = documented.split_once("\n## ").expect("a section after it");
    let slot = status["slots"][0].as_object().expect("a slot");
    for key in status.as_object().expect("an object").keys().chain(slot.keys()) {
        assert!(documented.contains(&format!("`{key}`")), "{key} is not documented");
    }
}

/// No escape sequence of a terminal reaches a file or a pipe.
#[test]
fn pipes_receive_no_escapes() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    let line = service.line("slot 0: worker 1 is ready");
    let outputs = ["status", "events", "logs", "reload"].map(|name| text(&service.command(name, &[])));
    let wrong = error(&service.command("stauts", &[]));
    for text in outputs.iter().chain([&line, &wrong]) {
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}

/// The completions of `--name` are the running services.
#[test]
fn running_names_are_completed() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let service = Service::start(directory, &["-n", "1", "--name", "shop", "app.js"]);
    service.line("slot 0: worker 1 is ready");
    let script = text(&service.command("completions", &["bash"]));
    let file = service.directory.path().join("completions");
    fs::write(&file, script).expect("a file");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cluster")).parent().expect("a directory");
    let complete = "PATH=$0:$PATH; . ./completions
        COMP_WORDS=(cluster stop --name '') COMP_CWORD=3 COMP_TYPE=9 COMP_POINT=19
        $(complete -p cluster | sed 's/.*-F \\([^ ]*\\).*/\\1/') cluster '' --name
        echo \"${COMPREPLY[@]}\"";
    let shell = std::process::Command::new("bash")
        .args(["-c", complete])
        .arg(program)
        .current_dir(service.directory.path())
        .env("XDG_RUNTIME_DIR", service.directory.path())
        .output();
    assert_eq!(text(&shell.expect("bash")).trim(), "shop");
}

/// The number may follow the flag without a space, as in most commands.
#[test]
fn joined_count_is_accepted() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("app.js"), "").expect("a file");
    for count in ["-n3", "-n=3"] {
        for program in [&["app.js"][..], &["node", "app.js"]] {
            let mut run = command(directory.path(), "run");
            let output = run.args(["--dry-run", count]).args(program).output().expect("the command starts");
            assert!(text(&output).contains("workers = 3"), "{count}");
        }
    }
}
