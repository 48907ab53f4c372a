//! What the table says, without brokers.

use super::*;

fn row(group: &str, topic: &str, partition: i32, committed: i64, end: Option<i64>, time_ms: Option<i64>) -> Row {
    Row {
        group: group.into(),
        topic: TopicName::parse(topic).expect("a name"),
        partition: PartitionIndex(partition),
        committed: Offset(committed),
        standing: Standing { end: end.map(Offset), time_ms },
    }
}

/// Every line of the table's text, without HELP and TYPE.
fn lines(table: &Table, now_ms: i64) -> Vec<String> {
    let mut found = Vec::new();
    for family in families(table, now_ms) {
        for metric in family.get_metric() {
            let labels: Vec<String> =
                metric.get_label().iter().map(|label| format!("{}={}", label.name(), label.value())).collect();
            found.push(format!("{} {} {}", family.name(), labels.join(","), metric.get_gauge().get_value()));
        }
    }
    found
}

#[test]
fn lag_is_told_in_records_and_in_seconds() {
    let rows = vec![row("g", "t", 0, 4, Some(10), Some(2_000)), row("g", "t", 1, 7, Some(7), None)];
    let lines = lines(&Table { rows, members: vec![("g".into(), 2)] }, 5_500);
    for wanted in [
        "kafka_consumergroup_current_offset consumergroup=g,partition=0,topic=t 4",
        "kafka_consumergroup_current_offset_sum consumergroup=g,topic=t 11",
        "kafka_consumergroup_lag consumergroup=g,partition=0,topic=t 6",
        "kafka_consumergroup_lag consumergroup=g,partition=1,topic=t 0",
        "kafka_consumergroup_lag_sum consumergroup=g,topic=t 6",
        "kafka_consumergroup_members consumergroup=g 2",
        "twinstream_group_lag_seconds consumergroup=g,partition=0,topic=t 3.5",
        "twinstream_group_lag_seconds consumergroup=g,partition=1,topic=t 0",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} is not in {lines:#?}");
    }
}

#[test]
fn what_is_not_known_has_no_series() {
    let rows = vec![row("g", "t", 0, 4, None, None), row("g", "t", 1, 4, Some(6), None)];
    let lines = lines(&Table { rows, members: Vec::new() }, 5_500);
    assert!(!lines.iter().any(|line| line.starts_with("kafka_consumergroup_lag_sum")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("twinstream_group_lag_seconds")), "{lines:#?}");
    let lags: Vec<&String> = lines.iter().filter(|line| line.starts_with("kafka_consumergroup_lag ")).collect();
    assert_eq!(lags, ["kafka_consumergroup_lag consumergroup=g,partition=1,topic=t 2"]);
}

#[test]
fn group_that_is_ahead_of_a_cut_log_has_no_negative_lag() {
    let rows = vec![row("g", "t", 0, 9, Some(5), None)];
    assert!(
        lines(&Table { rows, members: Vec::new() }, 0)
            .contains(&"kafka_consumergroup_lag consumergroup=g,partition=0,topic=t 0".to_owned())
    );
}
