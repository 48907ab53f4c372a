//! What must differ between two clusters, made alike.
//!
//! Picture: an answer is printed as Rust prints structs, which gives a tree by its indentation. Lists are sorted, since
//! Kafka keeps most things in hash maps; fields whose values belong to one cluster keep only whether they are set; the wording
//! of messages is left out.

use std::fmt::Debug;

/// Fields of which only counts whether they are set: ids, places and times.
const OWN: [&str; 21] = [
    "cluster_id",
    "topic_id",
    "host",
    "port",
    "rack",
    "producer_id",
    "member_id",
    "leader", // the member that leads a group
    "log_dir",
    "total_bytes",
    "usable_bytes",
    "last_timestamp",
    "transaction_start_time_ms",
    "last_fetch_timestamp",
    "last_caught_up_timestamp",
    "log_append_time_ms",
    "documentation",
    "session_id",
    "directory_id",
    "replica_directory_id",
    "assignment_epoch_id",
];
/// Fields that say nothing of what was asked, or say it to people in their own words.
const LEFT_OUT: [&str; 4] = ["throttle_time_ms", "unknown_tagged_fields", "finalized_features_epoch", "error_message"];
/// What is printed on one line, so that a difference tells whose it is: a config of a topic or a broker, a partition with
/// its records.
const ON_ONE_LINE: [&str; 3] = ["CreatableTopicConfigs {", "DescribeConfigsResourceResult {", "PartitionData {"];
const INDENT: usize = 4;

pub(crate) fn text(answer: &impl Debug) -> String {
    let text = format!("{answer:#?}");
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    let mut out = String::new();
    for node in nodes(&lines, &mut at, 0) {
        node.print(0, &mut out);
    }
    out
}

/// A line, and what stands below it until its bracket closes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    line: String,
    below: Vec<Node>,
    close: String,
}

impl Node {
    fn on_one_line(self) -> Self {
        let mut line = self.line;
        for node in self.below {
            let Self { line: below, close, .. } = node.on_one_line();
            line.push_str(&format!(" {below}{close}"));
        }
        line.push_str(&format!(" {}", self.close));
        Self { line: line.trim_end().to_owned(), below: Vec::new(), close: String::new() }
    }

    fn print(&self, depth: usize, out: &mut String) {
        out.push_str(&format!("{:indent$}{}\n", "", self.line, indent = depth * INDENT));
        for node in &self.below {
            node.print(depth + 1, out);
        }
        if !self.close.is_empty() {
            out.push_str(&format!("{:indent$}{}\n", "", self.close, indent = depth * INDENT));
        }
    }
}

/// The nodes of this depth, from a line on, up to the bracket that closes what is above them.
fn nodes(lines: &[&str], at: &mut usize, depth: usize) -> Vec<Node> {
    let mut found = Vec::new();
    while let Some(line) = lines.get(*at) {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if indent < depth * INDENT || line.starts_with(['}', ']', ')']) {
            break;
        }
        *at += 1;
        let mut node = Node { line: line.to_owned(), below: Vec::new(), close: String::new() };
        if line.ends_with(['{', '[', '(']) {
            node.below = nodes(lines, at, depth + 1);
            node.close = lines.get(*at).map(|close| close.trim().to_owned()).unwrap_or_default();
            *at += 1;
            if line.ends_with('[') {
                node.below.sort();
            }
        }
        let is_value = line.ends_with("Some(") && node.below.iter().all(|below| below.below.is_empty());
        let is_one_line = is_value || ON_ONE_LINE.contains(&line);
        found.extend(alike(node).map(|node| if is_one_line { node.on_one_line() } else { node }));
    }
    found
}

fn alike(node: Node) -> Option<Node> {
    let Some((field, value)) = node.line.split_once(": ") else { return Some(node) };
    if LEFT_OUT.contains(&field) {
        return None;
    }
    if !OWN.contains(&field) {
        return Some(node);
    }
    let value = value.trim_end_matches(',');
    let is_unset = ["None", "-1", "\"\"", "00000000-0000-0000-0000-000000000000"].contains(&value)
        || value.ends_with("(-1)")
        || node.below.iter().all(|below| ["-1,", "\"\","].contains(&below.line.as_str())) && !node.below.is_empty();
    let line = format!("{field}: {}", if is_unset { "unset" } else { "set" });
    Some(Node { line, below: Vec::new(), close: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[expect(dead_code, reason = "is printed")]
    struct Answer {
        throttle_time_ms: i32,
        topics: Vec<Topic>,
    }

    #[derive(Debug)]
    #[expect(dead_code, reason = "is printed")]
    struct Topic {
        name: &'static str,
        port: i32,
        host: Option<&'static str>,
    }

    #[derive(Debug)]
    #[expect(dead_code, reason = "is printed")]
    struct CreatableTopicConfigs {
        name: &'static str,
        value: Option<&'static str>,
    }

    #[test]
    fn a_config_stands_on_one_line_with_its_name() {
        let configs = [("b", None), ("a", Some("1"))].map(|(name, value)| CreatableTopicConfigs { name, value });
        let lines = ["[", "CreatableTopicConfigs { name: \"a\", value: Some( \"1\", ), },"];
        let text = text(&configs);
        assert_eq!(text.lines().map(str::trim).take(2).collect::<Vec<_>>(), lines, "{text}");
    }

    #[test]
    fn ids_and_orders_do_not_count_and_fields_do() {
        let one = Topic { name: "a", port: 1, host: Some("x") };
        let two = Topic { name: "b", port: -1, host: None };
        let answer = Answer { throttle_time_ms: 3, topics: vec![two, one] };
        let swapped = Answer {
            throttle_time_ms: 0,
            topics: vec![Topic { name: "a", port: 2, host: Some("y") }, Topic { name: "b", port: -1, host: None }],
        };
        assert_eq!(text(&answer), text(&swapped));
        assert_ne!(text(&answer), text(&Answer { throttle_time_ms: 3, topics: Vec::new() }));
        assert!(text(&answer).contains("host: set") && text(&answer).contains("port: unset"));
    }
}
