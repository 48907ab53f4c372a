//! Claims about the registry and its endpoint.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[test]
fn declared_metrics_and_the_process_are_rendered() {
    let metrics = Metrics::new();
    metrics.counter_vec("twinstream_test_requests_total", "requests", &["api"]).with_label_values(&["Fetch"]).inc_by(3);
    let text = metrics.render().unwrap();
    assert!(text.contains("twinstream_test_requests_total{api=\"Fetch\"} 3"), "{text}");
    assert!(text.contains("# TYPE process_cpu_seconds_total counter"), "{text}");
}

#[test]
fn two_roles_in_one_process_do_not_share_names() {
    Metrics::new().counter("twinstream_test_total", "one");
    Metrics::new().counter("twinstream_test_total", "another");
}

#[test]
#[should_panic(expected = "twinstream_test_twice_total")]
fn name_declared_twice_stops_the_program_and_is_named() {
    let metrics = Metrics::new();
    metrics.counter("twinstream_test_twice_total", "first");
    metrics.counter("twinstream_test_twice_total", "second");
}

#[tokio::test]
async fn endpoint_answers_until_shutdown() {
    let (stop, shutdown) = watch::channel(false);
    let bound = Metrics::new().serve("127.0.0.1:0".parse().unwrap(), shutdown).await.unwrap();
    let mut stream = TcpStream::connect(bound).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("process_open_fds"), "{answer}");
    stop.send(true).unwrap();
}

#[tokio::test]
async fn port_in_use_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let address = holder.local_addr().unwrap();
    let error = Metrics::new().serve(address, shutdown).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}

#[test]
fn a_metric_is_counted_once_and_shown_under_both_of_its_names() {
    let metrics = Metrics::new();
    let counter = metrics.counter_vec("kafka_test_things_total", "things", &["topic"]);
    metrics.spellings(&[("kafka_test_things_total", "kafka_test_thingspersec")]);
    assert!(!metrics.render().unwrap().contains("kafka_test_things"), "there is no series yet");
    counter.with_label_values(&["a"]).inc_by(4);
    let text = metrics.render().unwrap();
    for line in [r#"kafka_test_things_total{topic="a"} 4"#, r#"kafka_test_thingspersec{topic="a"} 4"#] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn reference_names_metrics_that_have_no_series_yet() {
    let metrics = Metrics::new();
    metrics.counter_vec("kafka_test_things_total", "things", &["topic"]);
    metrics.spellings(&[("kafka_test_things_total", "kafka_test_thingspersec")]);
    metrics.declare(crate::Reading::gauge("twinstream_test_level", "a level", || 1.0));
    let lines: Vec<String> = metrics.reference().iter().map(Entry::line).collect();
    for line in [
        "kafka_test_things_total\tcounter\ttopic\tthings\n",
        "kafka_test_thingspersec\tcounter\ttopic\tAnother name of kafka_test_things_total.\n",
        "twinstream_test_level\tgauge\t\ta level\n",
        "jvm_gc_collection_seconds\tsummary\tgc\tAlways 0, for boards of a JVM: nothing here collects garbage\n",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:#?}");
    }
}
