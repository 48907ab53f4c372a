//! The limits of a link as its answer tells them: what counts now, by which window, and until when.

use serde_json::{Value as Json, json};

use crate::config::Settings;
use crate::pace::limits::{Of, Shown};
use crate::words::utc;

/// Every limit that is set, as it is at a Unix time in seconds. `bytes_per_second` is null where nothing limits now, `window` where
/// the plain setting counts, `until` where it counts for ever.
pub(super) fn in_force(settings: &Settings, unix_s: i64) -> Vec<Json> {
    settings.pace.shown(unix_s).iter().map(json_of).collect()
}

fn json_of(shown: &Shown) -> Json {
    let (of, topics) = match &shown.of {
        Of::Link => ("link", None),
        Of::Topics(class) => ("topics", class.as_deref()),
        Of::Backfill => ("backfill", None),
    };
    json!({
        "of": of,
        "topics": topics,
        "bytes_per_second": shown.rate,
        "window": shown.window,
        "until": shown.until.map(utc),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::east_to_west;

    #[test]
    fn limit_in_force_is_told_with_its_window_and_until_when() {
        let settings = Settings::parse(&east_to_west(&[
            ("twinstream.link.bytes.per.second", "5000"),
            ("twinstream.link.bytes.per.second.windows", "mon-fri 08:00-18:00 UTC+1 10MB"),
            ("twinstream.backfill.bytes.per.second", "700"),
        ]))
        .unwrap();
        let monday_morning = 1_795_424_400; // 2026-11-23T09:00:00Z
        assert_eq!(
            in_force(&settings, monday_morning),
            [
                json!({"of": "link", "topics": null, "bytes_per_second": 10_000_000,
                "window": "mon-fri 08:00-18:00 UTC+1 10MB", "until": "2026-11-23T17:00:00Z"}),
                json!({"of": "backfill", "topics": null, "bytes_per_second": 700, "window": null, "until": null}),
            ]
        );
        let evening = in_force(&settings, monday_morning + 10 * 3_600).remove(0);
        assert_eq!((&evening["bytes_per_second"], &evening["window"]), (&json!(5_000), &Json::Null));
        assert_eq!(evening["until"], "2026-11-24T07:00:00Z");
        assert!(in_force(&Settings::parse(&east_to_west(&[])).unwrap(), monday_morning).is_empty());
    }
}
