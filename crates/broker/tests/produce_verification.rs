//! Produce asks the coordinator of a transaction, on another broker, before the first batch of the transaction in a
//! partition (KIP-890).

mod support;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, EndTxnRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, ListOffsetsRequest, ProducerId, TransactionalId,
};
use support::records::{list_offset, text, topic_name};
use support::replicas::Trio;
use support::transactions::{End, end_transaction, produce_with_version, read_committed, transactional};
use support::{Client, wait_until};

/// Partitions of transactions have one replica each, so that their coordinators stay where they are.
const SETTINGS: &[(&str, &str)] = &[
    ("transaction.state.log.num.partitions", "8"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
];
const TOPIC: &str = "t";
/// Isolation levels of readers.
const UNCOMMITTED: i8 = 0;
const COMMITTED: i8 = 1;
/// What may be over when the same is asked again.
const PASSING: [i16; 5] = [14, 15, 16, 19, 51];

/// Three brokers; node 3 leads the partitions, node 2 coordinates the transactional id.
struct Bench {
    trio: Trio,
    leader: Client,
    coordinator: Client,
    id: String,
}

/// A producer as its client knows it.
#[derive(Clone, Copy)]
struct Producer {
    id: i64,
    epoch: i16,
}

impl Bench {
    async fn start() -> Bench {
        let trio = Trio::start(SETTINGS).await;
        trio.create(TOPIC, &[&[3], &[3]], &[]).await;
        let (leader, coordinator) = (trio.client(3).await, trio.client(2).await);
        let id = id_of_node_2(&mut trio.client(1).await).await;
        Bench { trio, leader, coordinator, id }
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(text(&self.id))
    }

    async fn init(&mut self) -> Producer {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let mut producer = None;
        wait_until("the producer is initialized", async || {
            let answer = self.coordinator.call(request.clone(), 4).await;
            assert!(answer.error_code == 0 || PASSING.contains(&answer.error_code), "{answer:?}");
            producer = Some(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch });
            answer.error_code == 0
        })
        .await;
        producer.unwrap()
    }

    /// As a producer of the first protocol does it.
    async fn add(&mut self, producer: Producer, partition: i32) {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(ProducerId(producer.id))
            .with_v3_and_below_producer_epoch(producer.epoch)
            .with_v3_and_below_topics(vec![topic]);
        wait_until("the partition is added", async || {
            let answer = self.coordinator.call(request.clone(), 3).await;
            let code = answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
            assert!(code == 0 || PASSING.contains(&code), "{answer:?}");
            code == 0
        })
        .await;
    }

    /// The producer as it goes on.
    async fn end(&mut self, producer: Producer, commit: bool, version: i16) -> Producer {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_committed(commit);
        let mut next = producer;
        wait_until("the transaction ends", async || {
            let answer = self.coordinator.call(request.clone(), version).await;
            assert!(answer.error_code == 0 || PASSING.contains(&answer.error_code), "{answer:?}");
            if version >= 5 && answer.error_code == 0 {
                next = Producer { id: answer.producer_id.0, epoch: answer.producer_epoch };
            }
            answer.error_code == 0
        })
        .await;
        next
    }

    async fn produce(&mut self, version: i16, producer: Producer, partition: i32, sequence: i32, value: &str) -> i16 {
        let batch = transactional(producer.id, producer.epoch, sequence, &[value]);
        produce_with_version(&mut self.leader, version, &self.id, TOPIC, partition, batch).await.error_code
    }

    /// The same until it is not refused for a reason that passes.
    async fn produce_at_last(&mut self, version: i16, producer: Producer, sequence: i32, value: &str) -> i16 {
        let mut code = 0;
        wait_until("the batch is appended or refused for good", async || {
            code = self.produce(version, producer, 0, sequence, value).await;
            !PASSING.contains(&code)
        })
        .await;
        code
    }

    /// Until no transaction is open in partition 0: its marker has come. Before that the log takes the batches of a
    /// transaction whose end is decided, as Kafka's does.
    async fn until_ended(&mut self) {
        wait_until("the marker has come", async || {
            let stable = self.end_for(COMMITTED).await;
            stable == self.end_for(UNCOMMITTED).await
        })
        .await;
    }

    /// Where readers of an isolation level find the end of partition 0.
    async fn end_for(&mut self, isolation: i8) -> i64 {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![topic]);
        let answer = self.leader.call(request, 5).await;
        let found = &answer.topics[0].partitions[0];
        assert_eq!(found.error_code, 0);
        found.offset
    }

    async fn until_committed(&mut self, values: &[&str]) {
        wait_until(&format!("{values:?} are committed"), async || {
            read_committed(&mut self.leader, TOPIC, 0).await.1 == values
        })
        .await;
    }
}

