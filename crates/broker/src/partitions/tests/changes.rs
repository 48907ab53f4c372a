//! The moment at which a copy takes the place of its log: a crash after each of its stages, with all directories or with
//! one of them missing at the next start.

use twinstream_log::DELETE_SUFFIX;

use super::super::manager::changing::Changing;
use super::super::moves::{Copy, Step};
use super::moves::{Broker, append_wide, one_ends_with};
use super::*;

/// Where the records of a log are, as they say themselves.
fn offsets(partition: &Partition) -> Vec<i64> {
    let texts = moves::values(partition);
    texts.iter().map(|value| value.trim_end_matches('x').parse().unwrap()).collect()
}

/// Has the copy of the partition complete, and the change to it done up to a stage.
fn changed_after(broker: &Broker, stages: usize) {
    at_each_stage(broker, |stage| stage < stages);
}

/// Has the move made to its end while the directory that it leaves is away, so that the folder there stays.
pub(super) fn moved_but_for_its_folder(broker: &Broker) {
    let under_way = broker.manager.moves.of(&at("t", 0)).unwrap();
    at_each_stage(broker, |stage| {
        if stage == ENTERED + 1 {
            broker.hide(0);
        }
        true
    });
    broker.manager.moves.end(&under_way);
    broker.show(0);
    assert_eq!(broker.folders(0), ["t-0"]);
}

/// Goes through the change, as long as that is wanted. Called with the number of stages that are done.
pub(super) fn at_each_stage(broker: &Broker, mut goes_on: impl FnMut(usize) -> bool) {
    let under_way = broker.manager.moves.of(&at("t", 0)).unwrap();
    let Copy::Open(copy) = &under_way.work().copy else { panic!("it was begun in this run") };
    while !copy.log.has_all_of(&under_way.partition.log()) {
        copy.log.copy_from(&under_way.partition.log(), 1 << 20, now_ms()).unwrap();
    }
    let mut changing = Changing::new(&broker.manager, &under_way.partition, copy);
    let mut stage = 0;
    while goes_on(stage) {
        stage += 1;
        if let Some(step) = changing.advance().unwrap() {
            assert_eq!(step, Step::Ended);
            goes_on(stage);
            return;
        }
    }
}

/// The stages after which the mark is there, and after which the copy has the partition's name.
const MARKED: usize = 2;
pub(super) const ENTERED: usize = 7;
/// The number of stages, if nothing is missing of the copy.
const ALL: usize = 9;

#[test]
fn process_that_is_killed_at_any_stage_of_the_change_loses_nothing_and_the_move_goes_on() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 3);
    broker.partition().delete_records(Offset(1), now_ms()).unwrap();
    broker.manager.write_checkpoints(Checkpoint::LogStart);
    let all = offsets(&broker.partition());
    broker.ask(1).unwrap();
    let mut stages = 0;
    at_each_stage(&broker, |stage| {
        stages = stage;
        let folders = (broker.folders(0), broker.folders(1));
        assert_eq!(broker.dirs[0].join("t-0/left.metadata").exists(), (MARKED..ALL).contains(&stage), "{folders:?}");
        assert_eq!(folders.1 == ["t-0"], stage >= ENTERED, "{folders:?}");
        let after = broker.killed_now();
        assert_eq!(offsets(&after.partition()), all, "stage {stage}");
        after.finish();
        assert_eq!((offsets(&after.partition()), after.partition().dir()), (all.clone(), 1), "stage {stage}");
        after.manager.remove_doomed(i64::MAX);
        assert_eq!((after.folders(0), after.folders(1)), (vec![], vec!["t-0".to_owned()]), "stage {stage}");
        true
    });
    assert_eq!(stages, ALL);
}

/// Neither an old state nor an empty log may stand in for what is in the directory that cannot be seen.
#[test]
fn replica_is_not_served_from_the_folder_that_it_may_have_left_while_the_other_directory_is_missing() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 2);
    let all = offsets(&broker.partition());
    broker.ask(1).unwrap();
    at_each_stage(&broker, |stage| {
        for missing in [0, 1] {
            let after = broker.killed_with(missing);
            let is_there = if missing == 1 { stage < MARKED } else { stage >= ENTERED };
            let found = after.manager.get(&at("t", 0)).map(|partition| offsets(&partition));
            assert_eq!(found, is_there.then(|| all.clone()), "stage {stage}, without {missing}");
            let absent = after.manager.directories().identity().absent.settle(&after.cluster.image, NODE);
            assert_eq!(absent.is_empty(), is_there, "the controller hears what may be hidden");
            after.manager.reconcile(&after.cluster.image).unwrap();
            assert_eq!(after.manager.get(&at("t", 0)).is_some(), is_there, "and nothing is made in its place");
            let after = after.killed_with_all();
            assert_eq!(offsets(&after.partition()), all, "stage {stage}, after being without {missing}");
        }
        true
    });
}

/// A replica that went on in the copy and was cut there, as followers are, has less than what it left.
#[test]
fn folder_that_was_left_does_not_come_back_although_it_reaches_further() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 3);
    let first = offsets(&broker.partition())[..1].to_vec();
    broker.ask(1).unwrap();
    changed_after(&broker, ENTERED + 1);
    assert!(broker.partition().log().truncate_to(Offset(1)).unwrap().recovery_point_moved);
    broker.manager.write_checkpoints(Checkpoint::RecoveryPoint);
    let after = broker.killed_now();
    assert_eq!((after.partition().dir(), offsets(&after.partition())), (1, first));
    after.manager.remove_doomed(i64::MAX);
    assert!(after.folders(0).is_empty());
}

