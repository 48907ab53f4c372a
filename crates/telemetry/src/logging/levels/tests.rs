//! Claims about changed levels, without a subscriber: there is one per process.

use super::*;

fn changed(changes: &[Change<'_>]) -> Result<BTreeMap<String, LevelFilter>, LevelError> {
    with(&BTreeMap::new(), changes)
}

#[test]
fn later_words_of_the_filter_count_and_the_filter_is_legal() {
    let changed = changed(&[(ROOT, Some("WARN")), ("twinstream_log", Some("TRACE"))]).unwrap();
    let text = text("info,twinstream_log=debug,hyper=warn", &changed);
    assert_eq!(text, "info,twinstream_log=debug,hyper=warn,warn,twinstream_log=trace");
    let filter = EnvFilter::try_new(&text).unwrap();
    assert_eq!(filter.max_level_hint(), Some(LevelFilter::TRACE));
    let shown = filter.to_string();
    assert!(shown.contains("twinstream_log=trace") && !shown.contains("twinstream_log=debug"), "{shown}");
}

#[test]
fn one_bad_change_refuses_all() {
    let bad = [("a", Some("LOUD")), ("a,b", Some("INFO")), ("", Some("INFO")), ("a=b", None), (ROOT, None)];
    for bad in bad {
        changed(&[("twinstream_log", Some("INFO")), bad]).unwrap_err();
    }
    let names: Vec<String> = (0..=CHANGED_MAX).map(|i| format!("part{i}")).collect();
    let many: Vec<Change<'_>> = names.iter().map(|name| (name.as_str(), Some("INFO"))).collect();
    assert_eq!(changed(&many), Err(LevelError::TooMany));
}

#[test]
fn reset_logger_is_as_at_the_start() {
    let before = changed(&[("twinstream_log", Some("TRACE"))]).unwrap();
    assert!(with(&before, &[("twinstream_log", None)]).unwrap().is_empty());
}

#[test]
fn levels_of_the_start_are_shown() {
    let said = said_in("info,hyper=warn,[span{field=1}]=debug,twinstream_log=off");
    let expected = [("hyper", LevelFilter::WARN), (ROOT, LevelFilter::INFO), ("twinstream_log", LevelFilter::OFF)];
    assert_eq!(said, expected.map(|(name, level)| (name.to_owned(), level)).into());
}

#[test]
fn part_has_the_level_of_the_nearest_part_above_it() {
    let said = said_in("info,twinstream_log=debug,twinstream_log::segment=trace");
    let levels = ["twinstream_log::segment::scan", "twinstream_log::cleaner", "twinstream_logs"];
    assert_eq!(levels.map(|part| in_force(&said, part)), [LevelFilter::TRACE, LevelFilter::DEBUG, LevelFilter::INFO]);
}
