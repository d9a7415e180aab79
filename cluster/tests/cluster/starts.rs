//! The path of a worker's program, and the exit status. Neither depends on the program that has started the
//! primary.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::{env, process};

use ::cluster::{Primary, SpawnOptions};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use tempfile::TempDir;

use super::support::{TestResult, asynchronous, fork, message, primary, primary_of, rest};

pub(crate) fn trials() -> Vec<Trial> {
    let without_namespaces = !has_namespaces();
    if without_namespaces {
        eprintln!("no mount namespace can be made here: the test without /proc is ignored");
    }
    vec![
        asynchronous("program_is_started_by_its_path", replaced),
        asynchronous("program_is_found_by_its_name", named),
        asynchronous("program_follows_a_symbolic_link", linked),
        asynchronous("program_starts_from_a_removed_directory", from_removed_directory),
        asynchronous("program_starts_without_proc", without_proc).with_ignored_flag(without_namespaces),
        asynchronous("status_survives_an_ignored_sigchld", ignored_sigchld),
        asynchronous("status_names_another_reaper", reaped_elsewhere),
    ]
}

/// A copy of the program in another directory.
fn copy() -> io::Result<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("program");
    let own = env::current_exe()?;
    fs::hard_link(&own, &path).or_else(|_| fs::copy(&own, &path).map(drop))?;
    Ok((directory, path))
}

/// Replaces the program at the path, like a deployment.
fn replace(path: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    write(&new)?;
    fs::rename(new, path)
}

fn write(path: &Path) -> io::Result<()> {
    fs::write(path, "#!/bin/sh\nexit 42\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Lets the worker fork a worker of its own. Returns the exit of that worker, or the error of the start.
async fn again(primary: &mut Primary) -> Result<String, Failed> {
    let worker = primary.workers().next().ok_or("there is one")?;
    primary.send(worker, json!("again"))?;
    Ok(message(primary).await?.as_str().ok_or("a text")?.to_owned())
}

async fn ready(primary: &mut Primary) -> TestResult {
    assert_eq!(message(primary).await?, json!("ready"));
    Ok(())
}

async fn over(mut primary: Primary) -> TestResult {
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// Workers start while a deployment removes and replaces the file.
async fn replaced() -> TestResult {
    let (_directory, path) = copy()?;
    let mut primary = primary_of(&path.to_string_lossy(), &[])?;
    fork(&mut primary, "start again");
    ready(&mut primary).await?;
    assert_eq!(again(&mut primary).await?, "Code(3)");
    replace(&path)?;
    assert_eq!(again(&mut primary).await?, "Code(42)");
    fs::remove_file(&path)?;
    let expected =
        format!("cannot start `{}`: ENOENT (no such file or directory); check the path", path.display());
    for _ in 0..2 {
        let error = again(&mut primary).await?;
        assert!(error.starts_with(&expected), "{error}");
    }
    write(&path)?;
    assert_eq!(again(&mut primary).await?, "Code(42)");
    over(primary).await
}

/// A name without a slash is searched as in a shell.
async fn named() -> TestResult {
    let (directory, path) = copy()?;
    let mut primary = primary_of("program", &[])?;
    let paths = format!("{}:{}", directory.path().display(), env::var("PATH")?);
    primary.fork_with_env([("PROGRAM", "start again"), ("PATH", &*paths)])?;
    ready(&mut primary).await?;
    replace(&path)?;
    assert_eq!(again(&mut primary).await?, "Code(42)");
    over(primary).await
}

/// Each release is a directory, and a link leads to the present release.
async fn linked() -> TestResult {
    let (directory, path) = copy()?;
    let (current, next) = (directory.path().join("current"), directory.path().join("next"));
    symlink(&path, &current)?;
    let mut primary = primary_of(&current.to_string_lossy(), &[])?;
    fork(&mut primary, "start again");
    ready(&mut primary).await?;
    assert_eq!(again(&mut primary).await?, "Code(3)");
    write(&next)?;
    fs::remove_file(&current)?;
    symlink(&next, &current)?;
    assert_eq!(again(&mut primary).await?, "Code(42)");
    over(primary).await
}

async fn from_removed_directory() -> TestResult {
    let (directory, path) = copy()?;
    let inner = directory.path().join("inner");
    fs::create_dir(&inner)?;
    // A relative name is resolved at the start as well.
    for program in [path.to_string_lossy().into_owned(), "../program".into()] {
        let _ = fs::create_dir(&inner);
        let mut primary = primary_of(&program, &[])?;
        primary.setup(SpawnOptions::new().cwd(&inner));
        fork(&mut primary, "start again");
        ready(&mut primary).await?;
        fs::remove_dir(&inner)?;
        assert_eq!(again(&mut primary).await?, "Code(3)");
        over(primary).await?;
    }
    Ok(())
}

const WITHOUT_PROC: &str = "mount -t tmpfs none /proc && exec \"$0\"";

fn has_namespaces() -> bool {
    let mut command = process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITHOUT_PROC, "true"]).stderr(process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Children are not workers, because the variables are also removed without `/proc`.
async fn without_proc() -> TestResult {
    let (_directory, path) = copy()?;
    let mut primary = primary_of("unshare", &["--mount", "sh", "-c", WITHOUT_PROC, &path.to_string_lossy()])?;
    fork(&mut primary, "start again");
    ready(&mut primary).await?;
    assert_eq!(again(&mut primary).await?, "Code(3)");
    replace(&path)?;
    assert_eq!(again(&mut primary).await?, "Code(42)");
    over(primary).await
}

/// Starts a program while SIGCHLD is ignored.
async fn ignored_sigchld() -> TestResult {
    let own = env::current_exe()?;
    let mut primary = primary_of("/bin/sh", &["-c", "trap '' CHLD; exec \"$0\"", &own.to_string_lossy()])?;
    fork(&mut primary, "start again");
    ready(&mut primary).await?;
    assert_eq!(again(&mut primary).await?, "Code(3)");
    over(primary).await
}

async fn reaped_elsewhere() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "lose a status");
    assert_eq!(message(&mut primary).await?, json!("ReapedElsewhere"));
    over(primary).await
}
