//! What this sync has made on the target, so that it deletes that and nothing else.
//!
//! The note stands in a compacted topic on the target, `mm2-acls.<source alias>.internal`, one record for each rule. It is read
//! once, and then kept in memory beside the topic: one sync writes it.
//! Invariants: a rule is noted after it was made, and struck off after it was deleted. A worker that dies in between leaves a rule
//! that nobody deletes, or deletes once more what the source has no more. What could not be written is written with the
//! next look.
//! Bounds: as many entries as rules were made.
//!
//! Record: key a JSON list (connector, pattern, name, principal, host, operation, permission), value a JSON object with
//! `cluster`, the id of the source that had it.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use twinstream_client::raw::{AclOperation, AclPattern, AclPermission, TopicAcl};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::TopicName;

use super::plan::Made;
use crate::syncs::topic_log::{Read, Replicas, TopicLog};

pub(super) struct Note {
    connector: String,
    log: TopicLog,
    replicas: Replicas,
    made: Made,
    /// Entries that the topic does not say yet.
    unwritten: BTreeSet<TopicAcl>,
}

impl Note {
    pub(super) async fn load(
        target: RawClient,
        topic: TopicName,
        replicas: Replicas,
        connector: &str,
    ) -> Result<Note, ClientError> {
        let (mut log, mut made) = (TopicLog::new(target, topic), Made::new());
        log.read_all(|read| replay(&mut made, connector, read)).await?;
        Ok(Note { connector: connector.to_owned(), log, replicas, made, unwritten: BTreeSet::new() })
    }

    pub(super) fn made(&self) -> &Made {
        &self.made
    }

    pub(super) fn add(&mut self, rule: TopicAcl, cluster: &str) {
        self.made.insert(rule.clone(), cluster.to_owned());
        self.unwritten.insert(rule);
    }

    pub(super) fn strike(&mut self, rule: TopicAcl) {
        self.made.remove(&rule);
        self.unwritten.insert(rule);
    }

    /// Writes what changed; tried again with the next call.
    pub(super) async fn write(&mut self) -> Result<(), ClientError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.log.ensure(self.replicas, &[]).await?;
        let record = |rule: &TopicAcl| (key(&self.connector, rule), self.made.get(rule).map(|cluster| value(cluster)));
        let records: Vec<_> = self.unwritten.iter().map(record).collect();
        self.log.append(&records).await?;
        self.unwritten.clear();
        Ok(())
    }
}

fn replay(made: &mut Made, connector: &str, read: Read<'_>) {
    match read {
        Read::Anew => made.clear(),
        Read::Record { key, value } => {
            let Some(rule) = parse(connector, key) else { return };
            // A value that cannot be read proves nothing, and nothing is deleted for it.
            match value.and_then(cluster) {
                Some(cluster) => _ = made.insert(rule, cluster),
                None => _ = made.remove(&rule),
            }
        }
    }
}

fn key(connector: &str, rule: &TopicAcl) -> Vec<u8> {
    let (pattern, operation, permission) = (rule.pattern.name(), rule.operation.name(), rule.permission.name());
    json!([connector, pattern, rule.name, rule.principal, rule.host, operation, permission]).to_string().into_bytes()
}

fn value(cluster: &str) -> Vec<u8> {
    json!({ "cluster": cluster }).to_string().into_bytes()
}

/// `None` for an entry of another connector, and for what is no entry.
fn parse(connector: &str, key: &[u8]) -> Option<TopicAcl> {
    let Json::Array(parts) = serde_json::from_slice(key).ok()? else { return None };
    let parts: Vec<&str> = parts.iter().filter_map(Json::as_str).collect();
    let [of, pattern, name, principal, host, operation, permission] = parts[..] else { return None };
    let rule = TopicAcl {
        pattern: AclPattern::parse(pattern)?,
        name: name.to_owned(),
        principal: principal.to_owned(),
        host: host.to_owned(),
        operation: AclOperation::parse(operation)?,
        permission: AclPermission::parse(permission)?,
    };
    Some(rule).filter(|_| of == connector)
}

fn cluster(value: &[u8]) -> Option<String> {
    let value: Json = serde_json::from_slice(value).ok()?;
    value.get("cluster")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acls::tests::rule;

    #[test]
    fn what_is_noted_is_read_back_and_what_is_struck_off_is_not() {
        let (first, second) = (rule("ALLOW READ alice LITERAL src.a"), rule("DENY ALL bob PREFIXED src.\"b"));
        let mut made = Made::new();
        for rule in [&first, &second] {
            let (key, value) = (key("mirror", rule), value("east"));
            replay(&mut made, "mirror", Read::Record { key: &key, value: Some(&value) });
        }
        assert_eq!(made, Made::from([(first.clone(), "east".to_owned()), (second.clone(), "east".to_owned())]));
        replay(&mut made, "mirror", Read::Record { key: &key("mirror", &first), value: None });
        assert_eq!(made.keys().collect::<Vec<_>>(), [&second]);
        replay(&mut made, "mirror", Read::Anew);
        assert!(made.is_empty());
    }

    #[test]
    fn entries_of_others_and_bytes_that_are_none_are_passed_over() {
        let (rule, mut made) = (rule("ALLOW READ alice LITERAL src.a"), Made::new());
        let value = value("east");
        let mut read = |key: &[u8], value: &[u8]| {
            replay(&mut made, "mirror", Read::Record { key, value: Some(value) });
            made.len()
        };
        assert_eq!(read(&key("another", &rule), &value), 0);
        assert_eq!(read(b"\xff", &value), 0);
        assert_eq!(read(b"[1,2,3,4,5,6,7]", &value), 0);
        assert_eq!(read(b"[\"mirror\",\"LITERAL\",\"a\",\"b\",\"c\",\"ANY\",\"ALLOW\"]", &value), 0);
        assert_eq!(read(&key("mirror", &rule), b"{}"), 0, "of no cluster, so it is never deleted");
        assert_eq!(read(&key("mirror", &rule), &value), 1);
    }
}
