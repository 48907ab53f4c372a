//! What must differ between two clusters, made alike: addresses, ids, folders, times, and the wording of errors.

use serde_json::{Deserializer, Value};
use twinstream_testkit::peer::Printed;

/// Behind these words stands an id, or a number that counts what happened before.
const BEFORE_IDS: [&str; 4] = ["TopicId:", "ClusterId:", "ID:", "Epoch:"];
/// Behind these words stands a message of the broker, which has its own words.
const BEFORE_WORDING: [&str; 3] = ["Exception: ", "command : ", "failed: "];
const UUID_CHARS: usize = 36;
/// Formatters print the records of coordinators as JSON, without an end of line between them.
const BEFORE_RECORDS: &str = "{\"key\":";
/// What these names say in such records, unless it is nothing (-1).
const IDS: [&str; 6] = ["topicId", "memberId", "leader", "producerId", "previousProducerId", "nextProducerId"];
/// `log-dirs` prints one object, whose partitions stand in any order.
const BEFORE_DIRECTORIES: &str = "{\"brokers\":";
/// What these names say there.
const DIRECTORIES: [&str; 2] = ["logDir", "size"];
/// What stands in these columns of the tables about transactions, unless it is nothing (None, -1).
const COLUMNS: [&str; 4] = ["ProducerId", "LastTimestamp", "CurrentTransactionStartTimeMs", "TransactionDurationMs"];
/// A console consumer that is not told its group makes one up from this and a number.
const GROUP_OF_A_CONSOLE: &str = "console-consumer-";

pub(crate) fn text(printed: &Printed, bootstrap: &str) -> String {
    let port = bootstrap.rsplit(':').next().unwrap_or(bootstrap);
    let lines = printed.text.lines().map(|line| line.replace(bootstrap, "<address>").replace(port, "<port>"));
    let lines = lines.filter(|line| says_something(line));
    let lines = without_columns(lines);
    let json = |line: &str| records(line).or_else(|| Some(vec![directories(line)?]));
    let mut lines: Vec<String> = lines.flat_map(|line| json(&line).unwrap_or_else(|| vec![plain(&line)])).collect();
    // Tools print what they have from hash maps in any order.
    lines.sort();
    lines.push(format!("exit code {}", printed.code));
    lines.join("\n")
}

/// Neither empty, nor a line of a stack, nor a warning in a log.
fn says_something(line: &str) -> bool {
    let line = line.trim();
    let is_stack = line.starts_with("at ") || line.starts_with("... ");
    !line.is_empty() && !is_stack && !line.contains(" WARN ")
}

/// Below the head of a table, what stands in the columns that belong to one cluster is left out.
fn without_columns(lines: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut columns: Vec<usize> = Vec::new();
    lines.map(move |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.contains(&COLUMNS[0]) {
            columns = (0..words.len()).filter(|at| COLUMNS.contains(&words[*at])).collect();
            return line;
        }
        let is_own = |(at, word): &(usize, &&str)| columns.contains(at) && !["None", "-1"].contains(*word);
        if !words.iter().enumerate().any(|word| is_own(&word)) {
            return line;
        }
        let words = words.iter().enumerate().map(|word| if is_own(&word) { "<id>" } else { *word.1 });
        words.collect::<Vec<_>>().join(" ")
    })
}

/// What is in the directories of brokers, without their names and sizes.
fn directories(line: &str) -> Option<String> {
    if !line.starts_with(BEFORE_DIRECTORIES) {
        return None;
    }
    let mut value = serde_json::from_str(line).ok()?;
    hide_directories(&mut value);
    Some(value.to_string())
}

fn hide_directories(value: &mut Value) {
    match value {
        Value::Array(values) => {
            values.iter_mut().for_each(hide_directories);
            values.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if DIRECTORIES.contains(&name.as_str()) {
                    *value = Value::from("<own>");
                } else {
                    hide_directories(value);
                }
            }
        }
        _ => (),
    }
}

/// Every record of a line of records.
fn records(line: &str) -> Option<Vec<String>> {
    let (before, _) = line.split_once(BEFORE_RECORDS)?;
    let records = Deserializer::from_str(&line[before.len()..]).into_iter::<Value>().map_while(Result::ok);
    let without_ids = records.map(|mut record| {
        make_alike(&mut record);
        record.to_string()
    });
    Some(without_ids.collect())
}

/// A record without times and ids.
fn make_alike(record: &mut Value) {
    match record {
        Value::Array(values) => values.iter_mut().for_each(make_alike),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let is_number_of_cluster = name.contains("Timestamp") || IDS.contains(&name.as_str());
                let is_group_of_console = value.as_str().is_some_and(|text| text.starts_with(GROUP_OF_A_CONSOLE));
                if (is_number_of_cluster || is_group_of_console) && !value.is_null() && value.as_i64() != Some(-1) {
                    *value = Value::from("<id>");
                } else {
                    make_alike(value);
                }
            }
        }
        _ => (),
    }
}

