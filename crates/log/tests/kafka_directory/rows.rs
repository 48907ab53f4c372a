//! Records as `read.py` prints them, and the same of a log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value as Json;
use twinstream_log::PartitionLog;
use twinstream_model::{Offset, ProducerId};
use twinstream_protocol::batch::{BatchView, batches};

use crate::copy;

const ALL: Offset = Offset(i64::MAX);
const CREATE_TIME: i64 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) offset: i64,
    pub(crate) log_append_time: bool,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// The rows of a file: partition, offset, kind of timestamp, timestamp, key, value, headers.
pub(crate) fn expected(file: &str) -> Vec<Row> {
    let text = fs::read_to_string(copy::source().join(file)).expect("a file of records");
    text.lines().map(|line| row(&serde_json::from_str(line).expect("a row"))).collect()
}

fn row(row: &Json) -> Row {
    let header = |header: &Json| (header[0].as_str().expect("a name").to_owned(), bytes(&header[1]));
    Row {
        offset: row[1].as_i64().expect("an offset"),
        log_append_time: row[2].as_i64().expect("a kind") != CREATE_TIME,
        timestamp: row[3].as_i64().expect("a timestamp"),
        key: bytes(&row[4]),
        value: bytes(&row[5]),
        headers: row[6].as_array().expect("headers").iter().map(header).collect(),
    }
}

fn bytes(hex: &Json) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex.as_str()?.chars().map(|digit| digit.to_digit(16).expect("hexadecimal") as u8).collect();
    Some(digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect())
}

/// What a consumer of this isolation sees of a log. The aborted ones are taken out as clients do it: by the list that
/// comes with the records and the markers in them (KIP-98).
pub(crate) fn of(log: &PartitionLog, isolation: Isolation) -> Vec<Row> {
    let mut reader =
        Reader { isolation, waiting: aborted(log, isolation), aborting: BTreeSet::new(), rows: Vec::new() };
    let mut at = log.log_start_offset();
    while at < log.log_end_offset() {
        let found = log.read(at, 1 << 20, true, ALL).expect("a readable log");
        let Some(slice) = found.slice else { panic!("nothing at {at}") };
        let ready = log.make_ready(&slice, 1 << 20).expect("sound bytes");
        for batch in batches(&ready.read().expect("a range of a file")) {
            let batch = batch.expect("whole batches");
            batch.check_crc().expect("a good checksum");
            reader.take(batch, at);
            at = at.max(batch.header().next_offset());
        }
    }
    reader.rows
}

type ByFirstOffset = BTreeMap<Offset, Vec<ProducerId>>;

fn aborted(log: &PartitionLog, isolation: Isolation) -> ByFirstOffset {
    let mut by_first = ByFirstOffset::new();
    if isolation == Isolation::ReadCommitted {
        for aborted in log.aborted_transactions(Offset(0), log.log_end_offset()).expect("a readable index") {
            by_first.entry(aborted.first_offset).or_default().push(aborted.producer_id);
        }
    }
    by_first
}

struct Reader {
    isolation: Isolation,
    /// Aborted transactions whose first batch was not reached yet.
    waiting: ByFirstOffset,
    aborting: BTreeSet<ProducerId>,
    rows: Vec<Row>,
}

impl Reader {
    fn take(&mut self, batch: BatchView<'_>, from: Offset) {
        let header = batch.header();
        let beyond = self.waiting.split_off(&header.next_offset());
        self.aborting.extend(std::mem::replace(&mut self.waiting, beyond).into_values().flatten());
        if header.attributes.is_control() {
            self.aborting.remove(&header.producer_id);
            return;
        }
        let is_aborted = header.attributes.is_transactional() && self.aborting.contains(&header.producer_id);
        if self.isolation == Isolation::ReadCommitted && is_aborted {
            return;
        }
        for record in &batch.records(1 << 20).expect("records") {
            let record = record.expect("a record");
            if record.offset >= from {
                let header = |header: twinstream_protocol::batch::Header<'_>| {
                    (String::from_utf8_lossy(header.key).into_owned(), header.value.map(<[u8]>::to_vec))
                };
                self.rows.push(Row {
                    offset: record.offset.0,
                    log_append_time: batch.attributes().is_log_append_time(),
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record.headers.iter().map(header).collect(),
                });
            }
        }
    }
}