#[test]
fn folder_that_was_left_for_a_directory_that_was_replaced_is_used_again() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 2);
    let all = offsets(&broker.partition());
    broker.ask(1).unwrap();
    changed_after(&broker, ENTERED);
    let after = broker.killed_with(1);
    assert!(after.manager.get(&at("t", 0)).is_none());
    let after = after.killed_with_an_empty(1);
    assert_eq!((after.partition().dir(), offsets(&after.partition())), (0, all));
    assert!(!after.dirs[0].join("t-0/left.metadata").exists());
}

#[test]
fn folder_that_cannot_be_removed_is_removed_later_and_no_replica_moves_to_where_one_is() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 2);
    broker.ask(1).unwrap();
    let folder = broker.dirs[0].join("t-0");
    moved_but_for_its_folder(&broker);
    broker.manager.remove_doomed(i64::MAX);
    assert!(broker.folders(0).is_empty());
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(broker.ask(0), Err(ErrorCode::KafkaStorageError), "nobody knows what that is");
    std::fs::remove_dir(&folder).unwrap();
    broker.ask(0).unwrap();
    broker.finish();
    assert_eq!(broker.partition().dir(), 0);
}

#[test]
fn change_that_comes_to_nothing_leaves_no_mark() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 1);
    broker.ask(1).unwrap();
    let under_way = broker.manager.moves.of(&at("t", 0)).unwrap();
    at_each_stage(&broker, |stage| {
        if stage == MARKED {
            append_wide(&under_way.partition, 40); // more than comes over at once
        }
        stage < MARKED
    });
    assert!(broker.dirs[0].join("t-0/left.metadata").exists(), "a process that ends here leaves it");
    assert_eq!(broker.step(), Step::Goes);
    let Copy::Open(copy) = &under_way.work().copy else { panic!("it was begun in this run") };
    let mut changing = Changing::new(&broker.manager, &under_way.partition, copy);
    let ended = std::iter::from_fn(|| Some(changing.advance().unwrap())).flatten().next();
    assert_eq!(ended, Some(Step::Goes), "too much is missing");
    assert!(!broker.dirs[0].join("t-0/left.metadata").exists());
    assert!(one_ends_with(&broker.folders(1), "-future"));
}

#[test]
fn what_comes_while_a_change_is_prepared_comes_over_before_the_gate_is_closed() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 1);
    broker.ask(1).unwrap();
    at_each_stage(&broker, |stage| {
        if stage == MARKED + 1 {
            append_wide(&broker.partition(), 5); // as if the disks had been slow
        }
        true // until the change was made
    });
    assert_eq!((broker.partition().dir(), offsets(&broker.partition())), (1, vec![0, 1, 2, 3, 4, 5]));
}

#[test]
fn move_whose_changes_come_to_nothing_waits_longer_each_time() {
    let broker = Broker::new();
    broker.ask(1).unwrap();
    let under_way = broker.manager.moves.of(&at("t", 0)).unwrap();
    let pauses: Vec<Duration> = (0..40).map(|_| under_way.work().note_vain_change()).collect();
    assert!(pauses[..7].windows(2).all(|two| two[1] == two[0] * 2), "{pauses:?}");
    assert!(pauses[39] > Duration::from_secs(5) && pauses[39] < Duration::from_secs(60), "{pauses:?}");
}

/// The copy is the log then. To go on with the move would be to copy it to itself, and to end it to remove it.
#[test]
fn move_whose_step_panicked_behind_the_change_is_over() {
    for is_asked_back in [false, true] {
        let broker = Broker::new();
        append_wide(&broker.partition(), 2);
        broker.ask(1).unwrap();
        changed_after(&broker, ENTERED);
        match is_asked_back {
            false => assert_eq!(broker.step(), Step::Ended),
            true => assert_eq!(broker.ask(0), Err(ErrorCode::KafkaStorageError), "the old folder is there still"),
        }
        assert!(!broker.manager.is_moving(&at("t", 0)));
        append_wide(&broker.partition(), 1);
        broker.manager.remove_doomed(i64::MAX);
        assert!(!broker.dirs[1].join("t-0/left.metadata").exists());
        let after = broker.killed_now();
        assert_eq!((after.partition().dir(), offsets(&after.partition())), (1, vec![0, 1, 2]));
        after.manager.remove_doomed(i64::MAX);
        assert!(after.folders(0).is_empty());
    }
}

/// What is left of a topic that was deleted may be in the way of one of the same name.
#[test]
fn withheld_folder_gives_way_to_a_new_topic_of_its_name() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 1);
    broker.ask(1).unwrap();
    changed_after(&broker, MARKED);
    let mut after = broker.killed_with(1);
    after.manager.directories().identity().absent.settle(&after.cluster.image, NODE);
    after.cluster.remove(7);
    after.cluster.topic("t", 8, 1);
    after.manager.reconcile(&after.cluster.image).unwrap();
    assert!(offsets(&after.partition()).is_empty());
    assert!(one_ends_with(&after.folders(0), "-stray"), "{:?}", after.folders(0));
    assert!(!after.folders(0).iter().any(|name| name.ends_with(DELETE_SUFFIX)));
}
