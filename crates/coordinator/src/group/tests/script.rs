//! Scripts with traces: `testdata/*.txt`.
//!
//! A line that starts with `> ` is a command, the lines below it are what then came out of the shard. `#` starts
//! a comment. `UPDATE_TRACES=1 cargo test -p twinstream-coordinator` rewrites the traces: commit only changes
//! that you understand. Member ids are shown short: `A-1` is client id `A` with the first fresh id.
//!
//! Commands: `set KEY=N`, `join`, `sync`, `heartbeat`, `leave`, `commit`, `txn-commit`, `end-txn commit|abort`, `fetch`,
//! `delete-offsets`, `describe`, `list`, `delete`, `forget`, `advance MS`, `restart`, `appends-fail CODE|never`,
//! `hold-commits`, `commit-all`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use twinstream_model::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicName};
use uuid::Uuid;

use super::super::*;
use super::context::{Happening, TestContext, offset_to_commit, protocol, text, topic};
use crate::Token;
use crate::transaction::{Producer, TransactionVersion};

#[test]
fn scripts_give_their_traces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut scripts: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for path in scripts {
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = replay_script(&expected);
        if std::env::var_os("UPDATE_TRACES").is_some() {
            std::fs::write(&path, actual).unwrap();
        } else {
            assert!(actual == expected, "{} differs; the new trace is\n{actual}", path.display());
        }
    }
}

/// Runs the commands of a script and returns it with fresh traces.
fn replay_script(script: &str) -> String {
    let mut runner = Runner { context: TestContext::new(GroupConfig::default()), asked: BTreeMap::new(), guard: None };
    let mut out = String::new();
    let mut in_trace = false;
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            runner.run(command);
            out.push_str(&runner.take_trace());
            in_trace = true;
        } else if line.is_empty() || line.starts_with('#') {
            in_trace = false;
            writeln!(out, "{line}").unwrap();
        } else {
            assert!(in_trace, "stray line: {line}");
        }
    }
    out
}

struct Runner {
    context: TestContext,
    asked: BTreeMap<Token, String>,
    /// What the last answer to an unverified commit said.
    guard: Option<TransactionGuard>,
}

/// The `key=value` words of a command; the other words in order.
struct Words<'a> {
    named: BTreeMap<&'a str, &'a str>,
    plain: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn parse(command: &'a str) -> Words<'a> {
        let (named, plain): (Vec<_>, Vec<_>) = command.split_whitespace().partition(|w| w.contains('='));
        Words { named: named.into_iter().filter_map(|w| w.split_once('=')).collect(), plain }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.named.get(key).copied()
    }

    fn number(&self, key: &str, default: i64) -> i64 {
        self.get(key).map_or(default, |n| n.parse().unwrap())
    }

    fn list(&self, key: &str) -> Vec<&'a str> {
        self.get(key).into_iter().flat_map(|list| list.split(',')).filter(|w| !w.is_empty()).collect()
    }

    fn group(&self) -> GroupId {
        self.get("group").unwrap_or("g").into()
    }

    fn member(&self) -> MemberId {
        self.get("member").map(long_id).unwrap_or_default()
    }

    fn instance(&self) -> Option<InstanceId> {
        self.get("instance").map(InstanceId::from)
    }

    fn generation(&self) -> Generation {
        Generation(self.number("gen", -1) as i32)
    }

    /// `7/0` is producer 7 in epoch 0.
    fn producer(&self) -> Producer {
        let (id, epoch) = self.get("producer").unwrap().split_once('/').unwrap();
        Producer { id: ProducerId(id.parse().unwrap()), epoch: ProducerEpoch(epoch.parse().unwrap()) }
    }

    fn offsets(&self) -> Vec<OffsetToCommit> {
        let offset = |word: &str| {
            let (at, offset) = word.split_once('@').unwrap();
            let (name, partition) = at.split_once('/').unwrap();
            let metadata = self.get("metadata").unwrap_or("");
            offset_to_commit(name, partition.parse().unwrap(), offset.parse().unwrap(), metadata)
        };
        self.list("offsets").into_iter().map(offset).collect()
    }

    /// `orders/0,orders/1` as topics with partitions.
    fn partitions(&self, key: &str) -> Vec<(TopicName, Vec<PartitionIndex>)> {
        let mut topics: Vec<(TopicName, Vec<PartitionIndex>)> = Vec::new();
        for word in self.list(key) {
            let (name, partition) = word.split_once('/').unwrap();
            let partition = PartitionIndex(partition.parse().unwrap());
            match topics.iter_mut().find(|(t, _)| t.as_str() == name) {
                Some((_, partitions)) => partitions.push(partition),
                None => topics.push((topic(name), vec![partition])),
            }
        }
        topics
    }
}

