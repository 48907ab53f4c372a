//! Policies, filters, assignment, stored positions.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::json;
use twinstream_model::{Offset, TopicPartition};

use super::{partition, topic};
use crate::assignment::{assign, decode, encode};
use crate::offsets::{next_of, source_offset, source_partition};
use crate::policy::{Policy, TopicFilter, full_match};
use crate::topics::difference;

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn default_policy_prefixes_and_identity_keeps() {
    let default = Policy::default_named("src", ".");
    assert_eq!(default.remote_topic(&topic("quakes")).expect("name").as_str(), "src.quakes");
    assert_eq!(Policy::default_named("src", "_").remote_topic(&topic("a.b")).expect("name").as_str(), "src_a.b");
    let identity = Policy::identity("src", ".");
    assert_eq!(identity.remote_topic(&topic("quakes")).expect("name").as_str(), "quakes");
    assert_eq!(identity.remote_topic(&topic("heartbeats")).expect("name").as_str(), "src.heartbeats");
    assert!(Policy::default_named("src", "/").remote_topic(&topic("a")).is_err());
}

#[test]
fn filter_takes_whole_names_and_exclusion_wins() {
    let filter = TopicFilter::new(&list(&["quakes", "log.*"]), &list(&["logs-secret"]), true).expect("filter");
    let policy = Policy::default_named("src", ".");
    let copies = |name: &str| filter.copies(name, &policy, "dst");
    for name in ["quakes", "logs", "log.x", "heartbeats", "other.heartbeats"] {
        assert!(copies(name), "{name}");
    }
    for name in ["quakes2", "my-quakes", "logs-secret", "other"] {
        assert!(!copies(name), "{name}");
    }
}

#[test]
fn internal_topics_and_those_from_the_target_are_never_copied() {
    let filter = TopicFilter::new(&list(&[".*"]), &[], true).expect("filter");
    let default = Policy::default_named("src", ".");
    for name in [
        "__consumer_offsets",
        "mm2-offset-syncs.b.internal",
        "a.checkpoints.internal",
        ".hidden",
        "dst.quakes",
        "x.dst.quakes",
        "dst.heartbeats",
    ] {
        assert!(!filter.copies(name, &default, "dst"), "{name}");
    }
    assert!(filter.copies("x.quakes", &default, "dst"));
    for name in ["audit.internal", "billing-internal", "internal", "mm2-like", "checkpoints.internal"] {
        assert!(filter.copies(name, &default, "dst"), "{name} is a user's topic (KIP-1074)");
    }
    let dashed = Policy::default_named("src", "-");
    assert!(!filter.copies("mm2-offset-syncs-b-internal", &dashed, "dst"));
    assert!(!filter.copies("a-checkpoints-internal", &dashed, "dst"));
    assert!(filter.copies("billing-internal", &dashed, "dst"));
    let identity = Policy::identity("src", ".");
    assert!(filter.copies("dst.quakes", &identity, "dst"));
    assert!(!filter.copies("dst.heartbeats", &identity, "dst"));
}

#[test]
fn heartbeats_do_not_grow_prefixes_without_end() {
    let filter = TopicFilter::new(&list(&["orders.*"]), &[], true).expect("filter");
    for policy in [Policy::default_named("src", "."), Policy::identity("src", ".")] {
        // Two aliases for one cluster: what is copied is there to be copied.
        let mut topics = BTreeSet::from([topic("heartbeats"), topic("x.heartbeats")]);
        for _ in 0..10 {
            let copied = topics.iter().filter(|topic| filter.copies(topic.as_str(), &policy, "dst"));
            let copies: Vec<_> = copied.map(|topic| policy.remote_topic(topic).expect("name")).collect();
            topics.extend(copies);
        }
        let names: Vec<&str> = topics.iter().map(|topic| topic.as_str()).collect();
        assert_eq!(names, ["heartbeats", "src.heartbeats", "src.x.heartbeats", "x.heartbeats"]);
    }
    let all = TopicFilter::new(&list(&[".*"]), &[], true).expect("filter");
    assert!(all.copies("src.orders", &Policy::default_named("src", "."), "dst"), "a user's topic may be called so");
}

