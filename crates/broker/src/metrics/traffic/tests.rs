use super::*;

#[test]
fn traffic_is_counted_by_topic_and_goes_with_it() {
    let registry = Metrics::new();
    let traffic = TopicTraffic::new(&registry);
    traffic.produced("a", 3, 300);
    traffic.produced("a", 2, 200);
    traffic.produce_failed("a");
    traffic.fetched("b", 700);
    let page = registry.render().unwrap();
    for line in [
        r#"kafka_server_brokertopicmetrics_messagesin_total{topic="a"} 5"#,
        r#"kafka_server_brokertopicmetrics_bytesin_total{topic="a"} 500"#,
        r#"kafka_server_brokertopicmetrics_totalproducerequests_total{topic="a"} 3"#,
        r#"kafka_server_brokertopicmetrics_failedproducerequests_total{topic="a"} 1"#,
        r#"kafka_server_brokertopicmetrics_bytesout_total{topic="b"} 700"#,
        r#"kafka_server_brokertopicmetrics_failedfetchrequests_total{topic="b"} 0"#,
        r#"kafka_server_brokertopicmetrics_messagesin_total{topic=""} 5"#,
        r#"kafka_server_brokertopicmetrics_bytesout_total{topic=""} 700"#,
        r#"kafka_server_brokertopicmetrics_failedproducerequests_total{topic=""} 1"#,
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    traffic.forget("a");
    assert!(!registry.render().unwrap().contains(r#"{topic="a"}"#));
    traffic.produced("a", 1, 1);
    assert!(registry.render().unwrap().contains(r#"messagesin_total{topic=""} 6"#), "what was counted stays counted");
    assert!(registry.render().unwrap().contains(r#"messagesin_total{topic="a"} 1"#));
}
