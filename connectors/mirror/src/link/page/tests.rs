//! The page and the answers that it reads, held together.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value as Json;
use twinstream_connect_api::{Extension, Method};
use twinstream_model::{GroupId, NodeId, Offset, PartitionIndex, TopicName, TopicPartition};

use super::PAGES;
use crate::engine::standing::Standing;
use crate::figures::{self, GroupBehind, Heard, Mode};
use crate::link::Links;
use crate::link::tests::{Worker, body};

/// What the script calls the parts of an answer, and where they are in it.
const PARTS: [(&str, &str); 13] = [
    ("entry", "/0"),
    ("link", ""),
    ("connector", "/connectors/0"),
    ("parts", "/partitions"),
    ("lag", "/partitions/lag"),
    ("rpo", "/partitions/rpo"),
    ("compared", "/partitions/compared"),
    ("row", "/partitions/furthest_behind/0"),
    ("trouble", "/partitions/not_copying/0"),
    ("groups", "/groups"),
    ("group", "/groups/furthest_behind/0"),
    ("refused", "/topics_refused/0"),
    ("gone", "/topics_gone/0"),
];
const LIMIT: (&str, &str) = ("limit", "/limits/0");

fn script() -> &'static str {
    let html = PAGES[0].html;
    let (_, script) = html.split_once("<script nonce=\"{nonce}\">").expect("a script");
    script.split_once("</script>").expect("its end").0
}

/// Every field that the script reads, by the part that it reads it off.
fn read_fields() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut fields: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let access = Regex::new(r"(?:\.\.\.|[^.\w])([a-z]+)\.([a-z_]+)\b").unwrap();
    for found in access.captures_iter(script()) {
        let (_, [part, field]) = found.extract();
        fields.entry(part).or_default().insert(field);
    }
    fields
}

/// A link with one of everything.
fn copied() {
    let link = figures::link("ui-east", "ui-west");
    let topic = |name: &str| TopicName::parse(name).unwrap();
    let at = |name: &str| TopicPartition::new(topic(name), PartitionIndex(0));
    for (name, standing) in [("t", Standing::Copying), ("gone", Standing::Gone)] {
        let figures = link.partition(&at(name), &at(&format!("ui-east.{name}")));
        figures.held();
        figures.copied_as(Mode::Generic);
        figures.stands(standing, "somebody deleted it");
        let heard = Heard { leader: NodeId(1), source_end: Offset(9), log_start: Offset(0), offsets: 9, bytes: 90 };
        figures.heard(&heard, Offset(0), 1_000);
        figures.arrived(Offset(5), Some((5, 2_000)), 3_000);
    }
    link.refuses(BTreeMap::from([(topic("large"), "too many partitions".to_owned())]));
    link.misses(BTreeMap::from([(topic("old"), 1_000)]));
    link.group_behind(&GroupId::from("billing"), &at("t"), GroupBehind { records: 4, since_ms: Some(1) });
}

#[tokio::test]
async fn every_field_that_the_script_reads_is_in_the_answer() {
    copied();
    let worker = Worker::with(&[(
        "copy",
        &[
            ("connector.class", "MirrorSource"),
            ("source.cluster.alias", "ui-east"),
            ("target.cluster.alias", "ui-west"),
            ("source.cluster.bootstrap.servers", "a:9092"),
            ("target.cluster.bootstrap.servers", "b:9092"),
            ("twinstream.link.bytes.per.second", "1000"),
        ],
    )]);
    worker.reports("copy", "RUNNING", &["FAILED", "RESTARTING"]);
    let (list, link) = (body(&worker, "").await, body(&worker, "ui-east->ui-west").await);
    let fields = read_fields();
    for (part, place) in PARTS.into_iter().chain([LIMIT]) {
        let answer = if part == "entry" { &list } else { &link };
        let there = answer.pointer(place).unwrap_or_else(|| panic!("nothing at {place} of {answer}"));
        let read = fields.get(part).unwrap_or_else(|| panic!("the script reads nothing off {part}"));
        let missing: Vec<_> = read.iter().filter(|field| there.get(**field).is_none()).collect();
        assert!(missing.is_empty(), "{part}: {missing:?} is not in {there}");
    }
    assert_eq!(link["connectors"][0]["failures"], serde_json::json!(["task 0: why"]));
    assert_eq!(link["connectors"][0]["restarting"], serde_json::json!(["task 1: why"]));
    assert_eq!(link["state"], "FAILED");
    let shown: BTreeSet<&str> = fields["row"].iter().copied().collect();
    let row = link["partitions"]["furthest_behind"][0].as_object().unwrap();
    let unread: Vec<&String> = row.keys().filter(|key| !shown.contains(key.as_str())).collect();
    assert!(unread.is_empty(), "the page leaves out {unread:?}");
}

#[test]
fn nothing_of_an_answer_is_read_as_html_and_nothing_is_loaded_from_elsewhere() {
    let html = PAGES[0].html;
    for banned in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"] {
        assert!(!html.contains(banned), "{banned}");
    }
    for from_elsewhere in ["http://", "https://", "src=", "href=", "@import", "url(", "style=\"", " onclick"] {
        assert!(!html.contains(from_elsewhere), "{from_elsewhere}");
    }
    assert_eq!(html.matches("nonce=\"{nonce}\"").count(), 2, "the style and the script");
    assert_eq!((html.matches("<style").count(), html.matches("<script").count()), (1, 1));
}

#[test]
fn page_is_below_links_and_no_link_can_have_its_name() {
    assert_eq!(Links.pages()[0].path, "ui");
    assert!(crate::link::LinkName::parse("ui").is_err());
}

#[tokio::test]
async fn pages_are_not_answered_as_links() {
    let worker = Worker::with(&[]);
    let refused = crate::link::tests::ask(&worker, Method::Put, "ui", Json::Null).await.unwrap_err();
    assert_eq!(refused.status, 400);
}
