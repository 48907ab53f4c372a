//! What the settings allow, in bytes per second, now and at other times of the week. Pure.
//!
//! Invariants: a rate is at least one byte per second, so that a limit never stops a link in silence; where nothing is said there is
//! no limit. Not here: when windows are (`windows`), and how a limit is kept (`super`).

use regex::Regex;

use super::windows::{InForce, Timed, Window, parse};
use crate::policy::full_match;

/// Bytes per second; `None`: as many as there are.
pub(crate) type Rate = Option<u64>;

/// Units of bytes. None of bits: `Mb` is refused, not taken for an eighth or for eight times as much.
const UNITS: [(&str, f64); 9] = [
    ("", 1.0),
    ("B", 1.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];

/// Topics that share a limit.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    /// As it was written.
    pub text: String,
    /// For the whole name.
    pub pattern: Regex,
    pub rate: Rate,
}

impl PartialEq for Class {
    fn eq(&self, other: &Class) -> bool {
        (&self.text, self.rate) == (&other.text, other.rate)
    }
}

/// The limits of a link.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub link: Timed<Rate>,
    /// The first that matches a topic counts.
    pub topics: Timed<Vec<Class>>,
    pub backfill: Timed<Rate>,
    /// So many records behind is far behind.
    pub backfill_lag: i64,
}

/// What is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Link,
    /// The topics of a class; without its text all of them, while no class counts.
    Topics(Option<String>),
    Backfill,
}

/// One limit at an instant, as operators read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub of: Of,
    pub rate: Rate,
    /// The window that says so, as it was written.
    pub window: Option<String>,
    /// Unix time in seconds when that changes.
    pub until: Option<i64>,
}

impl Limits {
    pub(crate) fn is_none(&self) -> bool {
        let is_open = |limit: &Timed<Rate>| limit.values().all(Option::is_none);
        is_open(&self.link) && is_open(&self.backfill) && self.topics.values().all(Vec::is_empty)
    }

    /// Every limit that was set, as it is at this Unix time in seconds.
    pub(crate) fn shown(&self, unix_s: i64) -> Vec<Shown> {
        let mut shown = Vec::new();
        for (of, limit) in [(Of::Link, &self.link), (Of::Backfill, &self.backfill)] {
            if limit.plain.is_some() || !limit.windows.is_empty() {
                let now = limit.at(unix_s);
                shown.push(one(of, *now.value, &now));
            }
        }
        let now = self.topics.at(unix_s);
        shown.extend(now.value.iter().map(|class| one(Of::Topics(Some(class.text.clone())), class.rate, &now)));
        if now.value.is_empty() && !self.topics.windows.is_empty() {
            shown.push(one(Of::Topics(None), None, &now));
        }
        shown
    }
}

fn one<T>(of: Of, rate: Rate, now: &InForce<'_, T>) -> Shown {
    Shown { of, rate, window: now.window.map(str::to_owned), until: now.until }
}

/// Entries `REGEX=RATE`; the error names the entry.
pub(crate) fn classes(entries: &[String]) -> Result<Vec<Class>, String> {
    let read = |entry: &String| {
        let (pattern, text) =
            entry.rsplit_once('=').ok_or_else(|| format!("'{entry}' is not REGEX=BYTES, as in logs-.*=1000000"))?;
        let rate = rate(text.trim()).map_err(|why| format!("'{entry}': {why}"))?;
        let text = pattern.trim().to_owned();
        let pattern = full_match(std::slice::from_ref(&text)).map_err(|why| format!("'{entry}': {why}"))?;
        Ok(Class { text, pattern, rate })
    };
    entries.iter().map(read).collect()
}

/// `500KB`, `10MB`, `1.5GiB`, a number of bytes, or `unlimited`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(None);
    }
    let wrong = || {
        format!(
            "'{text}' is no number of bytes per second; write 500KB, 10MB, 1.5GB, 8MiB (bytes, not bits), a plain number, or unlimited"
        )
    };
    let bare = text.strip_suffix("/s").unwrap_or(text);
    let (number, unit) = bare.split_at(bare.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(bare.len()));
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?.1;
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit;
    if bytes < 1.0 {
        return Err(format!(
            "'{text}' copies nothing, give at least 1 byte per second; pause the link, or take the topic out of topics, to copy nothing"
        ));
    }
    Ok(Some(bytes as u64))
}

/// Windows of one limit.
pub(crate) fn windows_of_rates(text: &str) -> Result<Vec<Window<Rate>>, String> {
    parse(text, rate)
}

