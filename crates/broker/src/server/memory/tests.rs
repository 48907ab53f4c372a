use super::*;

#[test]
fn a_frame_is_slow_only_after_a_while_and_below_the_least_speed() {
    assert!(!is_slow(0, PATIENCE));
    assert!(is_slow(0, PATIENCE + Duration::from_millis(1)));
    assert!(is_slow(5 * 1024 * 1024 - 1, Duration::from_millis(5_900)));
    assert!(!is_slow(5 * 1024 * 1024, Duration::from_millis(5_900)));
    assert!(is_slow(59 * 1024 * 1024, Duration::from_secs(60)));
    assert!(!is_slow(60 * 1024 * 1024, Duration::from_secs(60)));
}

#[tokio::test]
async fn a_slow_frame_is_in_the_way_only_while_others_wait() {
    let memory = RequestMemory::new(1000);
    let incoming = Incoming::new(800, memory.reserve(800, Cargo::Records).await);
    let later = Instant::now() + PATIENCE + Duration::from_secs(1);
    assert!(!incoming.is_in_the_way(10, later));
    let waiting = tokio::spawn({
        let memory = memory.clone();
        async move { drop(memory.reserve(800, Cargo::Records).await) }
    });
    tokio::task::yield_now().await;
    assert!(incoming.is_in_the_way(10, later));
    assert!(!incoming.is_in_the_way(10, Instant::now()));
    drop(incoming);
    waiting.await.unwrap();
    assert_eq!(memory.records.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn small_frames_pass_while_large_ones_fill_their_lane() {
    let memory = RequestMemory::new(1 << 20);
    let large = memory.reserve(1 << 20, Cargo::Records).await;
    let small = memory.reserve(50_000, Cargo::Records).await;
    assert!(waits(memory.reserve(SMALL_MAX + 1, Cargo::Records)).await);
    assert!(waits(memory.reserve(1 << 30, Cargo::Records)).await);
    drop((large, small));
    drop(memory.reserve(1 << 30, Cargo::Records).await);
}

#[tokio::test]
async fn large_frames_without_records_keep_no_producer_out() {
    let memory = RequestMemory::new(1 << 20);
    let bare = memory.reserve(1 << 20, Cargo::NoRecords).await;
    assert!(waits(memory.reserve(SMALL_MAX + 1, Cargo::NoRecords)).await);
    let produce = memory.reserve(3 << 18, Cargo::Records).await;
    drop((bare, produce));
    drop(memory.reserve(SMALL_MAX + 1, Cargo::NoRecords).await);
}

#[tokio::test]
async fn all_lanes_together_hold_no_more_than_the_bound() {
    for total in [0, 1, 7, 100, 4096, 1 << 28] {
        let memory = RequestMemory::new(total);
        let lanes = [&memory.small, &memory.bare, &memory.records];
        assert_eq!(lanes.map(|lane| u64::from(lane.total)).iter().sum::<u64>(), total);
    }
}

#[tokio::test]
async fn giving_up_a_wait_gives_the_place_in_the_line_back() {
    let memory = RequestMemory::new(1000);
    let all = memory.reserve(800, Cargo::Records).await;
    assert!(waits(memory.reserve(800, Cargo::Records)).await);
    assert_eq!(memory.records.waiting.load(Ordering::Relaxed), 0);
    drop(all);
    drop(memory.reserve(800, Cargo::Records).await);
}

/// Whether a future is not ready at its first poll.
async fn waits<T>(future: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = std::future::ready(()) => true,
    }
}
