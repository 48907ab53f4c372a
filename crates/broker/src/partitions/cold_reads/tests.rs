use std::sync::mpsc;
use std::time::Duration;

use super::*;

fn with_room_for(jobs: usize) -> Arc<ColdReads> {
    let mut reads = ColdReads::new(&Metrics::new());
    reads.permits = Arc::new(Semaphore::new(jobs));
    Arc::new(reads)
}

/// A job that runs until it is told to end.
fn held(reads: &Arc<ColdReads>) -> (mpsc::SyncSender<()>, tokio::task::JoinHandle<Option<()>>) {
    let (end, told) = mpsc::sync_channel(1);
    let reads = Arc::clone(reads);
    let job = tokio::spawn(async move { reads.run(move || told.recv().unwrap_or(())).await });
    (end, job)
}

async fn until(holds: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it never came to that");
}

#[tokio::test]
async fn more_jobs_than_there_is_room_for_wait_their_turn() {
    let reads = with_room_for(1);
    let (end_first, first) = held(&reads);
    until(|| reads.jobs.get() == 1).await;
    let (end_second, second) = held(&reads);
    until(|| reads.waiting.get() == 2).await;
    assert_eq!(reads.jobs.get(), 1, "the second has begun");
    end_first.send(()).unwrap();
    first.await.unwrap().unwrap();
    until(|| reads.jobs.get() == 2).await;
    end_second.send(()).unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(reads.waiting.get(), 0);
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_is_not_begun_while_there_is_no_room() {
    let reads = with_room_for(1);
    let (end, job) = held(&reads);
    until(|| reads.jobs.get() == 1).await;
    assert!(!reads.run_aside(Vec::new(), || panic!("there is no room for this")));
    end.send(()).unwrap();
    job.await.unwrap().unwrap();
    let (told, hears) = mpsc::sync_channel(1);
    until(|| reads.permits.available_permits() == 1).await;
    assert!(reads.run_aside(Vec::new(), move || told.send(()).unwrap()));
    until(|| hears.try_recv().is_ok()).await;
}

#[tokio::test]
async fn what_is_read_aside_is_known_until_the_job_has_ended() {
    let reads = with_room_for(1);
    let spot = (TopicId::NONE, PartitionIndex(3), Offset(42));
    let (end, told) = mpsc::sync_channel::<()>(1);
    assert!(reads.run_aside(vec![spot], move || told.recv().unwrap()));
    assert!(reads.is_reading_aside(&spot));
    assert!(!reads.is_reading_aside(&(TopicId::NONE, PartitionIndex(3), Offset(43))));
    end.send(()).unwrap();
    until(|| !reads.is_reading_aside(&spot)).await;
    until(|| reads.permits.available_permits() == 1).await; // given back right after
    assert!(reads.run_aside(vec![spot], || panic!("as it should")));
    until(|| !reads.is_reading_aside(&spot)).await;
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_the_line() {
    let reads = with_room_for(1);
    let (end, first) = held(&reads);
    until(|| reads.jobs.get() == 1).await;
    let (_end, second) = held(&reads);
    until(|| reads.waiting.get() == 2).await;
    second.abort();
    until(|| reads.waiting.get() == 1).await;
    end.send(()).unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(reads.run(|| 7).await, Some(7));
}

#[tokio::test]
async fn a_job_that_panics_costs_nobody_else_his_turn() {
    let reads = with_room_for(1);
    assert_eq!(reads.run(|| panic!("as it should")).await, None::<()>);
    assert_eq!(reads.run(|| 7).await, Some(7));
}
