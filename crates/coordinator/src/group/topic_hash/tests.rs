//! The golden numbers were computed by hash4j 0.22 and the `Utils` of Apache Kafka 4.3.1.

use std::collections::BTreeSet;
use std::sync::Arc;

use twinstream_model::TopicId;
use uuid::Uuid;

use super::*;

const ORDERS: i64 = -3_967_608_492_204_731_963;
const PRICES: i64 = -480_458_980_432_686_752;
const LARGE: i64 = -8_056_421_119_609_817_281;

fn hash(name: &str, id: u128, racks: &[&[&str]]) -> i64 {
    let racks: Vec<BTreeSet<Arc<str>>> =
        racks.iter().map(|racks| racks.iter().map(|rack| Arc::from(*rack)).collect()).collect();
    let facts = TopicFacts { id: TopicId(Uuid::from_u128(id)), partitions: racks.len(), racks };
    topic_hash(&TopicName::parse(name).unwrap(), &facts)
}

const A: u128 = 0x0102_0304_0506_0708_1112_1314_1516_1718;
const B: u128 = 0x2122_2324_2526_2728_3132_3334_3536_3738;

#[test]
fn topics_are_hashed_as_in_kafka() {
    assert_eq!(hash("orders", A, &[&[], &[], &[]]), ORDERS);
    assert_eq!(hash("prices", B, &[&["r1", "r2"], &["r2", "räck"]]), PRICES);
    assert_eq!(hash("large", A, &[&["eu-west-1a"][..]; 100]), LARGE);
}

#[test]
fn topic_without_known_racks_is_one_whose_brokers_have_none() {
    let facts = TopicFacts { id: TopicId(Uuid::from_u128(A)), partitions: 3, racks: Vec::new() };
    assert_eq!(topic_hash(&TopicName::parse("orders").unwrap(), &facts), ORDERS);
}

#[test]
fn groups_are_hashed_as_in_kafka() {
    assert_eq!(group_hash([]), 0);
    assert_eq!(group_hash([ORDERS]), 8_632_239_608_810_869_865);
    assert_eq!(group_hash([ORDERS, PRICES]), 1_635_955_535_268_718_629);
}

#[test]
fn everything_that_an_assignment_depends_on_changes_the_hash() {
    let hashes = [
        hash("orders", A, &[&["r1"], &["r2"]]),
        hash("orders", B, &[&["r1"], &["r2"]]),
        hash("order", A, &[&["r1"], &["r2"]]),
        hash("orders", A, &[&["r1"], &["r2"], &["r3"]]),
        hash("orders", A, &[&["r2"], &["r1"]]),
        hash("orders", A, &[&["r1", "r2"], &[]]),
    ];
    assert_eq!(BTreeSet::from(hashes).len(), hashes.len());
}
