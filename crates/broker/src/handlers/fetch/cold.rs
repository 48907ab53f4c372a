//! Records that have to come from the disk, or be checked, before they can be sent.
//!
//! Picture: a pass over the partitions takes what is ready. What is not becomes an errand: if the answer has enough
//! without it, the errands are run aside, so that the records are ready when the client comes again; else, or if the disk
//! is so busy that there is no room aside, the request stands in line and waits for them. A job runs all errands of a request: it first asks the kernel for all ranges, and for what follows
//! them, so that the disk has work in its queue, then reads and checks one after the other.
//!
//! Invariants: a job reads about [`JOB_BYTES_MAX`] and ends; partitions that found no room in it are served by the next
//! answers. What a job made ready is used only for the very bytes that a new look at the log finds: a log that was cut
//! meanwhile is another one.
//!
//! Not here: when a job may run (`partitions::cold_reads`).

use std::collections::HashMap;
use std::sync::Arc;

use twinstream_log::{FileSlice, Readiness};
use twinstream_model::{ErrorCode, Offset};

use super::read::read_failed;
use crate::context::Broker;
use crate::partitions::{Partition, Spot};

/// Some milliseconds' work for a disk, and enough to keep it busy while the client takes it.
const JOB_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A partition whose records are not ready.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    /// Of the partition in the request or session.
    pub(super) place: usize,
    pub(super) partition: Arc<Partition>,
    pub(super) from: Offset,
    pub(super) bytes_max: usize,
}

/// What errands brought, by the places of the partitions.
#[derive(Debug, Default)]
pub(super) struct Brought(HashMap<usize, Result<FileSlice, ErrorCode>>);

/// Runs errands and waits for them.
pub(super) async fn fetch(broker: &Broker, errands: Vec<Errand>) -> Brought {
    let places: Vec<usize> = errands.iter().map(|errand| errand.place).collect();
    let brought = broker.cold_reads.run(move || run(errands)).await;
    brought.unwrap_or_else(|| {
        Brought(places.into_iter().map(|place| (place, Err(ErrorCode::UnknownServerError))).collect())
    })
}

/// Runs errands that nobody waits for, unless somebody does already. Gives them back if there is no room.
pub(super) fn fetch_aside(broker: &Broker, mut errands: Vec<Errand>) -> Result<(), Vec<Errand>> {
    let reads = &broker.cold_reads;
    errands.retain(|errand| !reads.is_reading_aside(&errand.spot()));
    if errands.is_empty()
        || reads.run_aside(errands.iter().map(Errand::spot).collect(), {
            let errands = errands.clone();
            move || drop(run(errands))
        })
    {
        return Ok(());
    }
    Err(errands)
}

fn run(errands: Vec<Errand>) -> Brought {
    let mut brought = Brought::default();
    let mut found = Vec::with_capacity(errands.len());
    let mut room = JOB_BYTES_MAX;
    for errand in errands {
        if room == 0 {
            break;
        }
        match errand.partition.read_all(errand.from, errand.bytes_max.min(room), true) {
            Ok(read) => {
                let Some(slice) = read.slice else { continue };
                room = room.saturating_sub(slice.len);
                slice.will_be_needed(slice.len as u64);
                found.push((errand, slice));
            }
            Err(error) => brought.failed(&errand, read_failed(&errand.partition, &error)),
        }
    }
    for (errand, slice) in found {
        match errand.partition.log().make_ready(&slice, slice.len) {
            Ok(ready) => drop(brought.0.insert(errand.place, Ok(ready))),
            Err(error) => brought.failed(&errand, read_failed(&errand.partition, &error)),
        }
    }
    brought
}

impl Errand {
    fn spot(&self) -> Spot {
        (self.partition.topic_id(), self.partition.id().partition, self.from)
    }
}

impl Brought {
    fn failed(&mut self, errand: &Errand, code: ErrorCode) {
        self.0.insert(errand.place, Err(code));
    }

    /// Whether an errand for this place brought something.
    pub(super) fn has(&self, place: usize) -> bool {
        matches!(self.0.get(&place), Some(Ok(_)))
    }

    /// Why an errand for this place brought nothing.
    pub(super) fn failure(&self, place: usize) -> Option<ErrorCode> {
        self.0.get(&place)?.as_ref().err().copied()
    }

    /// The part of a slice that can be sent now; `None` if that is nothing.
    pub(super) fn ready_part(&self, place: usize, slice: FileSlice) -> Option<FileSlice> {
        if let Some(Ok(ready)) = self.0.get(&place)
            && Arc::ptr_eq(&ready.file, &slice.file)
            && ready.position == slice.position
        {
            let mut part = slice;
            part.len = part.len.min(ready.len);
            return Some(part);
        }
        (slice.readiness() == Readiness::Ready).then_some(slice)
    }
}
