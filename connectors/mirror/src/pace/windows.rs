//! Settings that are others at times of the week: `mon-fri 08:00-18:00 10MB; sat,sun 00:00-24:00 unlimited`. Pure.
//!
//! Picture: a week is a ring of 10,080 minutes, and a window is up to seven arcs of it, one for each of its days. Days and times
//! are those of the window's own offset from UTC; the arcs are turned by it once, when they are read, so that to look something up
//! is to compare a few numbers.
//!
//! | part | what may stand there |
//! |---|---|
//! | days | `mon`, `monday`, `mon-fri`, `fri-mon`, `sat,sun`, `daily`; every day if left out |
//! | times | `08:00-18:00`; `22:00-06:00` goes past midnight and belongs to the day on which it begins; `24:00` ends a day |
//! | offset | `UTC`, `UTC+1`, `UTC-03:30`, `+05:45`; UTC if left out. Summer time is not followed |
//! | value | what counts then; the rest of the window |
//!
//! Windows are separated by `;`. Invariants: W1 the first window that has an instant counts, else the plain value does. W2 a window
//! that can never count is refused, so that no setting is without effect. W3 at most [`WINDOWS_MAX`] windows.

use std::collections::BTreeSet;

const DAY: i64 = 24 * 60;
const WEEK: i64 = 7 * DAY;
/// 1970-01-01 was a Thursday; weeks begin on Mondays.
const EPOCH_MINUTE: i64 = 3 * DAY;
const WINDOWS_MAX: usize = 32;
/// As far as time zones go.
const OFFSET_MAX: i64 = 14 * 60;
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A value, and others at times of the week.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Timed<T> {
    pub plain: T,
    pub windows: Vec<Window<T>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window<T> {
    /// As it was written.
    pub text: String,
    pub value: T,
    /// (first minute of the week, minutes), in UTC; an arc may reach into the next week.
    arcs: Vec<(i64, i64)>,
}

/// What counts at an instant.
#[derive(Debug, PartialEq)]
pub(crate) struct InForce<'a, T> {
    pub value: &'a T,
    /// The window that says so, as it was written; none when it is the plain value.
    pub window: Option<&'a str>,
    /// Unix time in seconds when another value counts; none if this one counts for ever.
    pub until: Option<i64>,
}

impl<T: PartialEq> Timed<T> {
    /// What counts at a Unix time in seconds.
    pub(crate) fn at(&self, unix_s: i64) -> InForce<'_, T> {
        let minute = unix_s.div_euclid(60);
        let now = week_minute(minute);
        let window = self.windows.iter().find(|window| window.has(now));
        let value = window.map_or(&self.plain, |window| &window.value);
        let ahead = |mark: i64| (mark - now - 1).rem_euclid(WEEK) + 1;
        let changes = marks(&self.windows).into_iter().filter(|mark| self.value_at(*mark) != value);
        let until = changes.map(ahead).min().map(|ahead| (minute + ahead) * 60);
        InForce { value, window: window.map(|window| window.text.as_str()), until }
    }

    fn value_at(&self, week_minute: i64) -> &T {
        let window = self.windows.iter().find(|window| window.has(week_minute));
        window.map_or(&self.plain, |window| &window.value)
    }

    /// Every value that may count at some time.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.plain).chain(self.windows.iter().map(|window| &window.value))
    }
}

impl<T> Window<T> {
    fn has(&self, week_minute: i64) -> bool {
        self.arcs.iter().any(|(start, minutes)| (week_minute - start).rem_euclid(WEEK) < *minutes)
    }
}

fn week_minute(minute: i64) -> i64 {
    (minute + EPOCH_MINUTE).rem_euclid(WEEK)
}

/// The minutes of the week at which a window begins or ends.
fn marks<T>(windows: &[Window<T>]) -> BTreeSet<i64> {
    let arcs = windows.iter().flat_map(|window| &window.arcs);
    arcs.flat_map(|(start, minutes)| [*start, (start + minutes).rem_euclid(WEEK)]).collect()
}

