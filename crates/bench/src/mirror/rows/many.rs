//! A thousand topics with ten partitions each, a record in every partition and groups that have read them, to which nobody writes
//! any more; and one more topic that comes.
//!
//! Between clusters of ours: Kafka maps two files for each partition, and two such brokers run into the limits of an ordinary
//! machine. The link has all three connectors, is aligned by itself, and looks for new topics, follows groups and compares both
//! sides as often as it does by default.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use twinstream_client::raw::OffsetAt;
use twinstream_client::{CommitOffset, NewTopic};
use twinstream_model::{GroupId, Offset, PartitionIndex, TopicName, TopicPartition};

use super::{Outcome, measured};
use crate::judge::Kind as Brokers;
use crate::judge::client::{Client, Topic};
use crate::judge::report::{RowReport, Sample};
use crate::judge::rows::strings;
use crate::load::Run;
use crate::mirror::Options;
use crate::mirror::maker::{Kind, Maker};
use crate::mirror::site::{Site, records_in};
use crate::mirror::table::Row;
use crate::proc;
use crate::wire::{Wire, now_ms, produce_frame};

const TOPICS: f64 = 1_000.0;
const PARTITIONS: i32 = 10;
/// Each has read five topics, and stands behind the record of each partition.
const TOPICS_A_GROUP: u64 = 5;
/// What is written to while the new topic comes.
const BUSY: &str = "many-busy";
/// In one request, so that each is answered in a second or so.
const TOPICS_A_REQUEST: usize = 100;
const PATTERN: &str = "many-.*";
const COPIED_WITHIN: Duration = Duration::from_secs(300);
/// What the making of so many topics has left to do is done by then.
const SETTLE: Duration = Duration::from_secs(10);
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(20);
/// Processor time is counted in hundredths of a second.
const REST_MIN: Duration = Duration::from_secs(2);
/// Far above the target, so that a miss has a number.
const NEW_WITHIN: Duration = Duration::from_secs(60);
/// How long records come before the new topic does, and after.
const AROUND: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// One life is enough, as for the partitions of one broker.
pub(super) async fn run(options: &Options) -> Result<Outcome> {
    let mut site = Site::start(&Brokers::Ours(options.ours.clone())).await?;
    let mut maker = Maker::start(&Kind::Ours(options.ours.clone()), "ours", &site).await;
    let topics = options.scaled(TOPICS, 10.0);
    make(&site, topics).await?;
    let address = site.source.bootstrap();
    tokio::task::block_in_place(|| fill(&address, topics))?;
    let groups = read_by_groups(&site, topics).await?;
    let alias = maker.alias(0);
    let start = Instant::now();
    maker.begin(&site, &alias, PATTERN, &[]).await?;
    maker.begin_beside(&site, &alias, PATTERN).await?;
    until_copied(&site, &maker, &alias, topics).await?;
    until_followed(&site, &maker, &alias, &groups).await?;
    let first = start.elapsed();
    tokio::time::sleep(SETTLE.mul_f64(options.scale)).await;
    let pid = maker.pid();
    let cpu = || proc::cpu_seconds(pid).with_context(|| format!("processor time of process {pid}"));
    let before = cpu()?;
    let rest = REST.mul_f64(options.scale).max(REST_MIN);
    tokio::time::sleep(rest).await;
    let at_rest = (cpu()? - before) / rest.as_secs_f64();
    let resident = proc::memory(pid).context("memory of the worker")?.resident;
    let (new, beside) = one_more(&mut site, &maker, &alias, &Client::new(options.load.clone())).await?;
    maker.check_all(&alias).await?;
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    let p99 = beside.relayed.context("latencies of copies")?.p99 / 1e3;
    let values = vec![millis(first), at_rest, millis(new), p99, resident as f64 / 1e6];
    let sample = Sample { values, runs: vec![beside] };
    Ok(measured(RowReport::of(Row::Many, vec![sample], Vec::new(), Vec::new())))
}

async fn make(site: &Site, count: u64) -> Result<()> {
    let topic = |index| Ok::<_, anyhow::Error>(NewTopic::new(TopicName::parse(&name(index))?, PARTITIONS, 1));
    let busy = NewTopic::new(TopicName::parse(BUSY)?, PARTITIONS, 1);
    let topics: Vec<NewTopic> = (0..count).map(topic).chain([Ok(busy)]).collect::<Result<_>>()?;
    for some in topics.chunks(TOPICS_A_REQUEST) {
        let results = site.admin_of_source.create_topics(some, false).await?;
        results.into_values().collect::<Result<Vec<_>, _>>()?;
    }
    Ok(())
}

fn name(index: u64) -> String {
    format!("many-{index}")
}

/// One record in every partition.
fn fill(address: &str, topics: u64) -> Result<()> {
    let mut open: Option<Wire> = None;
    for index in 0..topics {
        let topic = TopicName::parse(&name(index))?;
        for partition in 0..PARTITIONS {
            let frame = produce_frame(&topic, PartitionIndex(partition), -1, &[b"hello"], now_ms())?;
            open = Some(Wire::until_acknowledged_on(open.take(), address, &frame, PAUSE, ACKNOWLEDGED_WITHIN)?);
        }
    }
    Ok(())
}

