//! Dates as the mapping understands them: milliseconds since the epoch, in UTC.
//!
//! Formats: `strict_date_optional_time` (`2018-01-31T02:03:04.567Z`, every part after the year optional),
//! `epoch_millis`, `epoch_second`.
//! Not here: custom patterns, week dates, time zones by name.

/// How a date field reads its values; several may be tried in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DateFormat {
    OptionalTime,
    EpochMillis,
    EpochSecond,
}

pub(crate) const DEFAULT_FORMAT: &str = "strict_date_optional_time||epoch_millis";

/// `a||b` as in a mapping; the error names the part that is unknown.
pub(crate) fn parse_formats(formats: &str) -> Result<Vec<DateFormat>, String> {
    formats
        .split("||")
        .map(|name| match name {
            "strict_date_optional_time" | "date_optional_time" | "strict_date_optional_time_nanos" | "iso8601" => {
                Ok(DateFormat::OptionalTime)
            }
            "epoch_millis" => Ok(DateFormat::EpochMillis),
            "epoch_second" => Ok(DateFormat::EpochSecond),
            other => Err(format!(
                "date format [{other}] is not supported; use strict_date_optional_time, epoch_millis or epoch_second"
            )),
        })
        .collect()
}

pub(crate) fn parse(text: &str, formats: &[DateFormat]) -> Option<i64> {
    formats.iter().find_map(|format| match format {
        DateFormat::OptionalTime => parse_optional_time(text),
        DateFormat::EpochMillis => text.parse().ok(),
        DateFormat::EpochSecond => text.parse::<i64>().ok()?.checked_mul(1000),
    })
}

fn parse_optional_time(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let year: i64 = digits(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |part| digits(part, 2))?;
    let day = parts.next().map_or(Some(1), |part| digits(part, 2))?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * 86_400_000;
    Some(midnight + time.map_or(Some(0), parse_time)?)
}

/// Milliseconds since midnight UTC of `hh[:mm[:ss[.fraction]]][Z|+hh[:]mm]`.
fn parse_time(text: &str) -> Option<i64> {
    let zone_at = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone_at);
    let mut parts = clock.splitn(3, ':');
    let hour = digits(parts.next()?, 2)?;
    let minute = parts.next().map_or(Some(0), |part| digits(part, 2))?;
    let (second, millis) = parts.next().map_or(Some((0, 0)), parse_seconds)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(((hour * 60 + minute) * 60 + second) * 1000 + millis - zone_millis(zone)?)
}

fn parse_seconds(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some((digits(whole, 2)?, millis))
}

fn zone_millis(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None => return Some(0),
        Some(b'Z') => return (zone.len() == 1).then_some(0),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let offset = zone[1..].replace(':', "");
    let (hours, minutes) = match offset.len() {
        2 => (digits(&offset, 2)?, 0),
        4 => (digits(offset.get(..2)?, 2)?, digits(offset.get(2..)?, 2)?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes) * 60_000)
}

fn digits(text: &str, width: usize) -> Option<i64> {
    (text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant's `days_from_civil`: days since 1970-01-01 in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
