//! The keys of the limits, and what they say.

use std::sync::Arc;

use twinstream_connect_api::config::Config as ParsedConfig;
use twinstream_connect_api::{ConfigDef, ConfigKey, ConfigType, Importance, Validator};

use super::limits::{Limits, classes, windows_of_classes, windows_of_rates};
use super::windows::Timed;

const LINK: &str = "twinstream.link.bytes.per.second";
const LINK_WINDOWS: &str = "twinstream.link.bytes.per.second.windows";
const TOPICS: &str = "twinstream.topics.bytes.per.second";
const TOPICS_WINDOWS: &str = "twinstream.topics.bytes.per.second.windows";
const BACKFILL: &str = "twinstream.backfill.bytes.per.second";
const BACKFILL_WINDOWS: &str = "twinstream.backfill.bytes.per.second.windows";
const BACKFILL_LAG: &str = "twinstream.backfill.lag.records";

/// Adds the keys to a table.
pub(crate) fn keys(def: ConfigDef) -> ConfigDef {
    use Importance::Low;
    let given =
        |name: &str, kind: ConfigType, default: &str, doc: &str| ConfigKey::with_default(name, kind, default, Low, doc);
    let rate =
        |name: &str, doc: &str| ConfigKey::optional(name, ConfigType::Long, Low, doc).check(Validator::AtLeast(1));
    let windows = |name: &str, check: fn(&str) -> Result<(), String>, doc: &str| {
        given(name, ConfigType::String, "", doc).check(Validator::Check(Arc::new(check)))
    };
    let rates = |text: &str| windows_of_rates(text).map(drop);
    let of_classes = |text: &str| windows_of_classes(text).map(drop);
    def.define(rate(LINK, "Bytes per second of batches, as they travel, that each worker copies of the link at most."))
        .define(windows(LINK_WINDOWS, rates, "Other limits at times of the week, instead of the one above: `mon-fri 08:00-18:00 10MB; sat,sun 00:00-24:00 unlimited`. Each window has days (every day if left out), times (`22:00-06:00` goes past midnight), an offset as in `UTC+1` if it is not UTC, and a limit. The first that has a moment counts, from its beginning on and without a restart."))
        .define(given(TOPICS, ConfigType::List, "", "The same for classes of topics: `REGEX=BYTES` by comma, each expression for the whole name; the first one that has a topic counts. Units as in `10MB` may be given."))
        .define(windows(TOPICS_WINDOWS, of_classes, "Other classes at times of the week, instead of all of those above: `mon-fri 08:00-18:00 logs-.*=1MB, .*=5MB`."))
        .define(rate(BACKFILL, "The same for all partitions together that are further behind than twinstream.backfill.lag.records, so that a first copy does not delay what is live."))
        .define(windows(BACKFILL_WINDOWS, rates, "Other limits at times of the week, as for the link: `mon-fri 08:00-18:00 1MB`."))
        .define(given(BACKFILL_LAG, ConfigType::Long, "100000", "How many records behind is far behind.").check(Validator::AtLeast(0)))
}

/// The limits; the error names the key.
pub(crate) fn read(config: &ParsedConfig) -> Result<Limits, (&'static str, String)> {
    let wrong = |key: &'static str| move |why: String| (key, why);
    let rates = |plain: &str, key: &'static str| {
        let plain = config.opt_int(plain).and_then(|rate| u64::try_from(rate).ok());
        windows_of_rates(config.string(key)).map(|windows| Timed { plain, windows }).map_err(wrong(key))
    };
    let topics = Timed {
        plain: classes(config.list(TOPICS)).map_err(wrong(TOPICS))?,
        windows: windows_of_classes(config.string(TOPICS_WINDOWS)).map_err(wrong(TOPICS_WINDOWS))?,
    };
    Ok(Limits {
        link: rates(LINK, LINK_WINDOWS)?,
        topics,
        backfill: rates(BACKFILL, BACKFILL_WINDOWS)?,
        backfill_lag: config.int(BACKFILL_LAG),
    })
}
