use twinstream_model::NodeId;

use super::*;

fn row(replicas: &[i32], adding: &[i32], isr: &[i32], min_isr: usize) -> Row {
    let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let image = PartitionImage {
        replicas: nodes(replicas),
        adding: nodes(adding),
        isr: nodes(isr),
        ..PartitionImage::default()
    };
    Row::new(&TopicName::parse("t").unwrap(), PartitionIndex(0), &image, min_isr)
}

/// Under-replicated, under min ISR, at min ISR.
fn health(row: &Row) -> (bool, bool, bool) {
    (row.is_under_replicated(), row.is_under_min_isr(), row.is_at_min_isr())
}

#[test]
fn partitions_are_judged_by_their_in_sync_replicas() {
    assert_eq!(health(&row(&[1, 2, 3], &[], &[1, 2, 3], 2)), (false, false, false));
    assert_eq!(health(&row(&[1, 2, 3], &[], &[1, 2], 2)), (true, false, true));
    assert_eq!(health(&row(&[1, 2, 3], &[], &[1], 2)), (true, true, false));
}

#[test]
fn a_partition_cannot_lack_more_replicas_than_it_has() {
    assert_eq!(
        health(&row(&[1], &[], &[1], 2)),
        (false, false, true),
        "min.insync.replicas asks for more than there are"
    );
}

#[test]
fn replicas_that_are_being_added_are_not_missing() {
    assert_eq!(health(&row(&[4, 1, 2], &[4], &[1, 2], 1)), (false, false, false));
}
