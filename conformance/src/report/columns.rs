//! A trace as a table with one column per observer. Lines in the same row are unrelated, because observers
//! have no common clock.

use std::fmt::Write as _;

use crate::text::wrapped;
use crate::trace::Trace;

/// The largest width of a column. Longer lines wrap.
const WIDEST: usize = 44;
const BETWEEN: &str = "  ";

/// The trace in tables of at most `width` characters.
pub fn columns(trace: &Trace, width: usize) -> String {
    let mut columns: Vec<Column> = Vec::new();
    for (observer, lines) in &trace.observers {
        let mut column = Column { width: 0, rows: vec![observer.to_string(), String::new()] };
        column.rows.extend(lines.iter().flat_map(|line| wrapped(&line.to_string(), WIDEST, "  ")));
        column.width = column.rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
        columns.push(column);
    }
    let mut text = String::new();
    while !columns.is_empty() {
        let rest = columns.split_off(fitting(&columns, width));
        table(&columns, &mut text);
        columns = rest;
    }
    text
}

struct Column {
    width: usize,
    rows: Vec<String>,
}

/// The number of columns side by side; at least one.
fn fitting(columns: &[Column], width: usize) -> usize {
    let mut used = 0;
    let fits = |column: &&Column| {
        used += column.width + BETWEEN.len();
        used <= width + BETWEEN.len()
    };
    columns.iter().take_while(fits).count().max(1)
}

fn table(columns: &[Column], text: &mut String) {
    let height = columns.iter().map(|column| column.rows.len()).max().unwrap_or(0);
    for row in 0..height {
        let cells = columns.iter().map(|column| {
            let cell = column.rows.get(row).map_or("", String::as_str);
            format!("{cell:<width$}", width = column.width)
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join(BETWEEN).trim_end());
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn trace(lines: &[&str]) -> Trace {
        Trace::of(lines.iter().map(|line| line.parse().expect(line)), &BTreeSet::new())
    }

    #[test]
    fn columns_wrap_at_the_width() {
        let trace =
            trace(&["primary: start", "worker 1: start", "worker 1: end server=web", "client 1: end"]);
        let beside =
            "primary  worker 1        client 1\n\nstart    start           end\n         end server=web\n\n";
        assert_eq!(columns(&trace, 33), beside);
        let below = "primary  worker 1\n\nstart    start\n         end server=web\n\nclient 1\n\nend\n\n";
        assert_eq!(columns(&trace, 32), below);
    }

    #[test]
    fn long_lines_wrap() {
        let line = "exit worker=1 code=3 signal=- state=dead after_disconnect=false connected=false";
        let rows = ["exit worker=1 code=3 signal=- state=dead", "  after_disconnect=false connected=false"];
        assert_eq!(wrapped(line, WIDEST, "  "), rows);
        assert_eq!(wrapped("aaaa bb", 2, "  "), ["aaaa", "  bb"]);
    }
}
