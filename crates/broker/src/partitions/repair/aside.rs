//! A copy with a hole that no replica could fill gives up its place and is copied anew from there on.
//!
//! Picture: replicas are copies of bytes, so another one's bytes fit into a hole, unless its log was compacted otherwise or the
//! hole is too large to be held in memory. Then this copy *steps aside*: the controller takes it out of ISR and ELR, and gives
//! its leadership to another in-sync replica. Once the image says so the log is cut at the hole, the copy *comes back*, and
//! follows from there as one that was away.
//!
//! Invariants: **a log is cut only while the image says that its copy is aside, in neither ISR nor ELR, and that another
//! replica leads.** From the image's word on nobody can take it in but by its own coming back, which is asked for after the
//! cut, and which begins a new leader epoch, before which the cut copy follows nobody. Without another in-sync replica nothing
//! happens. A whole copy that is found aside, because its report came late, comes back as it is.
//!
//! Not here: who may step aside (`twinstream_metadata`'s `controller::holes`).

use std::sync::Arc;

use twinstream_log::Checkpoint;
use twinstream_metadata::controller::{CopyMove, SeenCopy};
use twinstream_metadata::{Image, PartitionImage};
use twinstream_model::{LeaderEpoch, NodeId, Offset};

use super::super::Partition;
use crate::context::Broker;

/// What may happen to a copy by the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Others are in sync, so it may step aside.
    Counts,
    /// It is all there is.
    Alone,
    /// Nobody counts on it, and another replica leads in this epoch.
    Aside(LeaderEpoch),
    /// It is aside, but nobody leads, or the image is not of this run.
    AsideForNow,
}

fn place(partition: &PartitionImage, node: NodeId) -> Place {
    let counts = partition.isr.contains(&node) || partition.elr.contains(&node);
    if !partition.offline.contains(&node) {
        let others = partition.isr.iter().any(|other| *other != node);
        return if others { Place::Counts } else { Place::Alone };
    }
    match partition.leader {
        Some(leader) if leader != node && !counts => Place::Aside(partition.leader_epoch),
        _ => Place::AsideForNow,
    }
}

/// One step of a copy whose log has a hole from `hole` on that nobody can fill.
pub(super) async fn give_up_from(broker: &Arc<Broker>, partition: &Arc<Partition>, hole: Offset) {
    let image = broker.partitions.newest_image();
    let Some(known) = known(&image, partition) else { return };
    match place(known, broker.settings.node.id) {
        Place::Alone | Place::AsideForNow => {}
        Place::Counts => {
            tracing::warn!(
                partition = %partition.id(),
                hole = hole.0,
                "no in-sync replica has the damaged records in the same batches, so they cannot be filled in: stepping aside, to copy the log anew from there on"
            );
            move_copy(broker, partition, known, CopyMove::StepAside).await;
        }
        Place::Aside(epoch) if is_of_this_run(broker, &image) => cut(broker, partition, epoch, hole).await,
        Place::Aside(_) => {}
    }
}

/// Asks for the return of a copy that is whole.
pub(super) async fn come_back(broker: &Arc<Broker>, partition: &Arc<Partition>) {
    let image = broker.partitions.newest_image();
    let Some(known) = known(&image, partition) else { return };
    if !known.offline.contains(&broker.settings.node.id) || !is_of_this_run(broker, &image) {
        return;
    }
    move_copy(broker, partition, known, CopyMove::ComeBack).await;
    if partition.has_failed() {
        // Its disk failed meanwhile, and the report of that may have come first.
        broker.partitions.failures.name(partition.id());
    }
}

/// The state of the partition, as this broker has applied it.
fn known<'i>(image: &'i Image, partition: &Partition) -> Option<&'i PartitionImage> {
    let topic = image.topic_by_id(partition.topic_id())?;
    topic.partition(partition.id().partition)
}

/// Whether what the image says of this broker was said to this registration.
fn is_of_this_run(broker: &Broker, image: &Image) -> bool {
    let registered = image.broker(broker.settings.node.id).map(|broker| broker.epoch);
    registered.is_some() && registered == broker.controller.broker_epoch()
}

async fn move_copy(broker: &Arc<Broker>, partition: &Partition, known: &PartitionImage, wanted: CopyMove) {
    let copy = SeenCopy {
        topic_id: partition.topic_id(),
        partition: partition.id().partition,
        leader_epoch: known.leader_epoch,
        partition_epoch: known.partition_epoch,
    };
    if let Err(error) = broker.controller.move_copy(wanted, copy).await {
        tracing::debug!(partition = %partition.id(), %error, ?wanted, "the controller did not hear of a copy, trying on");
    }
}

async fn cut(broker: &Arc<Broker>, partition: &Arc<Partition>, epoch: LeaderEpoch, hole: Offset) {
    let (partitions, cut) = (Arc::clone(&broker.partitions), Arc::clone(partition));
    let work = tokio::task::spawn_blocking(move || {
        let Some(done) = cut.cut_at_hole(epoch, hole) else { return };
        // Nothing is appended before the next epoch, and so hardly before the next start would know what to check.
        if done.recovery_point_moved {
            partitions.write_checkpoints(Checkpoint::RecoveryPoint);
        }
        let end = done.log_end.0;
        tracing::warn!(partition = %cut.id(), end, offsets = done.offsets, "cut a log at a hole, copying what follows anew");
    });
    if let Err(error) = work.await {
        tracing::error!(partition = %partition.id(), %error, "cutting a log at a hole panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELF: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    fn state(isr: &[NodeId], elr: &[NodeId], offline: &[NodeId], leader: Option<NodeId>) -> PartitionImage {
        PartitionImage {
            replicas: vec![SELF, OTHER],
            isr: isr.to_vec(),
            elr: elr.to_vec(),
            offline: offline.to_vec(),
            leader,
            leader_epoch: LeaderEpoch(3),
            ..PartitionImage::default()
        }
    }

    #[test]
    fn log_is_cut_only_where_nobody_counts_on_it_and_another_replica_leads() {
        let of = |state: PartitionImage| place(&state, SELF);
        assert_eq!(of(state(&[OTHER], &[], &[SELF], Some(OTHER))), Place::Aside(LeaderEpoch(3)));
        assert_eq!(of(state(&[], &[OTHER], &[SELF], None)), Place::AsideForNow);
        assert_eq!(of(state(&[OTHER], &[SELF], &[SELF], Some(OTHER))), Place::AsideForNow);
        assert_eq!(of(state(&[OTHER], &[], &[], Some(OTHER))), Place::Counts);
        assert_eq!(of(state(&[SELF, OTHER], &[], &[], Some(SELF))), Place::Counts);
        assert_eq!(of(state(&[SELF], &[OTHER], &[], Some(SELF))), Place::Alone);
        assert_eq!(of(state(&[SELF], &[], &[OTHER], Some(SELF))), Place::Alone);
    }
}
