use super::*;

fn partition(leader: Option<i32>, elr: &[i32], last_leader: Option<i32>) -> DescribedPartition {
    DescribedPartition {
        partition: 4,
        leader,
        replicas: vec![1, 2, 3],
        isr: leader.into_iter().collect(),
        elr: elr.to_vec(),
        last_leader,
        start_offset: None,
        end_offset: None,
    }
}

#[test]
fn partition_without_leader_names_who_must_come_back() {
    assert_eq!(trouble(&partition(Some(1), &[2], None)), None);
    let told = |elr: &[i32], last| trouble(&partition(None, elr, last)).unwrap();
    assert_eq!(told(&[2, 3], Some(2)), "partition 4 has no leader: it starts again when broker 2 or 3 is back");
    assert!(told(&[], Some(3)).contains("broker 3 is back, which led last"));
    assert!(told(&[], None).contains("unclean election"));
}

#[test]
fn created_topic_is_told_with_its_counts() {
    let created = |partitions, replication_factor| Created {
        topic: "t".to_owned(),
        created: true,
        partitions,
        replication_factor,
    };
    assert_eq!(told(&created(Some(4), Some(3))), "created topic t with 4 partitions, 3 replicas each");
    assert_eq!(told(&created(Some(1), Some(1))), "created topic t with 1 partition, 1 replica each");
    assert_eq!(told(&created(None, None)), "created topic t");
}
