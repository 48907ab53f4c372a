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
    let incoming = Incoming::new(800, memory.reserve(800).await);
    let later = Instant::now() + PATIENCE + Duration::from_secs(1);
    assert!(!incoming.is_in_the_way(10, later));
    let waiting = tokio::spawn({
        let memory = memory.clone();
        async move { drop(memory.reserve(800).await) }
    });
    tokio::task::yield_now().await;
    assert!(incoming.is_in_the_way(10, later));
    assert!(!incoming.is_in_the_way(10, Instant::now()));
    drop(incoming);
    waiting.await.unwrap();
    assert_eq!(memory.large.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn small_frames_pass_while_large_ones_fill_their_lane() {
    let memory = RequestMemory::new(1 << 20);
    let large = memory.reserve(1 << 20).await;
    let small = memory.reserve(50_000).await;
    assert!(waits(memory.reserve(SMALL_MAX + 1)).await);
    assert!(waits(memory.reserve(1 << 30)).await);
    drop((large, small));
    drop(memory.reserve(1 << 30).await);
}

#[tokio::test]
async fn both_lanes_together_hold_no_more_than_the_bound() {
    for total in [0, 1, 7, 100, 4096, 1 << 28] {
        let memory = RequestMemory::new(total);
        assert_eq!(u64::from(memory.small.total) + u64::from(memory.large.total), total);
    }
}

#[tokio::test]
async fn giving_up_a_wait_gives_the_place_in_the_line_back() {
    let memory = RequestMemory::new(1000);
    let all = memory.reserve(800).await;
    assert!(waits(memory.reserve(800)).await);
    assert_eq!(memory.large.waiting.load(Ordering::Relaxed), 0);
    drop(all);
    drop(memory.reserve(800).await);
}

/// Whether a future is not ready at its first poll.
async fn waits<T>(future: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = std::future::ready(()) => true,
    }
}
