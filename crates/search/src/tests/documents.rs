//! Writing: results per item, versions, mappings, single documents.

use std::io::Write;

use serde_json::{Value, json};

use super::{Server, put, with_quakes};

fn statuses(body: &Value) -> Vec<u64> {
    body["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            item.as_object().expect("item").values().next().expect("result")["status"].as_u64().expect("status")
        })
        .collect()
}

fn with_version(verb: &str, id: &str, kind: &str, version: i64) -> Value {
    let mut head = json!({});
    head[verb] = json!({ "_index": "v", "_id": id, "version": version, "version_type": kind });
    head
}

#[tokio::test]
async fn root_names_a_product_that_official_clients_accept() {
    let server = Server::start().await;
    let answer = server.get("/").await;
    assert_eq!(answer.headers["x-elastic-product"], "Elasticsearch");
    assert_eq!(answer.body["tagline"], "You Know, for Search");
    assert_eq!(answer.body["version"]["build_flavor"], "default");
    let vendor = "application/vnd.elasticsearch+json; compatible-with=9";
    let response = server.client.get(&server.url).header("accept", vendor).send().await.expect("answer");
    assert_eq!(response.headers()["content-type"], vendor);
}

#[tokio::test]
async fn bulk_answers_every_item_in_order_across_indices() {
    let server = Server::start().await;
    let mut lines = Vec::new();
    lines.extend(put("one", "1", json!({ "n": 1 })));
    lines.extend(put("two", "1", json!({ "n": 1 })));
    lines.extend(put("one", "1", json!({ "n": 2 })));
    lines.push(json!({ "delete": { "_index": "two", "_id": "absent" } }));
    lines.push(json!({ "create": { "_index": "one", "_id": "1" } }));
    lines.push(json!({ "n": 3 }));
    let answer = server.bulk(&lines).await;
    assert_eq!(statuses(&answer.body), [201, 201, 200, 404, 409], "{}", answer.text);
    assert_eq!(answer.body["errors"], true);
    assert_eq!(answer.body["items"][2]["index"]["_version"], 2);
    assert_eq!(server.get("/one/_doc/1").await.body["_source"]["n"], 2);
}

#[tokio::test]
async fn external_version_must_be_newer_and_gte_may_repeat() {
    let server = Server::start().await;
    let doc = json!({ "n": 1 });
    let run = async |head: Value| {
        let answer = server.bulk(&[head, doc.clone()]).await;
        statuses(&answer.body)[0]
    };
    assert_eq!(run(with_version("index", "x", "external", 0)).await, 201);
    assert_eq!(run(with_version("index", "x", "external", 5)).await, 200);
    assert_eq!(run(with_version("index", "x", "external", 5)).await, 409);
    assert_eq!(run(with_version("index", "x", "external", 4)).await, 409);
    assert_eq!(run(with_version("index", "x", "external_gte", 5)).await, 200);
    assert_eq!(run(with_version("index", "x", "external_gte", 4)).await, 409);
    assert_eq!(server.get("/v/_doc/x").await.body["_version"], 5);
}

#[tokio::test]
async fn same_id_twice_in_one_bulk_is_checked_against_the_first() {
    let server = Server::start().await;
    let doc = json!({});
    let lines =
        [with_version("index", "x", "external", 9), doc.clone(), with_version("index", "x", "external", 8), doc];
    assert_eq!(statuses(&server.bulk(&lines).await.body), [201, 409]);
}

#[tokio::test]
async fn late_write_does_not_undo_a_newer_deletion() {
    let server = Server::start().await;
    let doc = json!({});
    server.bulk(&[with_version("index", "x", "external", 1), doc.clone()]).await;
    assert_eq!(statuses(&server.bulk(&[with_version("delete", "x", "external", 7)]).await.body), [200]);
    assert_eq!(statuses(&server.bulk(&[with_version("index", "x", "external", 6), doc.clone()]).await.body), [409]);
    assert_eq!(server.get("/v/_doc/x").await.status, 404);
    assert_eq!(statuses(&server.bulk(&[with_version("index", "x", "external", 8), doc]).await.body), [201]);
}

