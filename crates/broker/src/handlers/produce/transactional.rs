//! Transactional batches of a request, before anything of it is appended.
//!
//! Picture: a batch may only go into a transaction that is open in its partition. Where it would be the first one, the
//! coordinator of the transaction is asked, once for all partitions of the request, and the append comes with a guard
//! (KIP-890). Up to version 11 the producer has added the partition by itself and the coordinator looks it up; from
//! version 12 on the coordinator adds it. It answers
//! when the transaction before has ended, within limits: sending the records once more would cost the producer more.
//!
//! Invariants: nothing is asked for partitions that this broker may not append to. A partition without an admission is
//! refused by the log, so that forgetting one is no hole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::ProduceRequest;
use twinstream_log::{Applicant, Origin, VerificationGuard};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition, TransactionalId};
use twinstream_protocol::batch::BatchHeader;

use super::{BY_ID_SINCE, Failure, may_write};
use crate::context::{Broker, Operation as Acl, RequestContext};
use crate::handlers::log_wire::{authorize_topic, partition_here, resolve};
use crate::partitions::now_ms;
use crate::verification::{self, Operation, Question};

const ABORTABLE_SINCE: i16 = 11;
const ADDS_SINCE: i16 = 12;

/// A partition by its place in the request.
type Place = (usize, usize);

/// What was decided about transactional batches.
#[derive(Default)]
pub(super) struct Admissions(HashMap<Place, Result<Origin, Failure>>);

impl Admissions {
    /// As whom the batch of a partition is appended.
    pub(super) fn take(&mut self, place: Place) -> Result<Origin, Failure> {
        match self.0.is_empty() {
            true => Ok(Origin::Client), // nearly always
            false => self.0.remove(&place).unwrap_or(Ok(Origin::Client)),
        }
    }
}

/// A transactional batch.
struct Candidate {
    place: Place,
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    base_sequence: i32,
}

/// A batch for which the coordinator is asked.
struct Waiting {
    place: Place,
    partition: TopicPartition,
    guard: VerificationGuard,
}

/// Decides about the transactional batches of a request. The error is one of the whole request.
pub(super) async fn admit(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    image: &Image,
    request: &ProduceRequest,
) -> Result<Admissions, ErrorCode> {
    let candidates = candidates(request);
    let Some(first) = candidates.first() else { return Ok(Admissions::default()) };
    let id = request.transactional_id.as_ref().ok_or(ErrorCode::TransactionalIdAuthorizationFailed)?;
    let id = TransactionalId::from(id.as_str());
    let producers: HashSet<_> = candidates.iter().map(|candidate| (candidate.producer_id, candidate.epoch)).collect();
    if producers.len() > 1 {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let operation = operation(ctx.api_version);
    let mut admissions = Admissions::default();
    if !verification::is_needed(broker, image, operation) {
        admissions.0 = candidates.iter().map(|candidate| (candidate.place, Ok(Origin::Unverified))).collect();
        return Ok(admissions);
    }
    let (producer_id, epoch) = (first.producer_id, first.epoch);
    let mut waiting = Vec::new();
    for candidate in candidates {
        match begin(broker, ctx, image, request, &candidate, operation) {
            Ok(found) => waiting.extend(found),
            Err(failure) => _ = admissions.0.insert(candidate.place, Err(failure)),
        }
    }
    if waiting.is_empty() {
        return Ok(admissions);
    }
    let partitions = waiting.iter().map(|waiting| waiting.partition.clone()).collect();
    let question = Question { transactional_id: id, producer_id, epoch, partitions, operation };
    let mut refusals = verification::ask(broker, image, &question).await;
    for Waiting { place, partition, guard } in waiting {
        let admitted = match refusals.remove(&partition) {
            None => Ok(Origin::Verified(guard)),
            Some(code) => Err(refused(code, operation)),
        };
        admissions.0.insert(place, admitted);
    }
    Ok(admissions)
}

fn operation(version: i16) -> Operation {
    match version {
        ADDS_SINCE.. => Operation::Add,
        ABORTABLE_SINCE.. => Operation::Verify,
        _ => Operation::VerifyForOld,
    }
}

/// The transactional batches of a request. What is no batch, the log will say.
fn candidates(request: &ProduceRequest) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (t, topic) in request.topic_data.iter().enumerate() {
        for (p, data) in topic.partition_data.iter().enumerate() {
            let Some(Ok(header)) = data.records.as_deref().map(BatchHeader::parse) else { continue };
            if header.attributes.is_transactional() && header.is_idempotent() {
                found.push(Candidate {
                    place: (t, p),
                    producer_id: header.producer_id,
                    epoch: header.producer_epoch,
                    base_sequence: header.base_sequence,
                });
            }
        }
    }
    found
}

/// What has to be asked for a batch: nothing if its transaction is open, or if it will be refused in any case.
fn begin(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    request: &ProduceRequest,
    candidate: &Candidate,
    operation: Operation,
) -> Result<Option<Waiting>, Failure> {
    let (t, p) = candidate.place;
    let topic = &request.topic_data[t];
    let name = resolve(image, &topic.name, topic.topic_id, ctx.api_version >= BY_ID_SINCE)
        .and_then(|name| authorize_topic(broker, ctx, Acl::Write, &name).map(|()| name))
        .and_then(|name| may_write(ctx, &name).map(|()| name));
    let Ok(name) = name else { return Ok(None) };
    let index = PartitionIndex(topic.partition_data[p].index);
    let Ok(partition) = partition_here(broker, image, &name, index) else { return Ok(None) };
    let Candidate { producer_id, epoch, base_sequence, .. } = *candidate;
    let applicant = Applicant { producer_id, epoch, base_sequence, adds: operation == Operation::Add };
    let guard =
        partition.begin_verification(&applicant, now_ms()).map_err(|refused| Failure::refused(refused, &partition))?;
    Ok(guard.map(|guard| Waiting { place: candidate.place, partition: TopicPartition::new(name, index), guard }))
}

/// What the producer is told. Older clients do not send again upon codes of coordinators, so they hear one upon which they
/// do, and which does not make them look for another leader.
fn refused(code: ErrorCode, operation: Operation) -> Failure {
    let is_passing = match code {
        ErrorCode::ConcurrentTransactions => operation != Operation::Add,
        ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => true,
        _ => false,
    };
    let (code, message) = match code {
        code if is_passing => {
            let cause = code.name();
            let text = format!("cannot verify that the partition was added to the transaction, send again: {cause}");
            (ErrorCode::NotEnoughReplicas, Some(text))
        }
        ErrorCode::InvalidTxnState => (code, Some("partition was not added to the transaction".to_owned())),
        code => (code, None),
    };
    Failure { message, ..Failure::of(code) }
}

#[cfg(test)]
mod tests;
