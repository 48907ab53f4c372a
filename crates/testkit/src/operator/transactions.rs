//! What is open of transactions: in partitions, and at their coordinators.

use std::collections::BTreeMap;
use std::time::Duration;

use twinstream_client::raw::kafka_protocol::messages::describe_producers_request::TopicRequest;
use twinstream_client::raw::kafka_protocol::messages::{DescribeProducersRequest, ListTransactionsRequest};
use twinstream_client::raw::{FetchFrom, FetchOptions, Node};
use twinstream_model::{NodeId, Offset, PartitionIndex, TopicPartition};

use super::{Operator, topic};
use crate::records::topic_name;

/// Transactions that have come to their end, or that never began.
const ENDED: [&str; 4] = ["Empty", "CompleteCommit", "CompleteAbort", "Dead"];

impl Operator {
    /// What keeps readers of committed records of this topic from reading on, and what coordinators still have to do for the
    /// transactional ids that begin with its name; `None` as long as not so many brokers answer, or a leader does not, or
    /// nobody knows of a partition: of a topic that is not there, nothing is known.
    pub async fn open_transactions(&self, name: &str, brokers: usize) -> Option<Vec<String>> {
        let partitions = self.partitions(name).await;
        if partitions.is_empty() {
            return None;
        }
        let mut open = Vec::new();
        for (index, state) in partitions {
            let leader = NodeId(i32::try_from(state.leader?).ok()?);
            let partition = TopicPartition::new(topic_name(name), PartitionIndex(index));
            open.extend(self.open_in(leader, name, index).await?);
            let (stable, end) = self.ends(leader, &partition).await?;
            if stable < end {
                open.push(format!("{name}-{index} is stable up to {stable} of {end}"));
            }
        }
        for (id, state) in self.transactions(brokers).await? {
            if id.starts_with(&format!("{name}-")) && !ENDED.contains(&state.as_str()) {
                open.push(format!("the transaction of {id} is in state {state}"));
            }
        }
        Some(open)
    }

    async fn open_in(&self, leader: NodeId, name: &str, index: i32) -> Option<Vec<String>> {
        let wanted = TopicRequest::default().with_name(topic(name)).with_partition_indexes(vec![index]);
        let request = DescribeProducersRequest::default().with_topics(vec![wanted]);
        let answer = self.client.request(Node::Id(leader), &request).await.ok()?;
        let partition = answer.topics.first()?.partitions.first().filter(|partition| partition.error_code == 0)?;
        let open = partition.active_producers.iter().filter(|producer| producer.current_txn_start_offset >= 0);
        let told = open.map(|producer| {
            let (id, from) = (producer.producer_id.0, producer.current_txn_start_offset);
            format!("producer {id} has had a transaction open in {name}-{index} since offset {from}")
        });
        Some(told.collect())
    }

    /// Up to where a partition is stable, and its high watermark.
    async fn ends(&self, leader: NodeId, partition: &TopicPartition) -> Option<(Offset, Offset)> {
        let from = FetchFrom::new(partition.clone(), Offset(0));
        let options = FetchOptions {
            wait_max: Duration::ZERO,
            partition_bytes_max: 1,
            read_committed: true,
            ..FetchOptions::default()
        };
        let fetched = self.client.fetch_batches(leader, &[from], &options).await.ok()?;
        let fetched = fetched.into_iter().next().filter(|fetched| fetched.error.code() == 0)?;
        Some((fetched.last_stable_offset, fetched.high_watermark))
    }

    /// Every transactional id with the state of its transaction, as all coordinators tell.
    async fn transactions(&self, brokers: usize) -> Option<BTreeMap<String, String>> {
        let request = ListTransactionsRequest::default().with_duration_filter(-1);
        let answers = self.ask_all(&request).await;
        if answers.len() < brokers || answers.iter().any(|(_, answer)| answer.error_code != 0) {
            return None;
        }
        let states = answers.into_iter().flat_map(|(_, answer)| answer.transaction_states);
        Some(states.map(|state| (state.transactional_id.to_string(), state.transaction_state.to_string())).collect())
    }
}
