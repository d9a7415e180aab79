//! JavaScript dates as text.

use alloc::format;
use alloc::string::String;

/// The text of a date, which is given in milliseconds since 1970. JavaScript: `toISOString`.
#[expect(clippy::cast_possible_truncation, reason = "a date has less than 54 bits")]
pub(crate) fn iso(milliseconds: f64) -> Option<String> {
    const LAST: f64 = 8.64e15;
    if !(-LAST..=LAST).contains(&milliseconds) {
        return None;
    }
    let milliseconds = milliseconds as i64;
    let (year, month, day) = civil(milliseconds.div_euclid(86_400_000));
    let time = milliseconds.rem_euclid(86_400_000);
    let (hour, minute, second) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time % 1000))
}

/// The year, month and day at this number of days after the beginning of 1970. Here a year begins in March,
/// so the leap day is its last day.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}
