use twinstream_model::ErrorCode;

use super::{known_code, operation};
use crate::verification::Operation;

#[test]
fn producers_that_add_partitions_by_themselves_are_looked_up() {
    let operations: Vec<Operation> = (0..=5).map(operation).collect();
    let old = Operation::VerifyForOld;
    assert_eq!(operations, [old, old, old, old, Operation::Verify, Operation::Add]);
}

#[test]
fn oldest_producers_do_not_hear_of_a_coordinator_that_loads() {
    let loads = ErrorCode::CoordinatorLoadInProgress;
    assert_eq!(known_code(1, loads), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(known_code(2, loads), loads);
    assert_eq!(known_code(0, ErrorCode::NotCoordinator), ErrorCode::NotCoordinator);
}
