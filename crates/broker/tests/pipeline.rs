//! The connection pipeline against a running broker: what garbage, wrong versions and hostile lengths lead to.

mod support;

use bytes::Buf;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::{Decodable, StrBytes};
use support::records::{create_topic, fetch_request, produce, produce_request, values};
use support::{Client, TestBroker, free_port, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("test"))
        .with_client_software_version(StrBytes::from_static_str("1.0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn produce_is_advertised_from_version_zero_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    for version in 0..=4 {
        let answer: ApiVersionsResponse = client.call(api_versions(), version).await;
        assert_eq!(answer.error_code, 0, "v{version}");
        let produce = answer.api_keys.iter().find(|row| row.api_key == ApiKey::Produce as i16).unwrap();
        assert_eq!(produce.min_version, 0);
        assert!(answer.api_keys.is_sorted_by(|a, b| a.api_key < b.api_key));
        assert_eq!(answer.finalized_features.is_empty(), version < 3, "v{version}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_api_versions_version_is_answered_as_v0_with_error_35() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    client.send_body(ApiKey::ApiVersions as i16, 99, b"whatever a later version says").await;
    let mut body = client.answer_body(0).await.unwrap();
    let answer = ApiVersionsResponse::decode(&mut body, 0).unwrap();
    assert_eq!(answer.error_code, 35);
    assert!(answer.api_keys.iter().any(|row| row.api_key == ApiKey::ApiVersions as i16 && row.max_version == 4));
    // The connection goes on with a version that we know.
    assert_eq!(client.call(api_versions(), 3).await.error_code, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_software_name_is_refused_and_may_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    let unnamed = ApiVersionsRequest::default();
    assert_eq!(client.call(unnamed, 3).await.error_code, 42);
    assert_eq!(client.call(api_versions(), 3).await.error_code, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_closes_its_own_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("socket.request.max.bytes", "100000")]).await;
    let mut bystander = broker.client().await;
    let packets: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01],
        &100_001i32.to_be_bytes(),
        &[0xff; 16],
        &[0, 0, 0, 3, 1, 2, 3],
        &[0, 0, 0, 8, 0x7f, 0x00, 0, 0, 0, 0, 0, 1],
    ];
    for packet in packets {
        let mut client = broker.client().await;
        client.send_raw(packet).await;
        assert!(client.is_closed().await, "{packet:?}");
        assert_eq!(bystander.call(api_versions(), 3).await.error_code, 0);
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_that_claims_two_billion_elements_closes_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    for (version, body) in [(1, &i32::MAX.to_be_bytes()[..]), (12, &[0xff, 0xff, 0xff, 0xff, 0x0f][..])] {
        let mut client = broker.client().await;
        client.send_body(ApiKey::Metadata as i16, version, body).await;
        assert!(client.is_closed().await);
    }
    assert_eq!(broker.client().await.call(api_versions(), 3).await.error_code, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_not_served_close_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    for (api, version) in [(ApiKey::Metadata, 99), (ApiKey::Metadata, -1), (ApiKey::Produce, 2), (ApiKey::Vote, 0)] {
        let mut client = broker.client().await;
        client.send_body(api as i16, version, &[]).await;
        assert!(client.is_closed().await, "{api:?} v{version}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    for _ in 0..50 {
        client.send(&MetadataRequest::default().with_topics(None), 12).await;
    }
    for expected in 1..=50 {
        let mut frame = client.next_frame().await.unwrap();
        assert_eq!(frame.get_i32(), expected);
        frame.advance(1);
        MetadataResponse::decode(&mut frame, 12).unwrap();
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_are_closed_and_places_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("max.connections.per.ip", "2")]).await;
    wait_until("the starting client's place is free", async || {
        let mut first = broker.client().await;
        let mut second = broker.client().await;
        let both = first.try_call(api_versions(), 3).await.is_ok() && second.try_call(api_versions(), 3).await.is_ok();
        both && broker.client().await.is_closed().await
    })
    .await;
    wait_until("a closed connection gives its place back", async || {
        broker.client().await.try_call(api_versions(), 3).await.is_ok()
    })
    .await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_waiting_fetches_with_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    // Far longer than a stop waits for connections before it drops them without an answer.
    client.send(&fetch_request("t", 0, 0).with_max_wait_ms(600_000), 11).await;
    let mut idle = broker.client().await;
    assert_eq!(idle.call(api_versions(), 3).await.error_code, 0);
    broker.stop().await.unwrap();
    assert!(client.answer_body(0).await.is_ok(), "the request in hand is answered");
    assert!(client.is_closed().await && idle.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_memory_are_bounded_and_still_all_served() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("queued.max.request.bytes", "200000")]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    let large = values(&[&"x".repeat(150_000)]);
    let mut producers = Vec::new();
    for _ in 0..8 {
        let (mut client, large) = (broker.client().await, large.clone());
        producers.push(tokio::spawn(async move { produce(&mut client, "t", 0, large).await.error_code }));
    }
    for producer in producers {
        assert_eq!(producer.await.unwrap(), 0);
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    // 5,000 bytes for small requests.
    let broker = TestBroker::start(dir.path(), &[("queued.max.request.bytes", "40000")]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    let mut waiting = fetch_request("t", 0, 0).with_max_wait_ms(i32::MAX);
    let partition = waiting.topics[0].partitions[0].clone();
    waiting.topics[0].partitions = vec![partition; 80]; // more than 2,000 bytes
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut reader = broker.client().await;
        reader.send(&waiting, 11).await;
        readers.push(reader);
        assert_eq!(client.call(api_versions(), 3).await.error_code, 0);
    }
    let mut newcomer = broker.client().await;
    assert_eq!(newcomer.call(api_versions(), 3).await.error_code, 0);
    produce(&mut newcomer, "t", 0, values(&["a"])).await;
    for reader in &mut readers {
        assert!(reader.answer_body(0).await.is_ok());
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_wait_for_the_start_make_room_for_what_the_start_needs() {
    let dir = tempfile::tempdir().unwrap();
    // Its controller never comes, so it never serves.
    let broker =
        TestBroker::launch(dir.path(), 2, free_port(), free_port(), &[("queued.max.request.bytes", "1000000")]);
    let mut first = None;
    wait_until("its port is open", async || {
        first = Client::try_connect(broker.port).await.ok();
        first.is_some()
    })
    .await;
    let (mut first, mut second) = (first.unwrap(), broker.client().await);
    let large = produce_request("t", 0, 1, values(&[&"x".repeat(600_000)]));
    first.send(&large, 9).await;
    assert_eq!(broker.client().await.call(api_versions(), 3).await.error_code, 0);
    second.send(&large, 9).await;
    // Whichever of the two came first.
    let closed = async {
        tokio::select! { closed = first.is_closed() => closed, closed = second.is_closed() => closed }
    };
    assert!(closed.await, "the memory of a batch is held for a start that may need it");
    broker.stop().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_waits_no_longer_than_an_idle_connection_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("connections.max.idle.ms", "2000")]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    let answer = client.call(fetch_request("t", 0, 0).with_max_wait_ms(i32::MAX), 11).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_under_kafkas_names() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let broker = TestBroker::start(dir.path(), &[("twinstream.metrics.listener", &address)]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    produce(&mut client, "t", 0, values(&["a", "b"])).await;
    let metrics = async || {
        let mut http = tokio::net::TcpStream::connect(&address).await.unwrap();
        http.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut page = String::new();
        http.read_to_string(&mut page).await.unwrap();
        page
    };
    // A request is counted when its answer has been sent, which the client may have read by then.
    let counted = "kafka_network_requestmetrics_totaltimems_count{request=\"Produce\"} 1";
    wait_until("the request is counted", async || metrics().await.contains(counted)).await;
    let page = metrics().await;
    for line in [
        "kafka_network_requestmetrics_requests_total{request=\"Produce\",version=\"9\"} 1",
        "kafka_network_requestmetrics_totaltimems_count{request=\"Produce\"} 1",
        "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"} 2",
        "kafka_log_log_logendoffset{partition=\"0\",topic=\"t\"} 2",
        "kafka_controller_kafkacontroller_activecontrollercount 1",
        "kafka_server_replicamanager_leadercount 1",
        "kafka_server_replicamanager_underreplicatedpartitions 0",
        "kafka_server_replicamanager_underminisrpartitioncount 0",
        "kafka_server_replicamanager_isrshrinks_total 0",
        "kafka_server_replicafetchermanager_maxlag{clientId=\"Replica\"} 0",
        "kafka_cluster_partition_atminisr{partition=\"0\",topic=\"t\"} 1",
        "kafka_controller_kafkacontroller_preferredreplicaimbalancecount 0",
        "kafka_controller_controllerstats_uncleanleaderelections_total 0",
        "kafka_server_raftmetrics_number_of_voters 1",
        "kafka_server_raftmetrics_number_of_offline_voters 0",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
    broker.stop().await.unwrap();
}