impl Runner {
    fn run(&mut self, command: &str) {
        let words = Words::parse(command);
        let (verb, rest) = words.plain.split_first().unwrap();
        let first = rest.first().copied().unwrap_or("?");
        match *verb {
            "set" => self.set(&words),
            "advance" => self.context.advance(first.parse().unwrap()),
            "restart" => self.context.restart(),
            "hold-commits" => self.context.holds_commits = true,
            "commit-all" => self.context.commit_all(),
            "appends-fail" => {
                self.context.append_error = ErrorCode::ALL.iter().copied().find(|e| e.name() == first);
            }
            _ => {
                let request = self.request(verb, first, &words);
                let token = self.context.request(request);
                self.asked.insert(token, format!("{first}: {verb}"));
            }
        }
    }

    fn set(&mut self, words: &Words<'_>) {
        let config = &mut self.context.config;
        for (key, value) in &words.named {
            let value: i64 = value.parse().unwrap();
            match *key {
                "initial-delay" => config.initial_rebalance_delay_ms = value as u64,
                "max-size" => config.members_max = value as usize,
                "retention" => config.offsets_retention_ms = value,
                "check-interval" => config.offsets_retention_check_interval_ms = value as u64,
                _ => panic!("unknown setting {key}"),
            }
        }
        self.context.restart();
    }

    fn request(&mut self, verb: &str, client: &str, words: &Words<'_>) -> Request {
        let group = words.group();
        match verb {
            "join" => Request::Join(self.join(client, words)),
            "sync" => Request::Sync(Sync {
                group,
                generation: words.generation(),
                member: words.member(),
                instance: words.instance(),
                protocol_type: words.get("type").map(text),
                protocol: words.get("protocol").map(text),
                assignments: words
                    .list("assign")
                    .into_iter()
                    .map(|w| w.split_once(':').unwrap())
                    .map(|(id, share)| (long_id(id), Bytes::copy_from_slice(share.as_bytes())))
                    .collect(),
            }),
            "heartbeat" => Request::Heartbeat(Heartbeat {
                group,
                generation: words.generation(),
                member: words.member(),
                instance: words.instance(),
            }),
            "leave" => Request::Leave(Leave { group, members: leaving(words) }),
            "commit" => Request::CommitOffsets(CommitOffsets {
                group,
                generation: words.generation(),
                member: words.member(),
                instance: words.instance(),
                retention_ms: words.get("retention").map(|r| r.parse().unwrap()),
                knows_group_id_not_found: words.number("v", 9) >= 9,
                offsets: words.offsets(),
            }),
            "txn-commit" => Request::CommitTransactionalOffsets(CommitTransactionalOffsets {
                group,
                producer: words.producer(),
                verification: self.verification(words),
                generation: words.generation(),
                member: words.member(),
                instance: words.instance(),
                offsets: words.offsets(),
            }),
            "end-txn" => Request::EndTransaction(EndTransaction {
                producer: words.producer(),
                commit: client == "commit",
                coordinator_epoch: 0,
                version: if words.number("tv", 1) == 2 { TransactionVersion::V2 } else { TransactionVersion::V0 },
            }),
            "fetch" => Request::FetchOffsets(FetchOffsets {
                group,
                member: None,
                epoch: Epoch(-1),
                partitions: words.get("of").map(|_| words.partitions("of")),
                require_stable: words.number("stable", 0) == 1,
            }),
            "delete-offsets" => Request::DeleteOffsets(DeleteOffsets { group, topics: words.partitions("of") }),
            "describe" => Request::Describe(group),
            "list" => Request::List(ListFilter {
                states: words.list("states").into_iter().map(str::to_owned).collect(),
                types: words.list("types").into_iter().map(str::to_owned).collect(),
            }),
            "delete" => Request::Delete(group),
            "forget" => {
                let topics = words.list("topics").into_iter();
                Request::ForgetTopics(topics.map(|name| (topic(name), TopicId::NONE)).collect())
            }
            _ => panic!("unknown command {verb}"),
        }
    }

