//! Windows minute by minute, against a reading of the same words that counts days and times of day instead of arcs.

use super::*;

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is no number"))
}

fn timed(text: &str) -> Timed<u64> {
    Timed { plain: 0, windows: parse(text, number).unwrap() }
}

fn refused(text: &str) -> String {
    parse(text, number).unwrap_err()
}

/// Unix time of a minute of the week of Monday, 2026-11-23.
fn at(day: i64, time: &str) -> i64 {
    let (hours, minutes) = time.split_once(':').unwrap();
    const MONDAY: i64 = 1_795_392_000; // 2026-11-23T00:00:00Z
    MONDAY + day * 86_400 + hours.parse::<i64>().unwrap() * 3_600 + minutes.parse::<i64>().unwrap() * 60
}

/// Days (0 is Monday), times and offset in minutes, value.
type Spoken = (&'static [i64], i64, i64, i64, u64);

/// What counts by the days and times of the window's own clock.
fn spoken(windows: &[Spoken], minute: i64) -> u64 {
    let counts = |(days, from, to, offset, _): &&Spoken| {
        let here = minute + offset;
        let (day, time) = ((here.div_euclid(DAY) + 3).rem_euclid(7), here.rem_euclid(DAY));
        let before = (day + 6) % 7;
        if to > from {
            days.contains(&day) && (*from..*to).contains(&time)
        } else {
            days.contains(&day) && time >= *from || days.contains(&before) && time < *to
        }
    };
    windows.iter().find(counts).map_or(0, |window| window.4)
}

#[test]
fn every_minute_of_the_week_has_the_value_of_the_first_window_and_it_lasts_until_it_is_said_to() {
    let cases: [(&str, &[Spoken]); 6] = [
        ("mon-fri 08:00-18:00 1", &[(&[0, 1, 2, 3, 4], 480, 1_080, 0, 1)]),
        ("fri 22:00-06:00 1; sat,sun 00:00-24:00 2", &[(&[4], 1_320, 360, 0, 1), (&[5, 6], 0, 1_440, 0, 2)]),
        (
            "sun-tue 23:30-00:00 +05:45 3; 12:00-13:00 UTC-3 4",
            &[(&[6, 0, 1], 1_410, 0, 345, 3), (&[0, 1, 2, 3, 4, 5, 6], 720, 780, -180, 4)],
        ),
        ("sun 20:00-04:00 UTC-12 5", &[(&[6], 1_200, 240, -720, 5)]),
        (
            "Saturday-Monday 00:00-24:00 utc+14:00 6; daily 01:00-00:59 7",
            &[(&[5, 6, 0], 0, 1_440, 840, 6), (&[0, 1, 2, 3, 4, 5, 6], 60, 59, 0, 7)],
        ),
        ("wed 09:00-10:00 8; wed 10:00-11:00 8; wed 08:30-12:00 9", &[(&[2], 540, 660, 0, 8), (&[2], 510, 720, 0, 9)]),
    ];
    // A week and a day that begin in the middle of one, before 1970 as well.
    for first in [29_923_211_i64, -7_777] {
        for (text, windows) in cases {
            let timed = timed(text);
            let mut changes = 0;
            for minute in first..first + WEEK + DAY {
                let found = timed.at(minute * 60 + 59);
                assert_eq!(*found.value, spoken(windows, minute), "'{text}' at minute {minute}");
                let until = found.until.unwrap().div_euclid(60);
                let next = spoken(windows, minute + 1);
                assert_eq!(until == minute + 1, next != *found.value, "'{text}' at minute {minute} until {until}");
                assert_ne!(
                    spoken(windows, until),
                    *found.value,
                    "'{text}' at minute {minute}: nothing ends at {until}"
                );
                assert!(until > minute && until - minute <= WEEK);
                changes += i32::from(next != *found.value);
            }
            assert!(changes >= 2, "'{text}' changes in a week: {changes}");
        }
    }
}

#[test]
fn example_of_the_documentation_is_read_as_it_says() {
    let timed = timed("mon-fri 08:00-18:00 10; sat-sun 00:00-24:00 99");
    let found = timed.at(at(0, "09:15"));
    assert_eq!((*found.value, found.until), (10, Some(at(0, "18:00"))));
    assert_eq!(found.window, Some("mon-fri 08:00-18:00 10"));
    let plain = timed.at(at(0, "18:00"));
    assert_eq!((*plain.value, plain.window, plain.until), (0, None, Some(at(1, "08:00"))));
    let weekend = timed.at(at(5, "00:00"));
    assert_eq!((*weekend.value, weekend.until), (99, Some(at(7, "00:00"))), "two days of one window are one stretch");
}

#[test]
fn what_never_changes_has_no_end() {
    let always = timed("daily 00:00-24:00 UTC+3 5");
    assert_eq!((*always.at(at(3, "11:11")).value, always.at(at(3, "11:11")).until), (5, None));
    let none = Timed { plain: 7, windows: Vec::<Window<u64>>::new() };
    assert_eq!(none.at(0), InForce { value: &7, window: None, until: None });
    assert_eq!(timed("mon 08:00-09:00 0").at(at(2, "00:00")).until, None, "the plain value by another name");
    assert_eq!(parse(" ; ", number), Ok(Vec::new()));
}

#[test]
fn what_is_wrong_is_named_with_its_window() {
    for (text, parts) in [
        ("mon-fri 08:00-18:00 1; sat-sum 00:00-24:00 2", &["window 'sat-sum 00:00-24:00 2'", "'sum' is no day"][..]),
        ("mon-fri 8-18 1", &["'8' is no time of day", "00:00 to 24:00"]),
        ("mon-fri 08:00-25:00 1", &["'25:00' is no time"]),
        ("mon-fri 08:00-24:01 1", &["'24:01' is no time"]),
        ("mon-fri 08:60-18:00 1", &["'08:60' is no time"]),
        ("mon-fri 08:00+18:00 1", &["'08:00+18:00' is no span"]),
        ("mon 24:00-06:00 1", &["begins at 24:00"]),
        ("08:00-08:00 1", &["begins where it ends", "00:00-24:00"]),
        ("mon-fri", &["says no times"]),
        ("mon-fri 08:00-18:00", &["says no limit", "unlimited"]),
        ("mon 08:00-18:00 Europe/Berlin 1", &["'Europe/Berlin' is no offset", "summer time"]),
        ("mon 08:00-18:00 UTC+15 1", &["'UTC+15' is no offset"]),
        ("mon 08:00-18:00 utc1 1", &["'utc1' is no offset"]),
        ("mon 08:00-18:00 fast", &["window 'mon 08:00-18:00 fast'", "'fast' is no number"]),
        ("mon,tue 08:00-18:00 1; tue 09:00-12:00 2", &["window 'tue 09:00-12:00 2'", "never count"]),
        ("fri 22:00-02:00 1; fri 23:00-24:00 2; sat 00:00-02:00 3", &["window 'fri 23:00-24:00 2'", "never count"]),
    ] {
        let why = refused(text);
        for part in parts {
            assert!(why.contains(part), "'{text}': {part} is not in: {why}");
        }
    }
    let many = vec!["mon 08:00-09:00 1"; WINDOWS_MAX + 1].join(";");
    assert!(refused(&many).contains("too many"));
}

#[test]
fn no_text_breaks_the_reader() {
    let parts = ["mon", "fri-tue", ",", "-", ":", "08:00-18:00", "é", "UTC", "+", "24:00", "10", ";", " ", "=", "∞"];
    let mut state = 1_u32;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..6 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(parts[(state >> 16) as usize % parts.len()]);
            text.push_str(if state & 0x8000 == 0 { " " } else { "" });
        }
        if let Ok(windows) = parse(&text, number) {
            Timed { plain: 0, windows }.at(i64::from(state));
        }
    }
}
