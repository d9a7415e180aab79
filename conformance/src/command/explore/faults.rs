//! Faults, by their names on the command line.

use cluster_sim::{Fault, Faults};

use super::super::CliError;

/// The faults of these names.
pub(super) fn read(names: &[String]) -> Result<Faults, CliError> {
    let mut faults = Faults::none();
    for wanted in names {
        faults = match wanted.as_str() {
            "all" => Faults::all(),
            "none" if names.len() == 1 => faults,
            "" => return Err(CliError("`--faults` is empty; write `none` for no faults".to_owned())),
            _ => faults.and(fault(wanted)?),
        };
    }
    Ok(faults)
}

fn fault(wanted: &str) -> Result<Fault, CliError> {
    let found = Fault::ALL.into_iter().find(|fault| fault.to_string() == wanted);
    found.ok_or_else(|| {
        let names: Vec<_> = Fault::ALL.into_iter().map(|fault| fault.to_string()).collect();
        CliError(format!(
            "there is no fault `{wanted}`; there are: {}; or `all`, or `none` alone",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_names_are_distinct() {
        for fault in Fault::ALL {
            assert_eq!(read(&[fault.to_string()]).ok(), Some(Faults::only(&[fault])));
        }
    }
}