    fn verification(&self, words: &Words<'_>) -> Verification {
        match (words.get("verified"), self.guard) {
            (Some("off"), _) => Verification::SwitchedOff,
            (Some("looked-up"), Some(guard)) => Verification::LookedUp(guard),
            (Some("added"), Some(guard)) => Verification::Added(guard),
            _ => Verification::Missing,
        }
    }

    fn join(&mut self, client: &str, words: &Words<'_>) -> Join {
        let version = words.number("v", 9);
        Join {
            group: words.group(),
            member: words.member(),
            instance: words.instance(),
            client_id: client.into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: words.number("session", 10_000) as i32,
            rebalance_timeout_ms: words.number("rebalance", 30_000) as i32,
            protocol_type: words.get("type").unwrap_or("consumer").into(),
            protocols: words
                .get("protocols")
                .unwrap_or("range:orders")
                .split(',')
                .filter(|p| !p.is_empty())
                .map(protocol)
                .collect(),
            reason: None,
            requires_member_id: version >= 4,
            can_skip_assignment: version >= 9,
            cluster: None,
            fresh_id: self.context.fresh_id(),
        }
    }

    fn take_trace(&mut self) -> String {
        let mut out = String::new();
        for happening in std::mem::take(&mut self.context.happenings) {
            let line = match happening {
                Happening::Appended(record) => format!("log: {}", show_record(&record)),
                Happening::Refused(record, error) => {
                    format!("log refused ({}): {}", error.name(), show_record(&record))
                }
                Happening::Event(event) => format!("event: {event:?}"),
                Happening::Answered(token, answer) => {
                    if let Answer::Unverified(guard) = &answer {
                        self.guard = Some(*guard);
                    }
                    let asked = self.asked.get(&token).map_or("?", String::as_str);
                    format!("{asked} -> {}", show_answer(&answer))
                }
            };
            writeln!(out, "{}", short_ids(&line)).unwrap();
        }
        out
    }
}

fn leaving(words: &Words<'_>) -> Vec<LeavingMember> {
    let by_id = words.list("members").into_iter().map(|m| LeavingMember {
        member: long_id(m),
        instance: words.instance(),
        reason: None,
    });
    let by_instance = words.list("instances").into_iter().map(|i| LeavingMember {
        member: MemberId::default(),
        instance: Some(i.into()),
        reason: None,
    });
    by_id.chain(by_instance).collect()
}

/// `A-1` for the first fresh id of client or instance `A`.
fn long_id(short: &str) -> MemberId {
    let numbered = short.rsplit_once('-').and_then(|(name, n)| Some((name, n.parse::<u128>().ok()?)));
    match numbered {
        Some((name, n)) => MemberId::from(format!("{name}-{}", Uuid::from_u128(n))),
        None => short.into(),
    }
}

fn short_ids(line: &str) -> String {
    const ZEROS: &str = "00000000-0000-0000-0000-";
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(ZEROS) {
        let (digits, tail) = after.split_at(12);
        let n = u64::from_str_radix(digits, 16).unwrap();
        write!(out, "{before}{n}").unwrap();
        rest = tail;
    }
    out + rest
}

fn show_record(record: &Record) -> String {
    match record {
        Record::OffsetCommit { key, value } => {
            let value = value.as_ref().map(|v| format!("{} {:?}", v.offset, v.metadata));
            let value = value.unwrap_or("gone".to_owned());
            format!("offset {} {}/{} = {value}", key.group, key.topic, key.partition)
        }
        Record::TransactionalCommit { producer, key, value } => format!(
            "offset {} {}/{} = {} {:?} if {}/{} commits",
            key.group, key.topic, key.partition, value.offset, value.metadata, producer.id, producer.epoch
        ),
        Record::TransactionMarker { producer, commit, .. } => {
            format!("{} of {}/{}", if *commit { "commit" } else { "abort" }, producer.id, producer.epoch)
        }
        Record::Consumer(record) => format!("{record:?}"),
        Record::GroupMetadata { group, value: None } => format!("group {group} gone"),
        Record::GroupMetadata { group, value: Some(v) } => {
            let members: Vec<String> = v.members.iter().map(show_stored).collect();
            format!(
                "group {group} generation {} protocol {} leader {} members [{}]",
                v.generation.0,
                v.protocol.as_deref().unwrap_or("none"),
                v.leader.as_ref().map_or("none", MemberId::as_str),
                members.join(", ")
            )
        }
    }
}

