use super::*;

#[test]
fn list_lacks_what_a_resigned_shard_had_and_fails_with_any_other() {
    let here = || Ok(vec![1, 2]);
    assert_eq!(join_lists([here(), Err(ErrorCode::NotCoordinator), Ok(vec![3])]), Ok(vec![1, 2, 3]));
    let loading = Err(ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(join_lists([here(), loading.clone(), Ok(vec![3])]), loading);
}