/// A line of a log without its time, other lines as they are.
fn without_time(line: &str) -> &str {
    let is_log = line.len() > 4 && line.as_bytes()[..4].iter().all(u8::is_ascii_digit) && line.as_bytes()[4] == b'-';
    if is_log { line.splitn(3, ' ').nth(2).unwrap_or_default() } else { line }
}

fn plain(line: &str) -> String {
    let mut line = without_time(line).to_owned();
    for before in BEFORE_WORDING {
        if let Some(at) = line.find(before) {
            line.truncate(at + before.len());
            line.push_str("<words>");
        }
    }
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let is_id = words.last().is_some_and(|last| BEFORE_IDS.contains(&last.as_str()));
        words.push(if is_id { "<id>".to_owned() } else { plain_word(word) });
    }
    words.join(" ")
}

fn plain_word(word: &str) -> String {
    if let Some(at) = uuid_in(word) {
        return format!("{}<uuid>{}", &word[..at], &word[at + UUID_CHARS..]);
    }
    // A folder of a test, perhaps in quotes and with something behind it.
    match word.find("/twinstream-test-") {
        Some(at) => format!("{}<folder>", &word[..at].trim_end_matches(|c: char| c.is_alphanumeric() || c == '/')),
        None => word.to_owned(),
    }
}

/// Where an id like `0f8fad5b-d9cb-469f-a165-70867728950e` begins.
fn uuid_in(word: &str) -> Option<usize> {
    let bytes = word.as_bytes();
    (0..bytes.len().saturating_sub(UUID_CHARS - 1)).find(|at| {
        let part = &bytes[*at..*at + UUID_CHARS];
        let is_right = |(index, byte): (usize, &u8)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        part.iter().enumerate().all(is_right)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_coordinators_have_lines_of_their_own_without_ids_and_times() {
        let text = "{\"key\":{\"group\":\"g\"},\"value\":{\"offset\":3,\"commitTimestamp\":17,\"topicId\":\"x\"}}\
                    {\"key\":{\"group\":\"console-consumer-17\"},\"value\":null}\
                    {\"key\":{},\"value\":{\"producerId\":-1}}2026-11-22 15:17:01,878 ERROR ended";
        let expected = "{\"key\":{\"group\":\"<id>\"},\"value\":null}\n\
                        {\"key\":{\"group\":\"g\"},\"value\":{\"offset\":3,\"commitTimestamp\":\"<id>\",\"topicId\":\"<id>\"}}\n\
                        {\"key\":{},\"value\":{\"producerId\":-1}}\nexit code 1";
        assert_eq!(super::text(&Printed { text: text.to_owned(), code: 1 }, "127.0.0.1:27001"), expected);
    }

    #[test]
    fn tables_of_transactions_keep_everything_but_ids_and_times() {
        let text = "TransactionalId\tCoordinator\tProducerId\tTransactionState\t\nperf \t1 \t4711 \tCompleteCommit\n\
                    other \t1 \t-1 \tEmpty\n";
        let expected = "TransactionalId Coordinator ProducerId TransactionState\nother 1 -1 Empty\n\
                        perf 1 <id> CompleteCommit\nexit code 0";
        assert_eq!(super::text(&Printed { text: text.to_owned(), code: 0 }, "127.0.0.1:27001"), expected);
    }

    #[test]
    fn directories_keep_everything_but_names_and_sizes() {
        let directory = |partitions: [&str; 2], size: u64| {
            let of = |name: &str| format!("{{\"partition\":\"{name}\",\"size\":{size},\"isFuture\":false}}");
            let partitions = partitions.map(of).join(",");
            let directory = format!("{{\"partitions\":[{partitions}],\"logDir\":\"/d{size}\"}}");
            let text = format!("{{\"brokers\":[{{\"broker\":1,\"logDirs\":[{directory}]}}]}}");
            super::text(&Printed { text, code: 0 }, "127.0.0.1:27001")
        };
        assert_eq!(directory(["a-0", "a-1"], 3), directory(["a-1", "a-0"], 4));
        assert_ne!(directory(["a-0", "a-1"], 3), directory(["a-0", "a-2"], 3));
    }

    #[test]
    fn what_belongs_to_one_cluster_is_taken_out() {
        let printed = Printed {
            text: "Topic: t\tTopicId: 5nL8E2xFQ4OeKqYVhXDM5w  Leader: 1\n\
                   console-consumer-0f8fad5b-d9cb-469f-a165-70867728950e /127.0.0.1\n\
                   \tat java.lang.Thread.run\n\
                   Caused by: org.apache.kafka.XException: not this way\n\
                   served by 127.0.0.1:27001 from /tmp/twinstream-test-x1/1\n"
                .to_owned(),
            code: 0,
        };
        let expected = "Caused by: org.apache.kafka.XException: <words>\n\
                        Topic: t TopicId: <id> Leader: 1\n\
                        console-consumer-<uuid> /127.0.0.1\n\
                        served by <address> from <folder>\n\
                        exit code 0";
        assert_eq!(text(&printed, "127.0.0.1:27001"), expected);
    }
}
