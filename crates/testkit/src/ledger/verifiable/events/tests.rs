use super::*;

fn acknowledged(value: &str, partition: i32, offset: i64) -> String {
    format!(r#"{{"name":"producer_send_success","value":"{value}","partition":{partition},"offset":{offset}}}"#)
}

fn got(value: &str, partition: i32, offset: i64) -> String {
    format!(r#"{{"name":"record_data","value":"{value}","partition":{partition},"offset":{offset}}}"#)
}

fn committed(ms: i64, partition: i32, offset: i64) -> String {
    let offsets = format!(r#"[{{"topic":"t","partition":{partition},"offset":{offset}}}]"#);
    format!(r#"{{"timestamp":{ms},"name":"offsets_committed","offsets":{offsets},"success":true}}"#)
}

fn log(entries: &[(i32, i64, &str)]) -> Log {
    entries.iter().map(|(partition, offset, value)| ((*partition, *offset), (*value).to_owned())).collect()
}

fn produced() -> Produced {
    let mut produced = Produced::default();
    let failed = r#"{"name":"producer_send_error","value":"0.2","message":"gone"}"#;
    produced.add(&[&acknowledged("0.0", 0, 0), &acknowledged("0.1", 1, 0), failed, "# a remark"].join("\n"));
    produced
}

#[test]
fn acknowledged_records_are_there_once_where_they_were_said_to_be() {
    assert_eq!(produced().faults(&log(&[(0, 0, "0.0"), (1, 0, "0.1")])), Vec::<String>::new());
    let with_failed = log(&[(0, 0, "0.0"), (1, 0, "0.1"), (1, 1, "0.2")]);
    assert_eq!(produced().faults(&with_failed), Vec::<String>::new(), "a failed one may be there");
    for (bad, name) in [
        (log(&[(0, 0, "0.0")]), "lost write"),
        (log(&[(0, 0, "0.0"), (1, 0, "0.2")]), "inconsistent offsets"),
        (log(&[(0, 0, "0.0"), (1, 0, "0.1"), (1, 4, "0.1")]), "duplicate"),
        (log(&[(0, 0, "0.0"), (1, 0, "0.1"), (1, 4, "9.9")]), "neither acknowledged nor failed"),
    ] {
        let faults = produced().faults(&bad);
        assert!(faults.len() == 1 && faults[0].contains(name), "{name}: {faults:?}");
    }
}

#[test]
fn groups_get_everything_at_least_once() {
    let log = log(&[(0, 0, "a"), (0, 1, "b")]);
    let mut group = Group::default();
    group.add("one", &[got("a", 0, 0), committed(5, 0, 1)].join("\n"));
    assert!(group.faults(&log)[0].starts_with("unseen: b"), "{:?}", group.faults(&log));
    group.add("two", &[got("a", 0, 0), got("b", 0, 1), committed(6, 0, 2)].join("\n"));
    assert_eq!(group.faults(&log), Vec::<String>::new());
    assert_eq!((group.len(), group.deliveries(), group.commits()), (2, 3, 2));
}

#[test]
fn group_that_commits_nothing_is_a_fault() {
    let mut group = Group::default();
    let failed = committed(5, 0, 1).replace("true", "false");
    group.add("one", &[got("a", 0, 0), failed].join("\n"));
    assert_eq!(group.faults(&log(&[(0, 0, "a")])), ["nothing was committed"]);
}

#[test]
fn commits_stay_behind_what_was_read_and_never_go_back() {
    let log = log(&[(0, 0, "a"), (0, 1, "b")]);
    let mut group = Group::default();
    group.add("one", &[got("a", 0, 0), got("b", 0, 1), committed(5, 0, 3)].join("\n"));
    assert!(group.faults(&log)[0].contains("without reading it"), "{:?}", group.faults(&log));
    let mut group = Group::default();
    group.add("one", &[got("a", 0, 0), got("b", 0, 1), committed(5, 0, 2)].join("\n"));
    group.add("two", &[got("a", 0, 0), committed(9, 0, 1)].join("\n"));
    assert!(group.faults(&log)[0].starts_with("commit went back"), "{:?}", group.faults(&log));
}

#[test]
fn one_offset_has_one_value() {
    let mut group = Group::default();
    group.add("one", &got("a", 0, 0));
    group.add("two", &got("b", 0, 0));
    assert!(group.faults(&log(&[(0, 0, "b")]))[0].starts_with("inconsistent offsets"));
}
