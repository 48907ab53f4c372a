//! Which task copies which partition. Pure.
//!
//! A partition's task follows from its own name and the number of tasks alone: the topic's hash says where its
//! partition 0 goes, the others follow round-robin. So a new topic moves nothing, a topic that grows moves nothing, and
//! the partitions of one topic are spread evenly. Only while there are fewer partitions than `tasks.max` does the
//! number of tasks grow, and then partitions move.

use std::collections::BTreeMap;

use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

/// One list per task, each sorted; no list is made when there is nothing to copy.
pub(crate) fn assign(topics: &BTreeMap<TopicName, u32>, tasks_max: usize) -> Vec<Vec<TopicPartition>> {
    let total: usize = topics.values().map(|n| *n as usize).sum();
    let n_tasks = tasks_max.max(1).min(total);
    let mut tasks = vec![Vec::new(); n_tasks];
    for (topic, n_partitions) in topics {
        let first = fnv1a(topic.as_str().as_bytes());
        for index in 0..*n_partitions {
            let task = (first.wrapping_add(u64::from(index)) % n_tasks as u64) as usize;
            tasks[task]
                .push(TopicPartition::new(topic.clone(), PartitionIndex(i32::try_from(index).unwrap_or(i32::MAX))));
        }
    }
    tasks
}

/// FNV-1a: the same on every machine and in every release, which the standard library's hash is not.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// As the task's configuration has them: `topic-0,topic-1`.
pub(crate) fn encode(partitions: &[TopicPartition]) -> String {
    partitions
        .iter()
        .map(|partition| format!("{}-{}", partition.topic, partition.partition))
        .collect::<Vec<_>>()
        .join(",")
}

/// The reverse; the error names the entry.
pub(crate) fn decode(list: &[String]) -> Result<Vec<TopicPartition>, String> {
    let parse = |entry: &String| {
        let (topic, index) = entry.rsplit_once('-')?;
        Some(TopicPartition::new(
            TopicName::parse(topic).ok()?,
            PartitionIndex(index.parse().ok().filter(|index| *index >= 0)?),
        ))
    };
    list.iter().map(|entry| parse(entry).ok_or_else(|| format!("'{entry}' is no topic-partition"))).collect()
}