#[tokio::test]
async fn update_merges_upserts_and_notices_no_change() {
    let server = Server::start().await;
    let head = |id: &str| json!({ "update": { "_index": "u", "_id": id, "retry_on_conflict": 3 } });
    let upsert = json!({ "doc": { "a": { "b": 1, "c": 2 } }, "doc_as_upsert": true });
    let partial = json!({ "doc": { "a": { "b": 9 } } });
    let answer = server
        .bulk(&[head("1"), upsert, head("1"), partial.clone(), head("1"), partial.clone(), head("2"), partial])
        .await;
    assert_eq!(statuses(&answer.body), [201, 200, 200, 404], "{}", answer.text);
    assert_eq!(answer.body["items"][2]["update"]["result"], "noop");
    assert_eq!(answer.body["items"][3]["update"]["error"]["type"], "document_missing_exception");
    assert_eq!(server.get("/u/_doc/1").await.body["_source"], json!({ "a": { "b": 9, "c": 2 } }));
}

#[tokio::test]
async fn bad_document_fails_alone_and_names_field_type_and_value() {
    let server = with_quakes().await;
    let mut lines = Vec::new();
    lines.extend(put("quakes", "bad", json!({ "id": "bad", "felt": "many" })));
    lines.extend(put("quakes", "obj", json!({ "id": { "x": 1 } })));
    lines.extend(put("quakes", "good", json!({ "id": "good" })));
    let answer = server.bulk(&lines).await;
    assert_eq!(statuses(&answer.body), [400, 400, 201], "{}", answer.text);
    let error = &answer.body["items"][0]["index"]["error"];
    assert_eq!(error["type"], "mapper_parsing_exception");
    for part in ["[felt]", "[long]", "'bad'", "'many'"] {
        assert!(error["reason"].as_str().expect("reason").contains(part), "{error}");
    }
    assert_eq!(server.get("/quakes/_doc/bad").await.status, 404);
}

#[tokio::test]
async fn rejected_document_leaves_no_trace_in_the_mapping() {
    let server = with_quakes().await;
    server.bulk(&put("quakes", "bad", json!({ "brand_new": 1, "felt": "many" }))).await;
    let mapping = server.get("/quakes/_mapping").await;
    assert_eq!(mapping.body["quakes"]["mappings"]["properties"]["brand_new"], Value::Null);
}

#[tokio::test]
async fn mapping_is_inferred_and_never_changes_a_type() {
    let server = with_quakes().await;
    let mapping = server.get("/quakes/_mapping").await.body;
    let properties = &mapping["quakes"]["mappings"]["properties"];
    assert_eq!(
        properties["place"],
        json!({ "type": "text", "fields": { "keyword": { "type": "keyword", "ignore_above": 256 } } })
    );
    assert_eq!(properties["magnitude"]["type"], "double");
    assert_eq!(properties["felt"]["type"], "long");
    assert_eq!(properties["big"]["type"], "boolean");
    assert_eq!(properties["time"]["type"], "date");
    assert_eq!(properties["net"]["properties"]["code"]["type"], "text");
    let change = server
        .call("PUT", "/quakes/_mapping", json!({ "properties": { "felt": { "type": "keyword" } } }).to_string())
        .await;
    assert_eq!((change.status, change.body["error"]["type"].as_str()), (400, Some("illegal_argument_exception")));
    let unknown = server
        .call("PUT", "/quakes/_mapping", json!({ "properties": { "at": { "type": "geo_point" } } }).to_string())
        .await;
    assert!(unknown.text.contains("No handler for type [geo_point] declared on field [at]"), "{}", unknown.text);
}

#[tokio::test]
async fn strict_mapping_refuses_new_fields() {
    let server = Server::start().await;
    server
        .call(
            "PUT",
            "/s",
            json!({ "mappings": { "dynamic": "strict", "properties": { "a": { "type": "long" } } } }).to_string(),
        )
        .await;
    let answer = server.call("PUT", "/s/_doc/1", json!({ "a": 1, "b": 2 }).to_string()).await;
    assert_eq!((answer.status, answer.body["error"]["type"].as_str()), (400, Some("strict_dynamic_mapping_exception")));
}

