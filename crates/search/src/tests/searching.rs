//! Queries, order, and the shape of answers.

use serde_json::{Value, json};

use super::{ids, with_quakes};

#[tokio::test]
async fn each_query_kind_finds_what_it_should() {
    let server = with_quakes().await;
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({ "match_all": {} }), &["a", "b", "c", "d", "e"]),
        (json!({ "match_none": {} }), &[]),
        (json!({ "match": { "place": "new zealand" } }), &["d", "e"]),
        (json!({ "match": { "place": { "query": "New Zealand", "operator": "and" } } }), &["e"]),
        (json!({ "match_phrase": { "place": "km nne of" } }), &[]),
        (json!({ "match_phrase": { "place": "nne of lima" } }), &["b"]),
        (json!({ "multi_match": { "query": "raton", "fields": ["place", "net.code"] } }), &["d"]),
        (json!({ "term": { "place.keyword": "20km NNE of Lima, Montana" } }), &["b"]),
        (json!({ "term": { "place": "montana" } }), &["b"]),
        (json!({ "term": { "magnitude": 2 } }), &["d"]),
        (json!({ "term": { "felt": { "value": 4 } } }), &["c"]),
        (json!({ "term": { "big": true } }), &["a", "c", "e"]),
        (json!({ "term": { "nowhere": 1 } }), &[]),
        (json!({ "terms": { "felt": [2, 4, 5] } }), &["b", "c"]),
        (json!({ "range": { "magnitude": { "gte": 2, "lt": 5.3 } } }), &["d", "e"]),
        (json!({ "range": { "felt": { "gt": 3.5 } } }), &["c", "e"]),
        (json!({ "range": { "time": { "gte": "2018-01-31T02:07:46.860Z" } } }), &["d", "e"]),
        (json!({ "range": { "id.keyword": { "gt": "b", "lte": "d" } } }), &["c", "d"]),
        (json!({ "prefix": { "place.keyword": "2" } }), &["b", "e"]),
        (json!({ "exists": { "field": "felt" } }), &["b", "c", "e"]),
        (json!({ "exists": { "field": "net" } }), &["a", "b", "c", "d", "e"]),
        (json!({ "ids": { "values": ["a", "zz", "e"] } }), &["a", "e"]),
        (
            json!({ "bool": { "must": { "match": { "place": "of" } }, "filter": [{ "range": { "magnitude": { "gt": 1 } } }], "must_not": { "term": { "big": true } } } }),
            &["b", "d"],
        ),
        (json!({ "bool": { "must_not": [{ "exists": { "field": "felt" } }] } }), &["a", "d"]),
        (
            json!({ "bool": { "should": [{ "term": { "felt": 2 } }, { "term": { "big": false } }], "minimum_should_match": 2 } }),
            &["b"],
        ),
        (json!({ "bool": {} }), &["a", "b", "c", "d", "e"]),
        (json!({ "constant_score": { "filter": { "term": { "felt": 2 } } } }), &["b"]),
        (json!({ "query_string": { "query": "place:new AND magnitude:>=4 -felt:2" } }), &["e"]),
        (json!({ "query_string": { "query": "(montana OR indonesia) AND big:true" } }), &["c"]),
        (json!({ "query_string": { "query": "magnitude:[1 TO 2]" } }), &["b", "d"]),
        (json!({ "query_string": { "query": "NOT _exists_:felt" } }), &["a", "d"]),
        (json!({ "query_string": { "query": "\"raoul island\"", "default_field": "place" } }), &["e"]),
    ];
    for (query, expected) in cases {
        assert_eq!(server.found("quakes", query.clone()).await, expected, "{query}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_refused_by_name() {
    let server = with_quakes().await;
    for (body, part) in [
        (json!({ "query": { "fuzzy": { "place": "x" } } }), "unknown query [fuzzy]"),
        (json!({ "query": { "match": { "place": { "query": "x", "fuzziness": 1 } } } }), "[fuzziness]"),
        (json!({ "aggs": {} }), "[aggs]"),
        (json!({ "query": { "range": { "place": { "gt": 1 } } } }), "does not support range"),
        (json!({ "query": { "term": { "felt": "many" } } }), "[felt]"),
        (json!({ "sort": ["place"] }), "[place.keyword]"),
        (json!({ "sort": ["nowhere"] }), "No mapping found for [nowhere]"),
        (json!({ "size": 10_001 }), "Result window is too large"),
        (json!({ "query": { "query_string": { "query": "plac*" } } }), "wildcard"),
        (json!({ "query": { "query_string": { "query": "(a" } } }), "')' is missing"),
    ] {
        let answer = server.call("POST", "/quakes/_search", body.to_string()).await;
        assert_eq!(answer.status, 400, "{body} gave {}", answer.text);
        assert!(answer.text.contains(part), "{body} gave {}", answer.text);
    }
    assert_eq!(server.get("/quakes/_search?scroll=1m").await.status, 400);
    assert_eq!(server.get("/nowhere/_search").await.status, 404);
    assert_eq!(server.get("/_template").await.status, 404);
}

#[tokio::test]
async fn hits_are_sorted_with_missing_values_last() {
    let server = with_quakes().await;
    let order = async |sort: Value| ids(&server.search("quakes", json!({ "sort": sort })).await);
    assert_eq!(order(json!([{ "magnitude": "desc" }])).await, ["c", "e", "d", "b", "a"]);
    assert_eq!(order(json!([{ "magnitude": { "order": "asc" } }])).await, ["a", "b", "d", "e", "c"]);
    assert_eq!(order(json!([{ "felt": "desc" }, { "time": "desc" }])).await, ["e", "c", "b", "d", "a"]);
    assert_eq!(
        order(json!([{ "felt": { "order": "asc", "missing": "_first" } }, "id.keyword"])).await,
        ["a", "d", "b", "c", "e"]
    );
    assert_eq!(order(json!({ "place.keyword": "desc" })).await, ["c", "a", "d", "e", "b"]);
    assert_eq!(order(json!([{ "big": "desc" }, { "id.keyword": "desc" }])).await, ["e", "c", "a", "d", "b"]);
}

#[tokio::test]
async fn order_holds_across_segments_with_different_number_types() {
    let server = with_quakes().await;
    for (id, magnitude) in [("f", json!(3)), ("g", json!(6)), ("h", json!(1))] {
        server
            .call("PUT", &format!("/quakes/_doc/{id}"), json!({ "id": id, "magnitude": magnitude }).to_string())
            .await;
    }
    let body = server.search("quakes", json!({ "sort": [{ "magnitude": "desc" }], "from": 1, "size": 4 })).await;
    assert_eq!(ids(&body), ["c", "e", "f", "d"]);
}

#[tokio::test]
async fn answer_has_totals_scores_and_chosen_source() {
    let server = with_quakes().await;
    let body = server
        .search(
            "quakes",
            json!({ "query": { "match": { "place": "zealand" } }, "_source": ["net.*", "id"], "version": true }),
        )
        .await;
    let hit = &body["hits"]["hits"][0];
    assert_eq!(hit["_source"], json!({ "id": "e", "net": { "code": "ee" } }));
    assert!(hit["_score"].as_f64().expect("score") > 0.0);
    assert_eq!((&hit["_version"], &hit["_index"]), (&json!(1), &json!("quakes")));
    let big = server.search("quakes", json!({ "sort": [{ "felt": "desc" }], "size": 1 })).await;
    assert_eq!(big["hits"]["hits"][0]["sort"], json!([9_007_199_254_740_993_i64]));
    assert_eq!(big["hits"]["hits"][0]["_score"], Value::Null);
    let cut = server.search("quakes", json!({ "track_total_hits": 3, "size": 0 })).await;
    assert_eq!(cut["hits"]["total"], json!({ "value": 3, "relation": "gte" }));
    let hidden =
        server.get("/quakes/_search?track_total_hits=false&size=1&sort=magnitude:desc&_source=false").await.body;
    assert_eq!((&hidden["hits"]["total"], &hidden["hits"]["hits"][0]["_source"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn patterns_search_several_indices_as_one() {
    let server = with_quakes().await;
    server.call("PUT", "/quakes-2/_doc/z", json!({ "id": "z", "magnitude": 9.9 }).to_string()).await;
    let body = server.search("quakes*", json!({ "sort": [{ "magnitude": "desc" }], "size": 2 })).await;
    assert_eq!(ids(&body), ["z", "c"]);
    assert_eq!(server.get("/_count").await.body["count"], 6);
    let listed = server.get("/_cat/indices?format=json").await.body;
    assert_eq!(listed[0]["docs.count"], "5");
    assert_eq!(server.get("/_cluster/health").await.body["status"], "green");
}
