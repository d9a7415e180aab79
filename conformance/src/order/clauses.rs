//! Compares a trace with the clauses of the scenario itself.

use std::collections::BTreeSet;

use super::Misfit;
use crate::observation::{Line, Observation, Observer};
use crate::pattern::LinePattern;
use crate::scenario::{Clause, ClauseKind};
use crate::trace::Trace;

/// The mismatch of a trace with a clause.
pub(super) fn check(clause: &Clause, trace: &Trace) -> Option<Misfit> {
    let found = match &clause.kind {
        ClauseKind::Seen { line, times } => seen(line, times, trace),
        ClauseKind::Before { first, then } => before(first, then, trace),
        ClauseKind::Cycle { lines, detail, over } => cycle(lines, detail, *over, trace),
        ClauseKind::OneOf(lists) => one_of(lists, trace),
    };
    found.map(|Misfit { seen, expected, .. }| Misfit {
        seen,
        requirement: clause.requirement,
        expected: format!("{expected} ({})", clause.because.trim_end_matches('.')),
    })
}

type Place<'a> = (Observer, usize, &'a Observation);

fn places<'a>(pattern: &'a LinePattern, trace: &'a Trace) -> impl Iterator<Item = Place<'a>> {
    let numbered = trace.observers.iter().flat_map(|(observer, lines)| {
        lines.iter().enumerate().map(|(index, line)| (*observer, index + 1, line))
    });
    numbered.filter(|(observer, _, line)| {
        pattern.fits(&Line { observer: *observer, observation: (*line).clone() }, None)
    })
}

fn misfit((observer, number, line): Place<'_>, expected: String) -> Misfit {
    Misfit { seen: Some((observer, number, line.clone())), expected, requirement: None }
}

fn seen(pattern: &LinePattern, times: &[u32], trace: &Trace) -> Option<Misfit> {
    let places: Vec<_> = places(pattern, trace).collect();
    let permitted = times.iter().map(|times| *times as usize);
    if permitted.clone().any(|times| times == places.len()) {
        return None;
    }
    let numbers = times.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ");
    let expected = format!("{numbers} x `{pattern}`, found {}", places.len());
    let too_many = permitted.max().and_then(|most| places.get(most));
    Some(
        too_many.map_or_else(
            || Misfit::missing(None, expected.clone()),
            |place| misfit(*place, expected.clone()),
        ),
    )
}

fn before(first: &LinePattern, then: &LinePattern, trace: &Trace) -> Option<Misfit> {
    let firsts: Vec<_> = places(first, trace).collect();
    let early = places(then, trace).find(|(observer, number, _)| {
        firsts.iter().any(|(other, later, _)| other == observer && later > number)
    });
    early.map(|place| misfit(place, format!("`{first}` before `{then}`")))
}

fn cycle(pattern: &LinePattern, detail: &str, over: u32, trace: &Trace) -> Option<Misfit> {
    let over = over as usize;
    let places: Vec<_> = places(pattern, trace).collect();
    let values: Vec<_> = places.iter().map(|(_, _, line)| line.detail(detail)).collect();
    let turns = |index: usize| {
        if index < over {
            !values[..index].contains(&values[index])
        } else {
            values[index] == values[index - over]
        }
    };
    let different = values.iter().collect::<BTreeSet<_>>().len();
    let expected = format!("{over} values of `{detail}` in turn");
    if different < over {
        return Some(Misfit::missing(None, format!("{expected}, found {different}")));
    }
    (0..values.len()).find(|index| !turns(*index)).map(|index| misfit(places[index], expected))
}

fn one_of(lists: &[Vec<Clause>], trace: &Trace) -> Option<Misfit> {
    let found = |list: &Vec<Clause>| list.iter().find_map(|clause| check(clause, trace));
    let objections = lists.iter().map(found).collect::<Option<Vec<_>>>()?;
    let all = objections.iter().map(|misfit| misfit.expected.clone()).collect::<Vec<_>>().join("; or ");
    let seen = objections.into_iter().find_map(|misfit| misfit.seen);
    Some(Misfit { seen, expected: all, requirement: None })
}