/// Windows of classes; in a window its classes count instead of the plain ones.
pub(crate) fn windows_of_classes(text: &str) -> Result<Vec<Window<Vec<Class>>>, String> {
    parse(text, |entries| {
        let entries: Vec<String> = entries.split(',').map(|entry| entry.trim().to_owned()).collect();
        classes(&entries)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T09:00:00Z, a Monday.
    const MORNING: i64 = 1_795_424_400;

    fn class_list(entry: &str) -> Result<Vec<Class>, String> {
        classes(&[entry.to_owned()])
    }

    #[test]
    fn rates_are_bytes_with_units_of_bytes() {
        for (text, bytes) in [
            ("1", 1),
            ("1000000", 1_000_000),
            ("500KB", 500_000),
            ("500kB", 500_000),
            ("10MB", 10_000_000),
            ("10 MB", 10_000_000),
            ("10MB/s", 10_000_000),
            ("1.5GB", 1_500_000_000),
            ("8MiB", 8_388_608),
        ] {
            assert_eq!(rate(text), Ok(Some(bytes)), "{text}");
        }
        assert_eq!(rate("Unlimited"), Ok(None));
        for text in ["10Mb", "10Mbit", "fast", "", "MB", "1.2.3MB", "-5", "10MBx"] {
            let why = rate(text).unwrap_err();
            assert!(why.contains(&format!("'{text}'")) && why.contains("bytes, not bits"), "{why}");
        }
        assert!(rate("0").unwrap_err().contains("at least 1"));
        assert!(rate("0.4B").unwrap_err().contains("at least 1"));
    }

    #[test]
    fn wrong_classes_are_named() {
        assert!(class_list("logs").unwrap_err().contains("REGEX=BYTES"));
        assert!(class_list("logs=fast").unwrap_err().contains("'fast'"));
        assert!(class_list("logs=0").unwrap_err().contains("at least 1"));
        let why = class_list("(=5").unwrap_err();
        assert!(why.contains("'(=5'") && why.contains("regular expression"), "{why}");
        let why = windows_of_classes("mon 08:00-18:00 logs-.*=1MB, other").unwrap_err();
        assert!(why.contains("window 'mon 08:00-18:00 logs-.*=1MB, other'") && why.contains("'other' is not"), "{why}");
    }

    #[test]
    fn wrong_window_is_refused_at_its_setting() {
        for (key, value, part) in [
            ("twinstream.link.bytes.per.second.windows", "mon-fri 08:00-18:00 10Mb", "'10Mb'"),
            ("twinstream.backfill.bytes.per.second.windows", "mon-fri 08:00-18:00", "says no limit"),
            ("twinstream.topics.bytes.per.second.windows", "mon-fri 08:00-18:00 10MB", "REGEX=BYTES"),
        ] {
            let config = crate::tests::east_to_west(&[(key, value)]);
            let values = crate::config::config_def().validate(&config);
            let wrong: Vec<_> = values.into_iter().filter(|found| !found.errors.is_empty()).collect();
            assert_eq!(wrong.len(), 1, "{key}");
            let why = &wrong[0].errors[0];
            assert!(wrong[0].name == key && why.contains("window 'mon-fri") && why.contains(part), "{key}: {why}");
        }
    }

    #[test]
    fn a_class_may_begin_like_an_offset() {
        let windows = windows_of_classes("mon 08:00-18:00 utc-.*=1MB,z=2").unwrap();
        let texts: Vec<&str> = windows[0].value.iter().map(|class| class.text.as_str()).collect();
        assert_eq!(texts, ["utc-.*", "z"]);
    }

    #[test]
    fn what_is_in_force_is_shown_with_its_window_and_its_end() {
        let limits = Limits {
            link: Timed { plain: Some(50), windows: windows_of_rates("mon-fri 08:00-18:00 10MB").unwrap() },
            topics: Timed {
                plain: Vec::new(),
                windows: windows_of_classes("mon 08:00-12:00 +01:00 logs-.*=1MB, .*=unlimited").unwrap(),
            },
            ..Limits::default()
        };
        assert!(!limits.is_none() && Limits::default().is_none());
        let row = |of: Of, rate: Rate, window: Option<&str>, until: i64| Shown {
            of,
            rate,
            window: window.map(str::to_owned),
            until: Some(until),
        };
        let link = "mon-fri 08:00-18:00 10MB";
        let topics = "mon 08:00-12:00 +01:00 logs-.*=1MB, .*=unlimited";
        assert_eq!(
            limits.shown(MORNING),
            [
                row(Of::Link, Some(10_000_000), Some(link), MORNING + 9 * 3_600),
                row(Of::Topics(Some("logs-.*".to_owned())), Some(1_000_000), Some(topics), MORNING + 2 * 3_600),
                row(Of::Topics(Some(".*".to_owned())), None, Some(topics), MORNING + 2 * 3_600),
            ]
        );
        assert_eq!(
            limits.shown(MORNING + 10 * 3_600),
            [
                row(Of::Link, Some(50), None, MORNING + 23 * 3_600),
                row(Of::Topics(None), None, None, MORNING + 166 * 3_600),
            ]
        );
    }
}
