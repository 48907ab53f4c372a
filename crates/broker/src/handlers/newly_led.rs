//! Waiting for partitions that the metadata has just given to this broker.
//!
//! Picture: clients hear of a leader as soon as the metadata is replayed; the leader makes its log and takes its role right
//! after that. Whoever is faster would hear LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER or REPLICA_NOT_AVAILABLE, as from
//! Kafka, and pause before it asks again; a producer with acks=0 would lose its records. So a request stands still for that
//! moment. The log of a topic that had the same name and was deleted is none of the partition.
//!
//! Invariants: nobody waits while partitions agree with the metadata. While they are behind, all requests together wait no
//! longer than [`WAIT_MAX`], which counts from when they fell behind, or went on to the next image, and not from the request:
//! a log that is long to recover does not hold up its connection again with every request, and one that cannot be opened is
//! answered as ever.

use std::sync::Arc;
use std::time::Duration;

use twinstream_metadata::Image;
use twinstream_model::TopicPartition;

use crate::context::Broker;
use crate::partitions::Partition;

/// Making a log takes a few milliseconds on a busy machine; clients wait for 30 s and more.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Returns when this broker leads those of the partitions that the image has given to it, which is nearly always at once.
pub(super) async fn wait_until_led(broker: &Broker, image: &Image, named: impl Iterator<Item = TopicPartition>) {
    wait_while(broker, image, named, is_led_later).await;
}

/// The same for partitions that this broker keeps a replica of, whether or not it leads them.
pub(super) async fn wait_until_here(broker: &Broker, image: &Image, named: impl Iterator<Item = TopicPartition>) {
    wait_while(broker, image, named, is_here_later).await;
}

type IsAwaited = fn(&Broker, &Image, &TopicPartition) -> bool;

async fn wait_while(
    broker: &Broker,
    image: &Image,
    named: impl Iterator<Item = TopicPartition>,
    is_awaited: IsAwaited,
) {
    let newest = broker.controller.applied();
    if broker.followed.has_reached(newest) {
        return;
    }
    let awaited: Vec<TopicPartition> = named.filter(|at| is_awaited(broker, image, at)).collect();
    if !awaited.is_empty() {
        let are_there = || !awaited.iter().any(|at| is_awaited(broker, image, at));
        broker.followed.until_enough(newest, WAIT_MAX, are_there).await;
    }
}

fn is_led_later(broker: &Broker, image: &Image, at: &TopicPartition) -> bool {
    image.partition(&at.topic, at.partition).is_some_and(|wanted| {
        let led = || broker.partitions.led(at, wanted.leader_epoch);
        wanted.leader == Some(broker.settings.node.id) && !is_of_topic(image, at, led())
    })
}

fn is_here_later(broker: &Broker, image: &Image, at: &TopicPartition) -> bool {
    image.partition(&at.topic, at.partition).is_some_and(|wanted| {
        wanted.replicas.contains(&broker.settings.node.id) && !is_of_topic(image, at, broker.partitions.get(at))
    })
}

/// Whether it is there, and of the topic that has this name now.
fn is_of_topic(image: &Image, at: &TopicPartition, found: Option<Arc<Partition>>) -> bool {
    let topic = image.topic(&at.topic);
    found.is_some_and(|found| topic.is_some_and(|topic| topic.id == found.topic_id()))
}
