use std::sync::Arc;

use kafka_protocol::messages::ApiKey;
use twinstream_model::NodeId;

use super::*;
use crate::context::Principal;
use crate::metrics::BrokerMetrics;

fn context() -> RequestContext {
    RequestContext {
        api_key: ApiKey::Metadata as i16,
        api_name: "Metadata",
        api_version: 12,
        correlation_id: 1,
        client_id: None,
        principal: Principal::anonymous(),
        listener: "PLAINTEXT".into(),
        peer: ([127, 0, 0, 1], 1).into(),
        connection: None,
        metrics: Arc::new(BrokerMetrics::new(Arc::default(), NodeId(1))),
        departed: Default::default(),
    }
}

#[tokio::test]
async fn a_panic_costs_one_answer_and_is_counted() {
    let ctx = context();
    let broken = async {
        tokio::task::yield_now().await;
        panic!("the handler is broken")
    };
    let answer: Option<()> = contained(&ctx, broken).await;
    assert_eq!(answer, None);
    assert_eq!(contained(&ctx, async { 7 }).await, Some(7));
    let page = ctx.metrics.registry.render().unwrap();
    let line = "kafka_network_requestmetrics_errors_total{error=\"UNKNOWN_SERVER_ERROR\",request=\"Metadata\"} 1";
    assert!(page.contains(line), "{page}");
}

#[test]
fn rows_of_other_nodes_are_found_and_not_advertised() {
    let raft = served(INTERNAL_API_KEY_MIN).unwrap();
    assert_eq!((raft.min, raft.max), (InternalApi::Raft.version(), InternalApi::Raft.version()));
    assert!(is_internal(raft.key) && SERVED.iter().all(|row| !is_internal(row.key)));
    assert!(served(i16::MAX).is_none() && served(-1).is_none());
}

#[test]
fn garbage_bodies_are_malformed_and_never_a_panic() {
    let ctx = context();
    for body in [&b""[..], b"\x02", b"\xff\xff\xff\xff\xff\xff"] {
        let decoded: Result<MetadataRequest, DispatchError> = decode(&ctx, Bytes::copy_from_slice(body));
        assert!(matches!(decoded, Err(DispatchError::Malformed { .. })), "{body:?}");
    }
}

#[test]
fn every_served_version_has_the_shapes_of_its_request_and_its_answer() {
    for row in SERVED {
        for shapes in [shape::REQUESTS, shape::ANSWERS] {
            let shape = shapes.iter().find(|shape| shape.api_key() == row.key).unwrap();
            let versions = shape.versions();
            assert!(versions.contains(&row.min) && versions.contains(&row.max), "{}: {versions:?}", row.name);
        }
    }
}
