//! Copies on failed disks of brokers that serve on (KIP-112).
//!
//! Picture: a broker names the partitions whose log directory failed, or could not be opened when it started. Each copy
//! leaves ISR and ELR at once and is marked as offline, so that nobody elects it although its broker is up; another
//! in-sync replica leads on. The mark goes when the broker's process starts again: then it says anew what works.
//!
//! Kafka derives the same from the directory ids of each replica in the metadata (KIP-858); a list of what failed needs no
//! record for every replica that ever moved into a directory.

use twinstream_model::{NodeId, PartitionIndex, TopicId};

use super::{
    BrokerError, Controller, Decision,
    change::{Change, Election},
};

/// How much of a report was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    All,
    /// More than one batch holds: report again, what is known already costs nothing.
    Part,
}

impl Controller {
    /// A broker cannot use its copies of these partitions. Those that are gone, or not its own, are passed over.
    pub fn replicas_offline(
        &self,
        node_id: NodeId,
        epoch: i64,
        partitions: &[(TopicId, PartitionIndex)],
    ) -> Decision<Result<Reported, BrokerError>> {
        if let Err(error) = self.check_epoch(node_id, epoch) {
            return Decision::nothing(Err(error));
        }
        let mut draft = self.draft();
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(&draft, &[]);
        for (topic_id, index) in partitions {
            let Some(topic) = draft.image.topic_by_id(*topic_id) else { continue };
            let Some(partition) = topic.partition(*index).filter(|known| known.replicas.contains(&node_id)) else {
                continue;
            };
            let mut change = Change::of(partition);
            change.fail(node_id);
            let rules = policy.of(&draft.image, &topic.name);
            let Some(settled) = change.settle(rules, Election::IfNeeded, &brokers) else { continue };
            if draft.is_full() {
                return draft.decide(Ok(Reported::Part));
            }
            let name = topic.name.clone();
            draft.push_change(*topic_id, &name, *index, settled);
        }
        draft.decide(Ok(Reported::All))
    }
}