#[test]
fn several_expressions_stay_apart() {
    let any = full_match(&list(&["a|b", "c"])).expect("expression");
    assert!(any.is_match("a") && any.is_match("b") && any.is_match("c") && !any.is_match("ac"));
    assert!(!full_match(&[]).expect("expression").is_match(""));
    for java in ["(?=x)", "(?!dev-).*", "(a)\\1"] {
        let refused = full_match(&list(&[java])).expect_err("refused");
        assert!(refused.contains(java) && refused.contains("ends in .exclude"), "{refused}");
    }
    assert!(!full_match(&list(&["a("])).expect_err("refused").contains("exclude"));
}

fn owners(topics: &BTreeMap<twinstream_model::TopicName, u32>, tasks: usize) -> BTreeMap<TopicPartition, usize> {
    assign(topics, tasks)
        .into_iter()
        .enumerate()
        .flat_map(|(task, partitions)| partitions.into_iter().map(move |partition| (partition, task)))
        .collect()
}

#[test]
fn new_topics_and_partitions_move_nothing() {
    let mut topics: BTreeMap<_, _> = (0..20).map(|n| (topic(&format!("t{n}")), 6)).collect();
    let before = owners(&topics, 7);
    topics.insert(topic("new"), 10);
    topics.insert(topic("t3"), 9);
    let after = owners(&topics, 7);
    assert!(before.iter().all(|(partition, task)| after[partition] == *task));
    assert_eq!(after.len(), 20 * 6 + 10 + 3);
}

#[test]
fn partitions_of_a_topic_are_spread_and_no_task_is_idle() {
    let topics = BTreeMap::from([(topic("quakes"), 6)]);
    assert_eq!(assign(&topics, 3).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(assign(&topics, 10).len(), 6);
    assert!(assign(&BTreeMap::new(), 3).is_empty());
}

#[test]
fn assignment_is_the_same_in_every_release() {
    let tasks = assign(&BTreeMap::from([(topic("earthquakes"), 3), (topic("orders"), 1)]), 3);
    assert_eq!(
        tasks.iter().map(|task| encode(task)).collect::<Vec<_>>(),
        ["earthquakes-0", "earthquakes-1,orders-0", "earthquakes-2"]
    );
}

#[test]
fn task_configuration_round_trips() {
    let partitions = vec![partition("a-b", 0), partition("c", 12)];
    let text = encode(&partitions);
    assert_eq!(decode(&text.split(',').map(str::to_owned).collect::<Vec<_>>()), Ok(partitions));
    for bad in ["a", "a-x", "a-1x", "-1"] {
        assert!(decode(&[bad.to_owned()]).is_err(), "{bad}");
    }
}

#[test]
fn stored_positions_are_mirror_makers() {
    let tp = partition("quakes", 3);
    let key = json!(["mms", source_partition("src", &tp)]).to_string();
    assert_eq!(key, r#"["mms",{"cluster":"src","partition":3,"topic":"quakes"}]"#, "byte for byte");
    assert_eq!(json!(source_offset(Offset(10))).to_string(), r#"{"offset":9}"#);
    assert_eq!(next_of(&tp, Some(&source_offset(Offset(10)))).expect("offset"), Some(Offset(10)));
    assert_eq!(next_of(&tp, None).expect("offset"), None);
    let broken = json!({ "offset": "x" }).as_object().expect("object").clone();
    assert!(next_of(&tp, Some(&broken)).is_err());
}

#[test]
fn settings_follow_the_source_but_for_the_excluded() {
    let changed = |items: &[(&str, &str)]| {
        items.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let excluded = Regex::new("^(?:min.*)$").expect("expression");
    let wanted = changed(&[("retention.ms", "5"), ("cleanup.policy", "compact")]);
    let present = changed(&[("retention.ms", "5"), ("segment.bytes", "9"), ("min.insync.replicas", "2")]);
    let steps: BTreeSet<_> = difference(&wanted, &present, &excluded).into_iter().collect();
    assert_eq!(
        steps,
        BTreeSet::from([("cleanup.policy".to_owned(), Some("compact".to_owned())), ("segment.bytes".to_owned(), None)])
    );
}
