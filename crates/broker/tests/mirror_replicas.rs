//! Mirrors with three replicas: what a link brings survives the leader, and so does a promotion.

mod support;

use bytes::Bytes;
use support::mirrors::{LINK, create_mirror, cut, from, mark, mirror, mirror_over, open, plain, promote, stored};
use support::records::{fetch, list_offset, produce, records_of, values};
use support::replicas::Trio;
use support::transactions::read_committed;
use support::{Client, wait_until};
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchMut, batches};
use twinstream_protocol::marker::EndMarker;

const QUICK: &[(&str, &str)] = &[("min.insync.replicas", "2"), ("broker.session.timeout.ms", "3000")];

/// Bytes of the mirror from its start on.
async fn bytes_of(client: &mut Client) -> Vec<u8> {
    let mut all = Vec::new();
    let mut next = 0;
    loop {
        let data = fetch(client, "m", 0, next).await;
        let bytes = data.records.unwrap_or_default();
        if bytes.is_empty() {
            return all;
        }
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            next = batch.header().next_offset().0;
            all.extend_from_slice(batch.bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_goes_on_under_another_leader_with_the_bytes_of_its_source() {
    let mut trio = Trio::start(QUICK).await;
    let mut client = trio.client(2).await;
    create_mirror(&mut client, "m", &[2, 3, 1]).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    let mut source: Vec<Vec<u8>> = Vec::new();
    for offset in 0..20 {
        let batch = stored(offset, i32::try_from(offset / 5).unwrap(), plain(&[&format!("v{offset}")]));
        source.push(batch.to_vec());
        let end = mirror(&mut client, "m", from(offset, 3), batch).await;
        assert_eq!(end, offset + 1);
    }
    trio.node(2).kill();
    let leader = trio.wait_for_leader("m", &[3, 1]).await;
    let mut client = trio.client(leader).await;
    // The link does not know what of its last request arrived, and sends it again.
    let again = [source[18].clone(), source[19].clone(), stored(20, 9, plain(&["v20"])).to_vec()];
    source.push(again[2].clone());
    assert_eq!(mirror(&mut client, "m", from(18, 9), again.concat().into()).await, 21);
    wait_until("all of it is committed", async || list_offset(&mut client, "m", 0, -1).await.offset == 21).await;
    assert_eq!(bytes_of(&mut client).await, source.concat());
    trio.restart(2).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    trio.node(leader).kill();
    let next = trio.wait_for_leader("m", if leader == 3 { &[1, 2] } else { &[2, 3] }).await;
    let mut client = trio.client(next).await;
    wait_until("the next leader serves", async || bytes_of(&mut client).await == source.concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_outlives_the_leader_that_had_begun_it() {
    let mut trio = Trio::start(QUICK).await;
    let mut client = trio.client(2).await;
    create_mirror(&mut client, "m", &[2, 3, 1]).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    let run = [stored(0, 3, open(70, &["t1"])), stored(1, 4, plain(&["a"]))].concat();
    mirror(&mut client, "m", from(0, 4), run.into()).await;
    promote(&mut trio.client(1).await, "m").await;
    trio.node(2).kill();
    let leader = trio.wait_for_leader("m", &[3, 1]).await;
    let mut client = trio.client(leader).await;
    wait_until("a producer is let in", async || produce(&mut client, "m", 0, values(&["b"])).await.error_code == 0)
        .await;
    wait_until("readers of committed records go on", async || {
        read_committed(&mut client, "m", 0).await.1 == ["a", "b"]
    })
    .await;
    let seen: Vec<String> =
        records_of(&fetch(&mut client, "m", 0, 0).await).into_iter().map(|(_, value)| value).collect();
    assert!(seen.contains(&"t1".to_owned()), "what was mirrored stays: {seen:?}");
}

/// Twenty records of epochs 0 to 3 on all three replicas.
async fn with_records(trio: &Trio) -> (Client, Vec<Vec<u8>>) {
    let mut client = trio.client(2).await;
    create_mirror(&mut client, "m", &[2, 3, 1]).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    let mut source: Vec<Vec<u8>> = Vec::new();
    for offset in 0..20 {
        let batch = stored(offset, i32::try_from(offset / 5).unwrap(), plain(&[&format!("v{offset}")]));
        source.push(batch.to_vec());
        mirror(&mut client, "m", from(offset, 3), batch).await;
    }
    wait_until("all of it is committed", async || list_offset(&mut client, "m", 0, -1).await.offset == 20).await;
    (client, source)
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_follow_a_cut_below_the_high_watermark_also_one_that_was_away() {
    let mut trio = Trio::start(QUICK).await;
    let (mut client, mut source) = with_records(&trio).await;
    trio.node(3).kill();
    trio.wait_for_isr("m", &[1, 2]).await;
    // Epoch 3 has what is cut: the others could not tell the two logs apart.
    let (refused, end) = mirror_over(&mut client, LINK, "m", cut(12, 3), Bytes::new()).await;
    assert_eq!((refused.error_code, end), (87, Some(20)), "{refused:?}");
    assert_eq!(mirror(&mut client, "m", cut(12, 6), Bytes::new()).await, 12);
    source.truncate(12);
    // Beyond where the other one, that is away, ends with what was cut.
    for offset in 12..25 {
        let batch = stored(offset, 6, plain(&[&format!("w{offset}")]));
        source.push(batch.to_vec());
        mirror(&mut client, "m", from(offset, 6), batch).await;
    }
    wait_until("what comes instead is committed", async || list_offset(&mut client, "m", 0, -1).await.offset == 25)
        .await;
    trio.restart(3).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    assert_eq!(bytes_of(&mut client).await, source.concat());
    for dead in [2, 3] {
        trio.node(dead).kill();
        let leader = trio.wait_for_leader("m", if dead == 2 { &[3, 1] } else { &[1, 2] }).await;
        let mut client = trio.client(leader).await;
        wait_until("the next leader has the same", async || bytes_of(&mut client).await == source.concat()).await;
        trio.restart(dead).await;
        trio.wait_for_isr("m", &[1, 2, 3]).await;
    }
}

/// A marker that aborts, as it stands in the source's log.
fn aborts(base: i64, epoch: i32, id: i64) -> Bytes {
    let (producer_id, producer_epoch) = (ProducerId(id), ProducerEpoch(0));
    let marker = EndMarker { producer_id, producer_epoch, commit: false, coordinator_epoch: 0 };
    let mut bytes = marker.to_batch(1_700_000_000_000).unwrap();
    let mut header = BatchMut::parse(&mut bytes).unwrap();
    header.set_base_offset(Offset(base));
    header.set_leader_epoch(LeaderEpoch(epoch));
    bytes.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_a_cut_opens_again_end_as_the_source_says_on_every_replica() {
    let mut trio = Trio::start(QUICK).await;
    let mut client = trio.client(2).await;
    create_mirror(&mut client, "m", &[2, 3, 1]).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    let run = [
        stored(0, 1, plain(&["a"])),
        stored(1, 1, open(70, &["in both"])),
        stored(2, 1, open(71, &["cut"])),
        aborts(3, 1, 71),
        aborts(4, 1, 70),
        stored(5, 1, plain(&["cut, too"])),
    ];
    assert_eq!(mirror(&mut client, "m", from(0, 1), run.concat().into()).await, 6);
    wait_until("all of it is committed", async || {
        read_committed(&mut client, "m", 0).await == (6, vec!["a".to_owned(), "cut, too".to_owned()])
    })
    .await;
    assert_eq!(mirror(&mut client, "m", cut(2, 4), Bytes::new()).await, 2);
    wait_until("the first transaction is open again", async || {
        read_committed(&mut client, "m", 0).await == (1, vec!["a".to_owned()])
    })
    .await;
    let instead = [stored(2, 4, plain(&["b"])), aborts(3, 4, 70), stored(4, 4, open(71, &["again"]))];
    assert_eq!(mirror(&mut client, "m", from(2, 4), instead.concat().into()).await, 5);
    let seen = (4, vec!["a".to_owned(), "b".to_owned()]);
    wait_until("it ends as the source says", async || read_committed(&mut client, "m", 0).await == seen).await;
    trio.node(2).kill();
    let leader = trio.wait_for_leader("m", &[3, 1]).await;
    let mut client = trio.client(leader).await;
    wait_until("the next leader knows the same", async || {
        list_offset(&mut client, "m", 0, -1).await.offset == 5 && read_committed(&mut client, "m", 0).await == seen
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_right_after_a_cut_leaves_one_that_is_cut_again() {
    let mut trio = Trio::start(QUICK).await;
    let (mut client, mut source) = with_records(&trio).await;
    assert_eq!(mirror(&mut client, "m", cut(7, 6), Bytes::new()).await, 7);
    trio.node(2).kill();
    let leader = trio.wait_for_leader("m", &[3, 1]).await;
    let mut client = trio.client(leader).await;
    // The link begins anew, finds again that epochs part, and says so again.
    assert_eq!(mirror(&mut client, "m", cut(7, 6), Bytes::new()).await, 7);
    source.truncate(7);
    let batch = stored(7, 6, plain(&["w7"]));
    source.push(batch.to_vec());
    mirror(&mut client, "m", from(7, 6), batch).await;
    trio.restart(2).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    assert_eq!(bytes_of(&mut client).await, source.concat());
    trio.node(leader).kill();
    let next = trio.wait_for_leader("m", if leader == 3 { &[1, 2] } else { &[2, 3] }).await;
    let mut client = trio.client(next).await;
    wait_until("the next leader has the same", async || bytes_of(&mut client).await == source.concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_source_becomes_a_mirror_and_gives_up_only_what_diverged() {
    let trio = Trio::start(QUICK).await;
    let mut client = trio.client(2).await;
    // The mirror of the other site, promoted while this one was cut off.
    let (mut promoted, mut source) = with_records(&trio).await;
    promote(&mut promoted, "m").await;
    wait_until("a producer is let in", async || produce(&mut client, "m", 0, values(&["own"])).await.error_code == 0)
        .await;
    assert_eq!(list_offset(&mut client, "m", 0, -1).await.offset, 21);
    mark(&mut client, "m").await;
    wait_until("producers are fenced", async || {
        produce(&mut client, "m", 0, values(&["too late"])).await.error_code == 44
    })
    .await;
    let end = list_offset(&mut client, "m", 0, -1).await.offset;
    // The other site went on in epoch 4096, which is of a later era than any that this one was promoted in, and what this one wrote of its own goes.
    assert_eq!(mirror(&mut client, "m", cut(20, 4_096), Bytes::new()).await, 20, "had {end}");
    let batch = stored(20, 4_096, plain(&["theirs"]));
    source.push(batch.to_vec());
    mirror(&mut client, "m", from(20, 4_096), batch).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    wait_until("all of it is committed", async || list_offset(&mut client, "m", 0, -1).await.offset == 21).await;
    assert_eq!(bytes_of(&mut client).await, source.concat());
}
