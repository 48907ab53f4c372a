use super::*;
use crate::controller::messages::InternalApi;
use crate::handlers::SERVED;

#[test]
fn every_api_and_version_that_is_served_has_a_place_of_its_own() {
    let internal = (INTERNAL_API_KEY_MIN..=i16::MAX).filter_map(InternalApi::from_key).count();
    assert!(internal > 0 && internal <= INTERNAL_KEYS);
    let mut places: Vec<usize> = SERVED.iter().map(|row| row_of(row.key).unwrap()).collect();
    places.push(row_of(INTERNAL_API_KEY_MIN).unwrap());
    places.sort();
    let count = places.len();
    places.dedup();
    assert_eq!(places.len(), count);
    assert!(SERVED.iter().all(|row| usize::try_from(row.max).unwrap() < VERSIONS));
    assert_eq!((row_of(-1), row_of(CLIENT_KEYS as i16), row_of(i16::MAX)), (None, None, None));
}

#[test]
fn a_request_is_counted_by_api_and_version_and_made_up_versions_get_no_series() {
    let registry = Metrics::new();
    let figures = RequestFigures::new(&registry);
    let read = Instant::now();
    let at = |millis| read + Duration::from_millis(millis);
    let times = RequestTimeline { read, begun: at(1), handled: at(4), promised: true, sending: at(20), sent: at(30) };
    for version in [3, 3, 99, -7] {
        figures.count(18, "ApiVersions", version, &times);
    }
    let page = registry.render().unwrap();
    assert!(
        page.contains(r#"kafka_network_requestmetrics_requests_total{request="ApiVersions",version="3"} 2"#),
        "{page}"
    );
    assert!(page.contains(r#"kafka_network_requestmetrics_totaltimems_count{request="ApiVersions"} 4"#), "{page}");
    assert_eq!(page.matches("kafka_network_requestmetrics_requests_total{").count(), 1, "{page}");
}

#[test]
fn stages_of_a_request_add_up_and_a_promise_is_no_queue() {
    let read = Instant::now();
    let at = |millis| read + Duration::from_millis(millis);
    let mut times =
        RequestTimeline { read, begun: at(1), handled: at(4), promised: true, sending: at(20), sent: at(30) };
    let millis = |times: &RequestTimeline| times.stages().map(|took| took.as_millis());
    assert_eq!(millis(&times), [30, 1, 3, 16, 0, 10]);
    times.promised = false;
    assert_eq!(millis(&times), [30, 1, 3, 0, 16, 10]);
}
