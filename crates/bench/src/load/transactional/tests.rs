use std::collections::BTreeMap;

use super::Plan;
use crate::payload::{Content, Payloads};

fn plan(partitions: i32, each: i32, records: u64) -> Plan {
    Plan { partitions, each, records, payloads: Payloads::new(Content::Random, 1) }
}

/// How many records of these transactions go to each partition.
fn spread(plan: Plan, transactions: std::ops::Range<u64>) -> Vec<usize> {
    let mut counts = BTreeMap::<i32, usize>::new();
    for transaction in transactions {
        for record in 0..plan.records {
            *counts.entry(plan.partition(transaction, record).0).or_default() += 1;
        }
    }
    counts.into_values().collect()
}

#[test]
fn a_transaction_writes_to_as_many_partitions_as_it_is_told() {
    assert_eq!(spread(plan(6, 6, 100), 0..1), [17, 17, 17, 17, 16, 16]);
    for transaction in 0..10 {
        assert_eq!(spread(plan(6, 2, 100), transaction..transaction + 1), [50, 50]);
        assert_eq!(spread(plan(6, 1, 100), transaction..transaction + 1), [100]);
    }
}

#[test]
fn all_partitions_get_their_share_in_the_end() {
    for each in [1, 2, 6] {
        assert_eq!(spread(plan(6, each, 12), 0..6), [12; 6]);
    }
}