fn show_stored(member: &StoredMember) -> String {
    format!("{}={}", member.member, show_bytes(&member.assignment))
}

fn show_answer(answer: &Answer) -> String {
    match answer {
        Answer::Join(a) if a.error.is_error() => format!("{} member {:?}", a.error.name(), a.member.as_str()),
        Answer::Join(a) => format!(
            "member {} generation {} protocol {} leader {}{}{}",
            a.member,
            a.generation.0,
            a.protocol.as_deref().unwrap_or("none"),
            a.leader,
            if a.skip_assignment { " skip-assignment" } else { "" },
            show_members(&a.members),
        ),
        Answer::Sync(a) if a.error.is_error() => a.error.name().to_owned(),
        Answer::Sync(a) => format!("{} share {}", a.protocol.as_deref().unwrap_or("none"), show_bytes(&a.assignment)),
        Answer::Heartbeat(error)
        | Answer::Delete(error)
        | Answer::ForgetTopics(error)
        | Answer::EndTransaction(error) => error.name().to_owned(),
        Answer::Unverified(_) => "unverified".to_owned(),
        Answer::ConsumerHeartbeat(answer) => format!("{answer:?}"),
        Answer::ConsumerDescribe(description) => format!("{description:?}"),
        Answer::Leave(a) => {
            let members: Vec<String> =
                a.members.iter().map(|m| format!("{:?}:{}", m.member.as_str(), m.error.name())).collect();
            format!("{} [{}]", a.error.name(), members.join(", "))
        }
        Answer::CommitOffsets(a) | Answer::CommitTransactionalOffsets(a) => {
            let offsets: Vec<&str> = a.offsets.iter().map(|e| e.name()).collect();
            format!("{} [{}]", a.error.name(), offsets.join(", "))
        }
        Answer::FetchOffsets(a) => {
            let offsets = a.topics.iter().flat_map(|(t, o)| o.iter().map(move |o| (t, o)));
            let offsets: Vec<String> =
                offsets.map(|(t, o)| format!("{t}/{}={}", o.partition, show_offset(o))).collect();
            format!("{} [{}]", a.error.name(), offsets.join(", "))
        }
        Answer::DeleteOffsets(a) => {
            let topics: Vec<&str> = a.topics.iter().map(|e| e.name()).collect();
            format!("{} [{}]", a.error.name(), topics.join(", "))
        }
        Answer::Describe(Err(error)) => error.name().to_owned(),
        Answer::Describe(Ok(d)) => {
            let members: Vec<String> = d
                .members
                .iter()
                .map(|m| format!("{} metadata {}b share {}", m.member, m.metadata.len(), show_bytes(&m.assignment)))
                .collect();
            format!(
                "{} type {} protocol {} [{}]",
                d.state,
                d.protocol_type.as_deref().unwrap_or("none"),
                d.protocol.as_deref().unwrap_or("none"),
                members.join(", ")
            )
        }
        Answer::List(Err(error)) => error.name().to_owned(),
        Answer::List(Ok(listings)) => {
            let groups: Vec<String> = listings.iter().map(|l| format!("{} {}", l.group, l.state)).collect();
            format!("[{}]", groups.join(", "))
        }
    }
}

fn show_offset(offset: &FetchedOffset) -> String {
    match offset.error {
        ErrorCode::None => format!("{} {:?}", offset.offset, offset.metadata),
        error => error.name().to_owned(),
    }
}

fn show_members(members: &[JoinedMember]) -> String {
    if members.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = members.iter().map(|m| m.member.as_str()).collect();
    format!(" members [{}]", names.join(", "))
}

fn show_bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() { "nothing".to_owned() } else { String::from_utf8_lossy(bytes).into_owned() }
}
