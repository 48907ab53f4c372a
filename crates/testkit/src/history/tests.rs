//! A history comes back as it was written, and tells its silences.

use super::*;

fn value(number: u64) -> Value {
    Value { worker: Worker(1), number }
}

fn sent(at_us: u64) -> Event {
    Event { at_us, worker: Worker(1), what: What::Sent { partition: 0, values: vec![value(at_us)], offset: 0 } }
}

#[test]
fn a_value_is_read_as_it_is_written() {
    let value = Value { worker: Worker(3), number: 17 };
    assert_eq!(value.to_string(), "3.17");
    assert_eq!("3.17".parse::<Value>().unwrap(), value);
    for text in ["", "3", "3.", ".17", "3.x", "3.-1"] {
        assert!(text.parse::<Value>().is_err(), "{text}");
    }
}

#[test]
fn a_file_tells_all_that_was_noted_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("history.jsonl")).unwrap();
    let (producer, reader) = (recorder.worker(), recorder.worker());
    assert!(producer != reader && producer != Worker::NEMESIS);
    recorder.note(producer, What::Send { partition: 0, values: vec![value(0), value(1)] });
    recorder.fault("SIGKILL 2");
    recorder.note(producer, What::Sent { partition: 0, values: vec![value(0), value(1)], offset: 7 });
    recorder.note(reader, What::Polled { partition: 0, records: vec![(7, value(0)), (8, value(1))] });
    recorder.note(Worker::NEMESIS, What::Healed);
    let events = read(recorder.flushed()).unwrap();
    assert_eq!(events, recorder.events());
    assert!(events.is_sorted_by_key(|event| event.at_us));
    assert_eq!(recorder.acknowledged(), 2);
    assert_eq!(recorder.events_from(4).len(), 1);
}

#[test]
fn version_1_of_the_layout_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let text = concat!(
        "{\"history_version\":1}\n",
        "{\"at_us\":5,\"worker\":1,\"what\":{\"send\":{\"partition\":2,\"values\":[\"1.0\"]}}}\n",
        "{\"at_us\":9,\"worker\":2,\"what\":{\"polled\":{\"partition\":2,\"records\":[[4,\"1.0\"]]}}}\n",
        "{\"at_us\":9,\"worker\":2,\"what\":{\"end\":{\"partition\":2,\"offset\":5,\"asked_us\":8}}}\n",
        "{\"at_us\":9,\"worker\":0,\"what\":\"healed\"}\n",
    );
    std::fs::write(&path, text).unwrap();
    let events = read(&path).unwrap();
    assert_eq!(events.len(), 4);
    assert_eq!(events[1].what, What::Polled { partition: 2, records: vec![(4, value(0))] });
    let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    assert_eq!(lines.join("\n") + "\n", text.split_once('\n').unwrap().1);
}

#[test]
fn version_2_of_the_layout_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let text = concat!(
        "{\"history_version\":2}\n",
        "{\"at_us\":1,\"worker\":1,\"what\":\"begin\"}\n",
        "{\"at_us\":2,\"worker\":1,\"what\":{\"ending\":{\"commit\":true}}}\n",
        "{\"at_us\":3,\"worker\":1,\"what\":{\"ended\":{\"outcome\":\"unknown\"}}}\n",
        "{\"at_us\":4,\"worker\":2,\"what\":\"reads_uncommitted\"}\n",
        "{\"at_us\":5,\"worker\":3,\"what\":{\"member\":{\"group\":\"readers\"}}}\n",
    );
    std::fs::write(&path, text).unwrap();
    let whats: Vec<What> = read(&path).unwrap().into_iter().map(|event| event.what).collect();
    let (ended, member) = (What::Ended { outcome: Outcome::Unknown }, What::Member { group: "readers".to_owned() });
    assert_eq!(whats, [What::Begin, What::Ending { commit: true }, ended, What::ReadsUncommitted, member]);
}

#[test]
fn version_3_of_the_layout_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let text = "{\"history_version\":3}\n\
                {\"at_us\":5,\"worker\":3,\"what\":{\"committed\":{\"partitions\":[[0,7],[2,9]]}}}\n";
    std::fs::write(&path, text).unwrap();
    let event = Event { at_us: 5, worker: Worker(3), what: What::Committed { partitions: vec![(0, 7), (2, 9)] } };
    assert_eq!(serde_json::to_string(&event).unwrap(), text.lines().nth(1).unwrap());
    assert_eq!(read(&path).unwrap(), [event]);
}

#[test]
fn a_newer_layout_and_a_torn_line_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    std::fs::write(&path, "{\"history_version\":4}\n").unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("layout 4 is newer"));
    std::fs::write(&path, "{\"history_version\":1}\n{\"at_us\":5,\"wor").unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("line 2"));
}

#[test]
fn the_longest_stall_begins_with_the_last_acknowledgement_before_the_kill() {
    let events: Vec<Event> = [0, 100, 200, 900, 1_000, 1_100].map(sent).into();
    assert_eq!(longest_stall(&events, 300, 1_100), Duration::from_micros(700));
    assert_eq!(longest_stall(&events, 950, 1_100), Duration::from_micros(100));
}

#[test]
fn a_stall_that_never_ends_lasts_until_the_end() {
    let events: Vec<Event> = [0, 100].map(sent).into();
    assert_eq!(longest_stall(&events, 150, 5_000), Duration::from_micros(4_900));
}