/// Reads windows; `value` reads what stands behind days and times. The error names the window and the part of it.
pub(crate) fn parse<T>(text: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<Vec<Window<T>>, String> {
    let texts: Vec<&str> = text.split(';').map(str::trim).filter(|text| !text.is_empty()).collect();
    if texts.len() > WINDOWS_MAX {
        return Err(format!("{} windows are too many, {WINDOWS_MAX} are the most", texts.len()));
    }
    let mut windows = Vec::with_capacity(texts.len());
    for text in texts {
        windows.push(window(text, &value).map_err(|why| format!("window '{text}': {why}"))?);
    }
    match hidden(&windows) {
        Some(hidden) => {
            Err(format!("window '{}': those before it cover all of its time, so it would never count", hidden.text))
        }
        None => Ok(windows),
    }
}

/// The first window that never counts. One that counts at all does so where it begins, or where one before it ends.
fn hidden<T>(windows: &[Window<T>]) -> Option<&Window<T>> {
    let marks = marks(windows);
    let counts =
        |index: usize| marks.iter().any(|mark| windows.iter().position(|window| window.has(*mark)) == Some(index));
    windows.iter().enumerate().find(|(index, _)| !counts(*index)).map(|(_, window)| window)
}

fn window<T>(text: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<Window<T>, String> {
    let (first, rest) = word(text);
    let (days, (times_text, rest)) =
        if first.contains(':') { (vec![0, 1, 2, 3, 4, 5, 6], (first, rest)) } else { (days(first)?, word(rest)) };
    if times_text.is_empty() {
        return Err("says no times; write them as in 08:00-18:00".to_owned());
    }
    let (from, to) = times(times_text)?;
    let (zone, rest) = match word(rest) {
        (first, behind) if looks_like_offset(first) => (offset(first)?, behind),
        _ => (0, rest),
    };
    if rest.is_empty() {
        return Err("says no limit; end it with one such as 10MB, or with unlimited".to_owned());
    }
    let minutes = if to > from { to - from } else { to + DAY - from };
    let start = |day: i64| (day * DAY + from - zone).rem_euclid(WEEK);
    let arcs = days.into_iter().map(|day| (start(day), minutes)).collect();
    Ok(Window { text: text.split_whitespace().collect::<Vec<_>>().join(" "), value: value(rest)?, arcs })
}

/// The first word, and what stands behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.split_once(char::is_whitespace) {
        Some((first, rest)) => (first, rest.trim_start()),
        None => (text, ""),
    }
}

/// Days by comma, each one or a range; 0 is Monday.
fn days(text: &str) -> Result<Vec<i64>, String> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok((0..7).collect());
    }
    let mut found = BTreeSet::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => _ = found.insert(day(part)?),
            Some((first, last)) => {
                let (first, last) = (day(first)?, day(last)?);
                let count = (last - first).rem_euclid(7);
                found.extend((0..=count).map(|more| (first + more) % 7));
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn day(text: &str) -> Result<i64, String> {
    let text_low = text.to_ascii_lowercase();
    let is_it = |day: &&str| *day == text_low || day[..3] == text_low;
    DAYS.iter().position(is_it).and_then(|index| i64::try_from(index).ok()).ok_or_else(|| {
        format!("'{text}' is no day; write mon, tue, wed, thu, fri, sat, sun, ranges such as mon-fri, or daily")
    })
}

/// Minutes of the day: from, to.
fn times(text: &str) -> Result<(i64, i64), String> {
    let (from, to) = text.split_once('-').ok_or_else(|| format!("'{text}' is no span of time as in 08:00-18:00"))?;
    let (from, to) = (time(from)?, time(to)?);
    if from == DAY {
        return Err(format!("'{text}' begins at 24:00; write 00:00 and the day after it"));
    }
    if from == to {
        return Err(format!("'{text}' begins where it ends; a whole day is 00:00-24:00"));
    }
    Ok((from, to))
}

fn time(text: &str) -> Result<i64, String> {
    let wrong = || format!("'{text}' is no time of day; write 00:00 to 24:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    if minutes.len() != 2 {
        return Err(wrong());
    }
    let number = |text: &str| digits(text).ok_or_else(wrong);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let time = hours * 60 + minutes;
    if minutes < 60 && time <= DAY { Ok(time) } else { Err(wrong()) }
}

/// One or two digits.
fn digits(text: &str) -> Option<i64> {
    let is_number = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Whether it is meant to be an offset: a class of topics has a `=`, a number of bytes begins with a digit.
fn looks_like_offset(text: &str) -> bool {
    let begins = text.starts_with(['+', '-']) || text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("utc"));
    let is_zone = text.contains('/') || text.eq_ignore_ascii_case("z");
    (begins || is_zone) && !text.contains('=')
}

/// Minutes east of Greenwich.
fn offset(text: &str) -> Result<i64, String> {
    let wrong = || format!("'{text}' is no offset from UTC; write UTC, UTC+1 or +05:45 (summer time is not followed)");
    if text.eq_ignore_ascii_case("z") {
        return Ok(0);
    }
    let behind = match text.get(..3) {
        Some(start) if start.eq_ignore_ascii_case("utc") => &text[3..],
        _ => text,
    };
    if behind.is_empty() {
        return Ok(0);
    }
    let (sign, number) = match (behind.strip_prefix('+'), behind.strip_prefix('-')) {
        (Some(number), _) => (1, number),
        (_, Some(number)) => (-1, number),
        _ => return Err(wrong()),
    };
    let (hours, minutes) = number.split_once(':').unwrap_or((number, "00"));
    let (hours, minutes) = (digits(hours).ok_or_else(wrong)?, digits(minutes).ok_or_else(wrong)?);
    let all = hours * 60 + minutes;
    if minutes < 60 && all <= OFFSET_MAX { Ok(sign * all) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests;
