//! Reads partitions to their ends with librdkafka, and looks at nothing but sizes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use twinstream_client::bulk::BulkConsumer;
use twinstream_model::{Offset, PartitionIndex};

use super::topics::{Topics, between};
use super::{Run, Target, together};

const POLL: Duration = Duration::from_millis(100);
/// Without one record for so long, the run has failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// Partitions are dealt out among them.
    pub clients: usize,
}

impl Fetch {
    /// Reads everything that is there when it begins.
    pub fn run(&self, target: &Target, brokers: &[u32]) -> Result<Run> {
        let topics = Topics::connect(&target.settings)?;
        let (starts, ends) = (topics.starts(&target.topic)?, topics.ends(&target.topic)?);
        let wanted = between(&starts, &ends);
        if wanted == 0 {
            bail!("{} holds no records; produce some first", target.topic);
        }
        let clients = self.clients.clamp(1, ends.len());
        let dealt = (0..clients).map(|client| deal(&starts, &ends, client, clients));
        let warm: Vec<(Part, BulkConsumer)> = dealt.map(|part| warm_up(target, part)).collect::<Result<_>>()?;
        let job = |(part, consumer)| move || read(target, part, consumer);
        let (counts, took) = together("read", warm.into_iter().map(job).collect(), brokers)?;
        let records = counts.iter().map(|(count, _)| count.records).sum();
        let bytes = counts.iter().map(|(count, _)| count.bytes).sum();
        if records < wanted {
            bail!("{wanted} records are there, {records} were read"); // a compacted topic, which is no load
        }
        Ok(Run { records, bytes, took, acknowledged: None, end_to_end: None, relayed: None, sent: None })
    }
}

/// From where to where to read a partition.
type Part = BTreeMap<PartitionIndex, (Offset, Offset)>;

fn deal(
    starts: &BTreeMap<PartitionIndex, Offset>,
    ends: &BTreeMap<PartitionIndex, Offset>,
    client: usize,
    clients: usize,
) -> Part {
    let own = ends.iter().enumerate().filter(|(index, _)| index % clients == client);
    let range = |(partition, end): (&PartitionIndex, &Offset)| {
        let start = starts.get(partition).copied().unwrap_or(Offset(0));
        (start < *end).then_some((*partition, (start, *end)))
    };
    own.filter_map(|(_, entry)| range(entry)).collect()
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    records: u64,
    bytes: u64,
}

/// Reads the last record of one partition, so that connections are open. Cold data stays cold but for that.
fn warm_up(target: &Target, part: Part) -> Result<(Part, BulkConsumer)> {
    let last = part.iter().take(1).map(|(partition, (_, end))| (*partition, Offset(end.0 - 1)));
    let mut consumer = BulkConsumer::new(&target.settings, &target.topic, last)?;
    let deadline = Instant::now() + SILENCE_MAX;
    while !part.is_empty() && consumer.poll(POLL, |_| {})? == 0 {
        if Instant::now() >= deadline {
            bail!("the last record of {} did not come within {SILENCE_MAX:?}", target.topic);
        }
    }
    Ok((part, consumer))
}

/// Gives the consumer back, so that it is closed when nobody measures any more.
fn read(target: &Target, part: Part, mut consumer: BulkConsumer) -> Result<(Count, BulkConsumer)> {
    consumer.start_over(&target.topic, part.iter().map(|(partition, (start, _))| (*partition, *start)))?;
    let mut open: BTreeMap<PartitionIndex, Offset> =
        part.iter().map(|(partition, (_, end))| (*partition, *end)).collect();
    let mut count = Count::default();
    let mut heard = Instant::now();
    // Partitions are few; an index into a plain list costs less than a look-up for each record.
    let places = part.keys().map(|partition| partition.0).max().map_or(0, |max| usize::try_from(max).unwrap_or(0) + 1);
    let mut last = vec![Offset(-1); places];
    while !open.is_empty() {
        let got = consumer.poll(POLL, |record| {
            count.records += 1;
            count.bytes += record.payload.len() as u64;
            if let Some(last) = usize::try_from(record.partition.0).ok().and_then(|index| last.get_mut(index)) {
                *last = record.offset;
            }
        })?;
        if got > 0 {
            heard = Instant::now();
            open.retain(|partition, end| {
                let last = usize::try_from(partition.0).ok().and_then(|index| last.get(index));
                last.is_none_or(|last| last.0 + 1 < end.0)
            });
        } else if heard.elapsed() > SILENCE_MAX {
            bail!(
                "no record of {} for {SILENCE_MAX:?}; {} partitions are not read to their ends",
                target.topic,
                open.len()
            );
        }
    }
    Ok((count, consumer))
}
