use super::*;

const BOOK: &str = "acked g 0 1 a:1 100 110\n# a remark\nacked g 0 2 a:2 120 130\nfailed g 0 3 a:3 140 900\n\
                    acked g 1 1 b:1 100 105\ngiven g 0 3 a:0 910 920\nacked g 0 4 c:1 950 960";

fn stored(partition: i32, offset: i64, metadata: &str) -> Stored {
    Stored { partition, offset, metadata: metadata.to_owned() }
}

fn log() -> Vec<Stored> {
    vec![stored(0, 1, "a:1"), stored(1, 1, "b:1"), stored(0, 2, "a:2"), stored(0, 3, "a:3"), stored(0, 4, "c:1")]
}

#[test]
fn commits_without_an_answer_may_be_there_or_not() {
    let (book, mut log) = (Book::of(BOOK), log());
    assert_eq!(book.faults(&log), Vec::<String>::new());
    log.remove(3);
    assert_eq!(book.faults(&log), Vec::<String>::new());
    assert_eq!((book.acknowledged(), book.failed()), (4, 1));
}

#[test]
fn acknowledged_commits_must_be_in_the_log_and_in_order() {
    let book = Book::of(BOOK);
    let mut lost = log();
    lost.remove(2);
    assert!(book.faults(&lost)[0].starts_with("lost commit"), "{:?}", book.faults(&lost));
    let mut swapped = log();
    swapped.swap(0, 2);
    assert!(book.faults(&swapped)[0].contains("lies before"), "{:?}", book.faults(&swapped));
    let mut more = log();
    more.push(stored(0, 9, "z:1"));
    assert!(book.faults(&more)[0].starts_with("nobody committed"), "{:?}", book.faults(&more));
}

#[test]
fn commit_that_was_sent_twice_counts_where_it_lies_last() {
    let mut log = log();
    log.insert(3, stored(0, 1, "a:1"));
    assert_eq!(Book::of(BOOK).faults(&log).len(), 1, "a:2 was acknowledged after a:1");
    let mut log = self::log();
    log.insert(3, stored(0, 2, "a:2"));
    assert_eq!(Book::of(BOOK).faults(&log), Vec::<String>::new());
}

#[test]
fn member_that_is_given_less_than_was_acknowledged_is_a_fault() {
    let book = Book::of("acked g 0 5 a:1 100 110\ngiven g 0 4 b:2 120 130");
    assert!(book.faults(&[stored(0, 5, "a:1")])[0].contains("went back"));
    let book = Book::of("acked g 0 5 a:1 100 125\ngiven g 0 4 b:2 120 130");
    assert_eq!(book.faults(&[stored(0, 5, "a:1")]), Vec::<String>::new(), "at the same time");
}

#[test]
fn member_that_comes_back_is_told_from_one_that_stayed() {
    let book = Book::of("given g 0 4 b:2 120 130\ngiven g 1 4 a:0 120 130");
    assert!(book.is_given_to("b:2") && !book.is_given_to("b:3") && !book.is_given_to("a:2"));
}

#[test]
fn coordinator_that_has_forgotten_an_offset_is_a_fault_whatever_was_committed_since() {
    // Partitions 0 and 1 go on, 2 and 3 rest, and were higher before they came to rest.
    let rests = "acked g 2 1002 a:rest-2 200 210\nacked g 2 2 a:rest-2 220 230\n\
                 failed g 3 1003 a:rest-3 240 250\nacked g 3 1003 a:rest-3 260 270\nacked g 3 3 a:rest-3 280 290";
    let book = Book::of(&[BOOK, rests].join("\n"));
    assert_eq!(book.resting(2), BTreeMap::from([(2, 2), (3, 3)]));
    let known = BTreeMap::from([(0, 7), (1, 1), (2, 2), (3, 3)]);
    assert_eq!(book.forgotten(&known, 2), Vec::<String>::new());
    for (wrong, said) in [
        ((2, Some(1002)), "resting partition 2 was left at 2"),
        ((3, None), "resting partition 3 was left at 3"),
        ((0, Some(3)), "partition 0 was at 4 before"),
        ((1, None), "partition 1 was at 1 before"),
    ] {
        let mut known = known.clone();
        match wrong {
            (partition, Some(offset)) => known.insert(partition, offset),
            (partition, None) => known.remove(&partition),
        };
        let faults = book.forgotten(&known, 2);
        assert!(faults.len() == 1 && faults[0].starts_with(said), "{wrong:?}: {faults:?}");
    }
}

#[test]
fn silence_is_the_longest_time_without_an_acknowledgement() {
    let book = Book::of(BOOK);
    assert_eq!(book.longest_silence(100, 1000), Duration::from_millis(830));
    assert_eq!(book.longest_silence(955, 980), Duration::from_millis(20));
    assert_eq!(book.highest(), BTreeMap::from([(0, 4), (1, 1)]));
    assert_eq!(book.partitions_acknowledged_since(0), BTreeSet::from([0, 1]));
    assert_eq!(book.partitions_acknowledged_since(900), BTreeSet::from([0]));
}

#[test]
fn log_is_read_as_kafkas_formatter_prints_it() {
    let line = r#"{"key":{"type":1,"data":{"group":"g","topic":"t","partition":2}},"value":{"version":3,"data":{"offset":7,"leaderEpoch":-1,"metadata":"a:1\u0000","commitTimestamp":1}}}"#;
    let metadata = r#"{"key":{"type":2,"data":null},"value":{"version":3,"data":{}}}"#;
    let deleted = r#"{"key":{"type":1,"data":{"group":"g","topic":"t","partition":2}},"value":null}"#;
    let log = log_of_commits(&[line, metadata, deleted, "\nProcessed a total of 3 messages"].concat());
    assert_eq!(log, Ok(BTreeMap::from([("g".to_owned(), vec![stored(2, 7, "a:1")])])));
}

#[test]
fn console_consumer_may_end_because_no_more_came() {
    let line = r#"{"key":{"type":1,"data":{"group":"g","partition":0}},"value":{"data":{"offset":7,"metadata":""}}}"#;
    let end = "2026-11-22 19:07:11,896 ERROR Error processing message, terminating consumer process:  (ConsoleConsumer)\n\
               org.apache.kafka.common.errors.TimeoutException\n";
    let log = log_of_commits(&[line, end].concat());
    assert_eq!(log, Ok(BTreeMap::from([("g".to_owned(), vec![stored(0, 7, "")])])));
    assert!(log_of_commits(&[end, line].concat()).is_err(), "records behind the end");
    assert!(log_of_commits(&[line, "7", line].concat()).is_err(), "a number is no record");
}

#[test]
fn what_the_formatter_prints_and_nobody_can_read_is_an_error() {
    let good = r#"{"key":{"type":1,"data":{"group":"g","topic":"t","partition":2}},"value":{"version":3,"data":{"offset":7,"metadata":""}}}"#;
    let torn = &good[..good.len() - 9];
    let strange = good.replace("offset", "position");
    for (text, said) in [
        ([good, "WARN a line between", good].concat(), "WARN a line between"),
        ([good, torn].concat(), "no record"),
        ([good, &strange, good].concat(), "position"),
        ([r#"{"key":null,"value":null}"#].concat(), "null"),
    ] {
        let told = log_of_commits(&text).expect_err(&text);
        assert!(told.contains(said), "{told}");
    }
}