#[tokio::test]
async fn dates_are_read_by_their_format() {
    let server = Server::start().await;
    server.call("PUT", "/d", json!({ "mappings": { "properties": { "t": { "type": "date" } } } }).to_string()).await;
    for (id, t) in [
        ("1", json!("2018-01-31T01:49:59.650Z")),
        ("2", json!(1_517_363_399_650_i64)),
        ("3", json!("2018-01-31T02:49:59.650+01:00")),
    ] {
        assert_eq!(server.call("PUT", &format!("/d/_doc/{id}"), json!({ "t": t }).to_string()).await.status, 201);
    }
    let same = server
        .call("POST", "/d/_count", json!({ "query": { "term": { "t": 1_517_363_399_650_i64 } } }).to_string())
        .await;
    assert_eq!(same.body["count"], 3, "{}", same.text);
    assert_eq!(server.call("PUT", "/d/_doc/4", json!({ "t": "2018-02-30" }).to_string()).await.status, 400);
}

#[tokio::test]
async fn single_document_calls_behave_like_bulk_items() {
    let server = Server::start().await;
    assert_eq!(server.call("PUT", "/one/_doc/a%2Fb", "{\"n\":1}").await.status, 201);
    assert_eq!(server.call("PUT", "/one/_create/a%2Fb", "{}").await.status, 409);
    assert_eq!(server.call("HEAD", "/one/_doc/a%2Fb", "").await.status, 200);
    assert_eq!(server.get("/one/_doc/a%2Fb?_source=false").await.body["_source"], Value::Null);
    assert_eq!(server.call("PUT", "/one/_doc/a%2Fb?version=3&version_type=external", "{}").await.status, 200);
    assert_eq!(server.call("DELETE", "/one/_doc/a%2Fb", "").await.status, 200);
    assert_eq!(server.call("DELETE", "/one/_doc/a%2Fb", "").await.status, 404);
    let many = server.call("POST", "/one/_mget", json!({ "ids": ["a/b"] }).to_string()).await;
    assert_eq!(many.body["docs"][0]["found"], false);
}

#[tokio::test]
async fn malformed_bulk_is_refused_whole_with_its_line() {
    let server = Server::start().await;
    for (body, part) in [
        ("{\"index\":{\"_index\":\"i\",\"_id\":\"1\"}}\n{}", "terminated by a newline"),
        ("{\"index\":{\"_index\":\"i\"}}\n{}\n{\"upsert\":{}}\n{}\n", "line [3]"),
        ("nonsense\n", "line [1]"),
        ("{\"index\":{\"_index\":\"i\",\"routing\":\"x\"}}\n{}\n", "[routing]"),
        ("{\"index\":{}}\n{}\n", "index is missing"),
    ] {
        let answer = server.call("POST", "/_bulk", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text.contains(part), "{}", answer.text);
    }
    assert_eq!(server.call("HEAD", "/i", "").await.status, 404);
}

#[tokio::test]
async fn gzip_bodies_are_read_and_bombs_refused() {
    let server = Server::start().await;
    let pack = |text: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(text).expect("pack");
        packer.finish().expect("pack")
    };
    let send = async |body: Vec<u8>| {
        server
            .client
            .post(format!("{}/z/_bulk", server.url))
            .header("content-encoding", "gzip")
            .body(body)
            .send()
            .await
            .expect("answer")
            .status()
            .as_u16()
    };
    assert_eq!(send(pack(b"{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}\n")).await, 200);
    assert_eq!(server.get("/z/_doc/1").await.status, 200);
    assert_eq!(send(pack(&vec![b' '; super::super::rest::BODY_BYTES_MAX + 10])).await, 413);
    assert_eq!(send(b"not gzip".to_vec()).await, 400);
}

#[tokio::test]
async fn index_names_follow_the_rules() {
    let server = Server::start().await;
    for name in ["Upper", "_under", "-dash", "a%20b", "a%2Fb", "a*"] {
        let answer = server.call("PUT", &format!("/{name}"), "").await;
        assert_eq!(
            (answer.status, answer.body["error"]["type"].as_str()),
            (400, Some("invalid_index_name_exception")),
            "{name}"
        );
    }
    assert_eq!(server.call("PUT", "/good", "").await.status, 200);
    assert_eq!(server.call("PUT", "/good", "").await.body["error"]["type"], "resource_already_exists_exception");
    assert_eq!(server.call("DELETE", "/good", "").await.status, 200);
    assert_eq!(server.call("DELETE", "/good", "").await.status, 404);
    assert_eq!(server.call("DELETE", "/_all", "").await.status, 400);
}
