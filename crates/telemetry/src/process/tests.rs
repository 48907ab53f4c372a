//! Claims about the parsing of `/proc`.

use super::*;

#[test]
fn stat_is_parsed_behind_a_command_with_parentheses_and_spaces() {
    let text = "42 (odd) name) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 1200 1000 200";
    assert_eq!(Stat::parse(text), Some(Stat { cpu_seconds: 3.0, started_after_boot_seconds: 12.0 }));
}

#[test]
fn short_stat_is_none() {
    assert_eq!(Stat::parse("42 (x) S 1 2 3"), None);
    assert_eq!(Stat::parse("garbage"), None);
}

#[test]
fn labels_with_spaces_are_found() {
    let limits = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            20000                20000                files     \n";
    assert_eq!(number_after(limits, "Max open files"), 20000.0);
    assert_eq!(number_after(limits, "Max nothing"), 0.0);
}

#[cfg(target_os = "linux")]
#[test]
fn own_memory_and_descriptors_are_positive() {
    let collector = ProcessCollector::new();
    collector.figures.refresh();
    assert!(collector.figures.resident_bytes.get() > 0.0);
    assert!(collector.figures.open_fds.get() > 0.0);
    assert!(collector.figures.start_seconds.get() > 0.0);
}
