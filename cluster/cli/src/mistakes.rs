//! Warnings about likely mistakes: an option of `cluster run` after the program, and a variable that
//! resembles a setting.

use std::borrow::Cow;
use std::env;
use std::ffi::{OsStr, OsString};

use clap::{Args, Command};
use cluster::SIGNAL_UNTIL_MAIN_VARIABLE;

use crate::args::RunArguments;
use crate::{log, options, processes};

/// The beginning of the variables of all settings.
const PREFIX: &str = "CLUSTER_";

/// Variables of a worker, which a service below another service inherits.
const OF_WORKERS: [&str; 3] = ["CLUSTER_HANDED_OVER", SIGNAL_UNTIL_MAIN_VARIABLE, "CLUSTER_SLOT"];

/// Logs a warning for each kind of mistake.
pub(crate) fn warn(arguments: &RunArguments) {
    let line: Vec<OsString> = env::args_os().collect();
    if let Some(option) = misplaced(&arguments.program, &line) {
        tracing::warn!(
            "`{option}` after the program is an argument of the program; write the option of `cluster run` before the \
             program, or `--` before the program to silence this warning"
        );
    }
    let unknown: Vec<String> = env::vars_os().filter_map(|(name, value)| unknown(&name, &value)).collect();
    if !unknown.is_empty() {
        tracing::warn!("no settings: {}; `cluster run --help` lists all variables", unknown.join(", "));
    }
}

/// An argument of the program that is an option of `cluster run`. `None` for arguments behind `--`, before or
/// after the program.
fn misplaced(program: &[OsString], line: &[OsString]) -> Option<String> {
    let before = line.len().checked_sub(program.len() + 1).and_then(|at| line.get(at));
    if before.is_some_and(|before| before == "--") {
        return None;
    }
    let run = RunArguments::augment_args(Command::new("run"));
    let is_option = |word: &str| {
        let name = word.split('=').next().unwrap_or(word);
        let long = name.strip_prefix("--");
        let short = name.strip_prefix('-').and_then(|name| name.parse().ok());
        run.get_arguments().any(|known| {
            long.is_some_and(|long| known.get_long() == Some(long))
                || short.is_some_and(|short| known.get_short() == Some(short))
        })
    };
    let words = program.iter().skip(1).take_while(|word| *word != "--").map(|word| word.to_string_lossy());
    words.into_iter().find(|word| is_option(word)).map(Cow::into_owned)
}

/// A variable with the prefix of the settings that is no setting, with the most similar setting.
fn unknown(name: &OsStr, value: &OsStr) -> Option<String> {
    let name = name.to_str()?;
    let own = name.strip_prefix(PREFIX)?;
    let run = RunArguments::augment_args(Command::new("run"));
    let settings = run.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    let settings: Vec<&str> = settings.chain([log::FILTER]).collect();
    let is_of_worker = OF_WORKERS.contains(&name) || (name == processes::MARK && processes::is_mark(value));
    if settings.contains(&name) || is_of_worker {
        return None;
    }
    let known = settings.iter().filter_map(|setting| setting.strip_prefix(PREFIX)).collect();
    let question = options::similar(own, known).map(|known| format!(" (did you mean {PREFIX}{known}?)"));
    Some(format!("{name}{}", question.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_after_the_program_is_found() {
        let misplaced = |before: &[&str], program: &[&str]| {
            let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
            misplaced(&words(program), &words(&[before, program].concat()))
        };
        for (program, option) in [
            (&["app.js", "-n", "2"][..], Some("-n")),
            (&["app.js", "-v", "--drain=5s"], Some("--drain=5s")),
            (&["app.js", "--dry-run"], Some("--dry-run")),
            (&["app.js", "-x", "--nothing"], None),
            (&["app.js", "--", "-n", "2"], None),
            (&[], None),
        ] {
            assert_eq!(misplaced(&["cluster", "run"], program).as_deref(), option, "{program:?}");
        }
        assert_eq!(misplaced(&["cluster", "run", "--"], &["app.js", "-n", "2"]), None);
    }

    #[test]
    fn variable_without_setting_is_found() {
        let unknown = |name: &str, value: &str| unknown(name.as_ref(), value.as_ref());
        for (name, value, found) in [
            ("CLUSTER_WORKER", "1", Some("CLUSTER_WORKER (did you mean CLUSTER_WORKERS?)")),
            ("CLUSTER_DRAINS", "4s", Some("CLUSTER_DRAINS (did you mean CLUSTER_DRAIN?)")),
            ("CLUSTER_QQ", "1", Some("CLUSTER_QQ")),
            ("CLUSTER_DRAIN", "4s", None),
            ("CLUSTER_CONFIG", "a.toml", None),
            ("CLUSTER_LOG", "debug", None),
            ("CLUSTER_WORKER", "812.3", None),
            ("CLUSTER_SLOT", "0", None),
            ("NODE_CLUSTER_SCHED_POLICY", "rr", None),
        ] {
            assert_eq!(unknown(name, value).as_deref(), found, "{name}={value}");
        }
    }
}