/// The partitions of a topic, called as at the source behind `before`.
fn partitions(before: &str, index: u64) -> Result<Vec<TopicPartition>> {
    let topic = TopicName::parse(&format!("{before}{}", name(index)))?;
    Ok((0..PARTITIONS).map(|partition| TopicPartition::new(topic.clone(), partition)).collect())
}

/// Lets groups stand behind every record; which ones, with the first and the last topic of each.
async fn read_by_groups(site: &Site, topics: u64) -> Result<Vec<(GroupId, u64, u64)>> {
    let mut groups = Vec::new();
    for first in (0..topics).step_by(usize::try_from(TOPICS_A_GROUP)?) {
        let (group, last) =
            (GroupId::from(format!("readers-{first}").as_str()), (first + TOPICS_A_GROUP).min(topics) - 1);
        let mut offsets = BTreeMap::new();
        for index in first..=last {
            let behind = || CommitOffset { offset: Offset(1), metadata: String::new() };
            offsets.extend(partitions("", index)?.into_iter().map(|partition| (partition, behind())));
        }
        site.admin_of_source.raw().commit_offsets(&group, &offsets).await?;
        groups.push((group, first, last));
    }
    Ok(groups)
}

/// Until every topic has its copy, and every record is there.
async fn until_copied(site: &Site, maker: &Maker, alias: &str, wanted: u64) -> Result<()> {
    let deadline = Instant::now() + COPIED_WITHIN;
    let start = format!("{alias}.many-");
    let mut left: Vec<u64> = (0..wanted).collect();
    loop {
        let topics = site.admin_of_target.topics().await?;
        let copies = topics.keys().filter(|topic| topic.as_str().starts_with(&start)).count();
        // The busy one is there as well, and empty.
        if copies as u64 > wanted {
            let mut incomplete = Vec::new();
            for some in left.chunks(TOPICS_A_REQUEST) {
                let asked: Vec<Vec<TopicPartition>> =
                    some.iter().map(|index| partitions(&format!("{alias}."), *index)).collect::<Result<_>>()?;
                let ends = site.admin_of_target.raw().list_offsets_now(&asked.concat(), OffsetAt::Latest).await?;
                let is_there = |partition: &TopicPartition| matches!(ends.get(partition), Some(Ok(Offset(1..))));
                let whole = asked.iter().map(|partitions| partitions.iter().all(is_there));
                incomplete.extend(some.iter().zip(whole).filter(|(_, whole)| !whole).map(|(index, _)| *index));
            }
            left = incomplete;
            if left.is_empty() {
                return Ok(());
            }
        }
        if Instant::now() >= deadline {
            maker.check_all(alias).await?;
            bail!("{copies} of {} topics are copied after {COPIED_WITHIN:?}, {} not whole", wanted + 1, left.len());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Until every group stands on the target where it stands at the source.
async fn until_followed(site: &Site, maker: &Maker, alias: &str, groups: &[(GroupId, u64, u64)]) -> Result<()> {
    let deadline = Instant::now() + COPIED_WITHIN;
    for (group, first, last) in groups {
        let wanted: Vec<Vec<TopicPartition>> =
            (*first..=*last).map(|index| partitions(&format!("{alias}."), index)).collect::<Result<_>>()?;
        let wanted = wanted.concat();
        loop {
            let found = site.admin_of_target.raw().committed_offsets(group).await?;
            let stands = |partition| found.get(partition).is_some_and(|commit| commit.offset == Offset(1));
            if wanted.iter().all(stands) {
                break;
            }
            if Instant::now() >= deadline {
                maker.check_all(alias).await?;
                bail!("group {group} has not followed after {COPIED_WITHIN:?}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// How long it took from the making of a topic until a record of it was downstream, and what records of another topic met
/// meanwhile.
async fn one_more(site: &mut Site, maker: &Maker, alias: &str, client: &Client) -> Result<(Duration, Run)> {
    let (old, copy, downstream) = (Topic::kept(BUSY), format!("{alias}.{BUSY}"), site.target.bootstrap());
    let mode =
        ["trickle", "--rate", "100", "--seconds", "120", "--on-orders", "--downstream", &downstream, "--copy", &copy];
    let old = Topic { partitions: PARTITIONS, ..old };
    let mut beside = client.start_at(&site.source.bootstrap(), &[], &old, &strings(mode))?;
    tokio::task::block_in_place(|| beside.wait_ready())?;
    tokio::time::sleep(AROUND).await;
    let new = TopicName::parse("many-more")?;
    let made = Instant::now();
    site.create(new.as_str(), PARTITIONS).await?;
    let frame = produce_frame(&new, PartitionIndex(0), -1, &[b"hello"], now_ms())?;
    let address = site.source.bootstrap();
    tokio::task::block_in_place(|| Wire::until_acknowledged(&address, &frame, PAUSE, NEW_WITHIN))?;
    let copy = TopicName::parse(&format!("{alias}.{new}"))?;
    while records_in(&site.admin_of_target, &copy).await? != Some(1) {
        if made.elapsed() >= NEW_WITHIN {
            maker.check(alias).await?;
            bail!("{copy} has no record after {NEW_WITHIN:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
    let took = made.elapsed();
    tokio::time::sleep(AROUND).await;
    beside.stop();
    Ok((took, tokio::task::block_in_place(|| beside.finish())?))
}
