//! What a restart finds, and what is refused at start.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::{Server, put, with_quakes};
use crate::meta::{Meta, MetaError};
use crate::{SearchOptions, bind};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

async fn refused(path: &Path) -> String {
    let options = SearchOptions { listen: "127.0.0.1:0".parse().expect("address"), data_dir: path.to_owned() };
    match bind(options).await {
        Ok(_) => panic!("the server must not start"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn acknowledged_documents_are_in_the_files_before_any_clean_end() {
    let server = with_quakes().await;
    let snapshot = TempDir::new().expect("folder");
    copy(&server.data_dir(), snapshot.path()); // what a killed process leaves behind
    let second = Server::start_in(snapshot.path()).await;
    assert_eq!(second.get("/quakes/_count").await.body["count"], 5);
    assert_eq!(second.get("/quakes/_doc/c").await.body["_source"]["magnitude"], 5.3);
    assert_eq!(second.get("/quakes/_mapping").await.body["quakes"]["mappings"]["properties"]["time"]["type"], "date");
}

#[tokio::test]
async fn versions_and_sequence_go_on_after_a_restart() {
    let server = Server::start().await;
    let head = |version: i64| json!({ "index": { "_index": "v", "_id": "x", "version": version, "version_type": "external" } });
    server.bulk(&[head(4), json!({})]).await;
    let folder = server.stop().await.expect("folder");
    let server = Server::start_in(folder.path()).await;
    assert_eq!(server.bulk(&[head(4), json!({})]).await.body["items"][0]["index"]["status"], 409);
    let next = server.bulk(&[head(5), json!({})]).await;
    assert_eq!(
        (&next.body["items"][0]["index"]["_version"], &next.body["items"][0]["index"]["_seq_no"]),
        (&json!(5), &json!(1))
    );
}

#[tokio::test]
async fn many_small_commits_keep_one_document_per_id() {
    let server = Server::start().await;
    for round in 0..30 {
        let lines: Vec<_> = (0..4).flat_map(|n| put("m", &n.to_string(), json!({ "round": round }))).collect();
        assert_eq!(server.bulk(&lines).await.body["errors"], false);
    }
    assert_eq!(server.get("/m/_count").await.body["count"], 4);
    assert_eq!(server.get("/m/_count?q=round:29").await.body["count"], 4);
}

#[tokio::test]
async fn second_process_on_a_data_directory_is_refused() {
    let server = Server::start().await;
    let error = refused(&server.data_dir()).await;
    assert!(error.contains("in use by another process"), "{error}");
}

#[tokio::test]
async fn newer_layouts_are_refused_by_name() {
    let folder = TempDir::new().expect("folder");
    fs::write(folder.path().join("layout.json"), "{\"version\":2}\n").expect("write");
    let error = refused(folder.path()).await;
    assert!(error.contains("layout version 2"), "{error}");
}

#[tokio::test]
async fn half_made_index_is_swept_away() {
    let folder = TempDir::new().expect("folder");
    let half = folder.path().join("making/1");
    fs::create_dir_all(&half).expect("folder");
    fs::write(half.join("meta.json"), "{").expect("write");
    let server = Server::start_in(folder.path()).await;
    assert_eq!(server.get("/_cat/indices").await.text, "");
    assert!(!half.exists());
}

/// The bytes of version 1, kept as they were written; a change of the layout needs a new version beside them.
const GOLDEN_V1: &str = concat!(
    r#"{"version":1,"uuid":"u-1","created_ms":1700000000000,"settings":{"number_of_shards":"1"},"#,
    r#""mappings":{"properties":{"n":{"type":"long"},"o":{"properties":{"t":{"type":"text","fields":{"keyword":{"type":"keyword","ignore_above":256}}}}}}},"#,
    r#""next_seq_no":7}"#
);

#[test]
fn index_description_version_1_is_read_and_written_unchanged() {
    let meta = Meta::decode(GOLDEN_V1).expect("version 1 is read");
    assert_eq!((meta.uuid.as_str(), meta.next_seq_no), ("u-1", 7));
    assert!(meta.mapping.resolve("o.t.keyword").is_some());
    assert_eq!(meta.encode(), GOLDEN_V1);
}

#[test]
fn newer_or_damaged_index_description_is_an_error_that_says_so() {
    assert_eq!(Meta::decode(r#"{"version":2}"#), Err(MetaError::Newer { found: 2 }));
    assert!(matches!(Meta::decode("{"), Err(MetaError::Damaged(_))));
    assert!(matches!(Meta::decode(r#"{"version":1}"#), Err(MetaError::Damaged(_))));
}
