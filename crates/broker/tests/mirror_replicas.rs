//! Mirrors with three replicas: what a link brings survives the leader, and so does a promotion.

mod support;

use support::mirrors::{create_mirror, from, mirror, open, plain, promote, stored};
use support::records::{fetch, list_offset, produce, records_of, values};
use support::replicas::Trio;
use support::transactions::read_committed;
use support::{Client, wait_until};
use twinstream_protocol::batch::batches;

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