/// A transactional id whose coordinator is node 2.
async fn id_of_node_2(client: &mut Client) -> String {
    let ids: Vec<_> = (0..64).map(|number| text(&format!("tx-{number}"))).collect();
    let request = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(ids);
    let mut found = None;
    wait_until("transactional ids have coordinators", async || {
        let answer = client.call(request.clone(), 6).await;
        let there = answer.coordinators.iter().find(|c| c.error_code == 0 && c.node_id.0 == 2);
        found = there.map(|coordinator| coordinator.key.to_string());
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_for_a_partition_that_is_not_in_the_transaction_is_refused_as_its_version_knows() {
    let mut bench = Bench::start().await;
    let producer = bench.init().await;
    bench.add(producer, 1).await;
    for (version, code) in [(3, 48), (10, 48), (11, 120)] {
        assert_eq!(bench.produce(version, producer, 0, 0, "not added").await, code, "v{version}");
    }
    let end = list_offset(&mut bench.leader, TOPIC, 0, -1).await.offset;
    assert_eq!(end, 1, "only the record that the topic was created with");
    bench.add(producer, 0).await;
    assert_eq!(bench.produce(11, producer, 0, 0, "added").await, 0);
    assert_eq!(bench.produce(9, producer, 0, 1, "once more").await, 0);
    bench.end(producer, true, 3).await;
    bench.until_committed(&["first", "added", "once more"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_is_switched_off_and_on_at_run_time() {
    let mut bench = Bench::start().await;
    let producer = bench.init().await;
    assert_eq!(bench.produce(11, producer, 0, 0, "verified").await, 120);
    switch(&mut bench.leader, "false").await;
    wait_until("nobody asks the coordinator", async || bench.produce(11, producer, 0, 0, "not verified").await == 0)
        .await;
    switch(&mut bench.leader, "true").await;
    wait_until("the coordinator is asked", async || bench.produce(11, producer, 1, 0, "verified").await == 120).await;
}

/// Sets the default of all brokers.
async fn switch(client: &mut Client, enabled: &str) {
    let config = AlterableConfig::default()
        .with_name(text("transaction.partition.verification.enable"))
        .with_value(Some(text(enabled)));
    let brokers = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![brokers]);
    assert_eq!(client.call(request, 1).await.responses[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_that_comes_after_its_transaction_is_refused() {
    let mut bench = Bench::start().await;
    let producer = bench.init().await;
    bench.add(producer, 0).await;
    assert_eq!(bench.produce(11, producer, 0, 0, "gone").await, 0);
    bench.end(producer, false, 3).await;
    bench.until_ended().await;
    bench.until_committed(&["first"]).await;
    assert_eq!(bench.produce_at_last(11, producer, 1, "late").await, 120);
    assert_eq!(bench.produce(10, producer, 0, 1, "late").await, 48);
    let newer = bench.init().await;
    assert_eq!((newer.id, newer.epoch), (producer.id, producer.epoch + 1));
    assert_eq!(bench.produce(11, producer, 0, 1, "of the old one").await, 47);
    assert_eq!(bench.produce_at_last(12, newer, 0, "of the new one").await, 0);
    bench.end(newer, true, 5).await;
    bench.until_committed(&["first", "of the new one"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transaction_of_the_second_protocol_adds_its_partitions_by_producing() {
    let mut bench = Bench::start().await;
    let mut producer = bench.init().await;
    let mut values = vec!["first".to_owned()];
    for (round, commit) in [true, false, true].into_iter().enumerate() {
        for sequence in 0..2 {
            let value = format!("{round}.{sequence}");
            assert_eq!(bench.produce_at_last(12, producer, sequence, &value).await, 0);
            values.extend(commit.then_some(value));
        }
        let before = producer;
        producer = bench.end(producer, commit, 5).await;
        assert_eq!((producer.id, producer.epoch), (before.id, before.epoch + 1));
        bench.until_committed(&values.iter().map(String::as_str).collect::<Vec<_>>()).await;
        bench.until_ended().await;
        assert_eq!(bench.produce(12, before, 0, 2, "late").await, 47);
    }
    // Whatever the log knows: a transaction has an epoch of its own, and so begins at sequence 0.
    assert_eq!(bench.produce_at_last(12, producer, 2, "a gap").await, 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator_that_is_away_is_a_reason_to_send_again() {
    let mut bench = Bench::start().await;
    let producer = bench.init().await;
    bench.trio.node(2).kill();
    assert_eq!(bench.produce(11, producer, 0, 0, "now").await, 19);
    assert_eq!(bench.produce(12, producer, 0, 0, "now").await, 19);
    bench.trio.restart(2).await;
    bench.coordinator = bench.trio.client(2).await;
    assert_eq!(bench.produce_at_last(12, producer, 0, "later").await, 0);
    bench.end(producer, true, 5).await;
    bench.until_committed(&["first", "later"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marker_of_the_past_does_not_end_the_next_transaction() {
    let mut bench = Bench::start().await;
    let first = bench.init().await;
    assert_eq!(bench.produce_at_last(12, first, 0, "a").await, 0);
    let second = bench.end(first, true, 5).await;
    assert_eq!(bench.produce_at_last(12, second, 0, "b").await, 0);
    let again = End { version: 2, coordinator_epoch: 1_000, ..End::commit(second.id, second.epoch) };
    assert_eq!(end_transaction(&mut bench.leader, again, TOPIC, 0).await, 47);
    bench.until_committed(&["first", "a"]).await;
    bench.end(second, false, 5).await;
    bench.until_committed(&["first", "a"]).await;
    wait_until("nothing is open any more", async || {
        let end = list_offset(&mut bench.leader, TOPIC, 0, -1).await.offset;
        read_committed(&mut bench.leader, TOPIC, 0).await.0 == end
    })
    .await;
}
