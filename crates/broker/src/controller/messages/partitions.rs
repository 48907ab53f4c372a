//! Changes of ISRs that leaders ask for, and what became of them; copies that a broker cannot use.

use twinstream_metadata::PartitionImage;
use twinstream_metadata::codec::{DecodeError, Reader, Writer};
use twinstream_metadata::controller::{CopyMove, EpochRaise, IsrChange, Reported, SeenCopy};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId};

/// What became of each change: the partition as it is now, or why it stays as it was.
pub(crate) type IsrOutcomes = Vec<Result<PartitionImage, ErrorCode>>;

/// The least bytes of one change: ids, epochs and an empty list.
const CHANGE_BYTES_MIN: usize = 16 + 4 + 4 + 4 + 4;
/// Topic id and partition.
const COPY_BYTES: usize = 16 + 4;
/// Topic id, partition, leader epoch and partition epoch.
const SEEN_COPY_BYTES: usize = 16 + 4 + 4 + 4;
/// Topic id, partition and two leader epochs.
const EPOCH_RAISE_BYTES: usize = 16 + 4 + 4 + 4;
/// Node and broker epoch.
const MEMBER_BYTES: usize = 12;

pub(crate) fn write_isr_changes(out: &mut Writer, broker_epoch: i64, changes: &[IsrChange]) {
    out.i64(broker_epoch);
    out.u32(changes.len() as u32);
    for change in changes {
        let IsrChange { topic_id, partition, leader_epoch, partition_epoch, isr } = change;
        out.uuid(topic_id.0);
        out.i32(partition.0);
        out.i32(leader_epoch.0);
        out.i32(*partition_epoch);
        out.u32(isr.len() as u32);
        for (node, epoch) in isr {
            out.i32(node.0);
            out.i64(*epoch);
        }
    }
}

/// The broker epoch of the asker, and what it wants.
pub(crate) fn read_isr_changes(reader: &mut Reader<'_>) -> Result<(i64, Vec<IsrChange>), DecodeError> {
    let broker_epoch = reader.i64()?;
    let count = reader.list_len(CHANGE_BYTES_MIN)?;
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let topic_id = TopicId(reader.uuid()?);
        let partition = PartitionIndex(reader.i32()?);
        let leader_epoch = LeaderEpoch(reader.i32()?);
        let partition_epoch = reader.i32()?;
        let members = reader.list_len(MEMBER_BYTES)?;
        let mut isr = Vec::with_capacity(members);
        for _ in 0..members {
            isr.push((NodeId(reader.i32()?), reader.i64()?));
        }
        changes.push(IsrChange { topic_id, partition, leader_epoch, partition_epoch, isr });
    }
    reader.end()?;
    Ok((broker_epoch, changes))
}

pub(crate) fn write_isr_outcomes(outcomes: &IsrOutcomes) -> Vec<u8> {
    let mut out = Writer::default();
    out.u32(outcomes.len() as u32);
    for outcome in outcomes {
        match outcome {
            Ok(partition) => {
                out.u16(ErrorCode::None.code() as u16);
                write_partition(&mut out, partition);
            }
            Err(code) => out.u16(code.code() as u16),
        }
    }
    out.bytes
}

pub(crate) fn read_isr_outcomes(payload: &[u8]) -> Result<IsrOutcomes, DecodeError> {
    let mut reader = Reader::new("answer to changes of the ISR", payload);
    let count = reader.list_len(2)?;
    let mut outcomes = Vec::with_capacity(count);
    for _ in 0..count {
        let number = reader.u16()? as i16;
        outcomes.push(match ErrorCode::from_code(number) {
            Some(ErrorCode::None) => Ok(read_partition(&mut reader)?),
            Some(code) => Err(code),
            None => return Err(reader.bad_value(i64::from(number))),
        });
    }
    reader.end()?;
    Ok(outcomes)
}

/// Epochs of mirrors that the broker with this epoch leads.
pub(crate) fn write_epoch_raises(out: &mut Writer, broker_epoch: i64, raises: &[EpochRaise]) {
    out.i64(broker_epoch);
    out.u32(raises.len() as u32);
    for EpochRaise { topic_id, partition, leader_epoch, to } in raises {
        out.uuid(topic_id.0);
        out.i32(partition.0);
        out.i32(leader_epoch.0);
        out.i32(to.0);
    }
}

pub(crate) fn read_epoch_raises(reader: &mut Reader<'_>) -> Result<(i64, Vec<EpochRaise>), DecodeError> {
    let broker_epoch = reader.i64()?;
    let count = reader.list_len(EPOCH_RAISE_BYTES)?;
    let mut raises = Vec::with_capacity(count);
    for _ in 0..count {
        raises.push(EpochRaise {
            topic_id: TopicId(reader.uuid()?),
            partition: PartitionIndex(reader.i32()?),
            leader_epoch: LeaderEpoch(reader.i32()?),
            to: LeaderEpoch(reader.i32()?),
        });
    }
    reader.end()?;
    Ok((broker_epoch, raises))
}

/// Copies on disks that failed, as the broker with this epoch has them.
pub(crate) fn write_offline(out: &mut Writer, broker_epoch: i64, partitions: &[(TopicId, PartitionIndex)]) {
    out.i64(broker_epoch);
    out.u32(partitions.len() as u32);
    for (topic_id, partition) in partitions {
        out.uuid(topic_id.0);
        out.i32(partition.0);
    }
}

pub(crate) fn read_offline(reader: &mut Reader<'_>) -> Result<(i64, Vec<(TopicId, PartitionIndex)>), DecodeError> {
    let broker_epoch = reader.i64()?;
    let count = reader.list_len(COPY_BYTES)?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        partitions.push((TopicId(reader.uuid()?), PartitionIndex(reader.i32()?)));
    }
    reader.end()?;
    Ok((broker_epoch, partitions))
}

/// Copies with holes, as the broker with this epoch has seen them.
pub(crate) fn write_copy_moves(out: &mut Writer, broker_epoch: i64, wanted: CopyMove, copies: &[SeenCopy]) {
    out.i64(broker_epoch);
    out.bool(wanted == CopyMove::ComeBack);
    out.u32(copies.len() as u32);
    for SeenCopy { topic_id, partition, leader_epoch, partition_epoch } in copies {
        out.uuid(topic_id.0);
        out.i32(partition.0);
        out.i32(leader_epoch.0);
        out.i32(*partition_epoch);
    }
}

pub(crate) fn read_copy_moves(reader: &mut Reader<'_>) -> Result<(i64, CopyMove, Vec<SeenCopy>), DecodeError> {
    let broker_epoch = reader.i64()?;
    let wanted = if reader.bool()? { CopyMove::ComeBack } else { CopyMove::StepAside };
    let count = reader.list_len(SEEN_COPY_BYTES)?;
    let mut copies = Vec::with_capacity(count);
    for _ in 0..count {
        copies.push(SeenCopy {
            topic_id: TopicId(reader.uuid()?),
            partition: PartitionIndex(reader.i32()?),
            leader_epoch: LeaderEpoch(reader.i32()?),
            partition_epoch: reader.i32()?,
        });
    }
    reader.end()?;
    Ok((broker_epoch, wanted, copies))
}

pub(crate) fn write_reported(reported: Reported) -> Vec<u8> {
    vec![u8::from(reported == Reported::Part)]
}

pub(crate) fn read_reported(payload: &[u8]) -> Result<Reported, DecodeError> {
    let mut reader = Reader::new("answer to a report of failed disks", payload);
    let reported = if reader.bool()? { Reported::Part } else { Reported::All };
    reader.end()?;
    Ok(reported)
}

fn write_partition(out: &mut Writer, partition: &PartitionImage) {
    let nodes = |out: &mut Writer, nodes: &[NodeId]| out.i32_list(nodes.iter().map(|node| node.0));
    let PartitionImage {
        replicas,
        isr,
        elr,
        last_known_leader,
        leader,
        leader_epoch,
        partition_epoch,
        adding,
        removing,
        offline,
    } = partition;
    for list in [replicas, isr, elr, adding, removing, offline] {
        nodes(out, list);
    }
    out.i32(leader.unwrap_or(NodeId::NONE).0);
    out.i32(last_known_leader.unwrap_or(NodeId::NONE).0);
    out.i32(leader_epoch.0);
    out.i32(*partition_epoch);
}

fn read_partition(reader: &mut Reader<'_>) -> Result<PartitionImage, DecodeError> {
    let nodes = |reader: &mut Reader<'_>| -> Result<Vec<NodeId>, DecodeError> {
        Ok(reader.i32_list()?.into_iter().map(NodeId).collect())
    };
    let node = |reader: &mut Reader<'_>| -> Result<Option<NodeId>, DecodeError> {
        Ok(Some(NodeId(reader.i32()?)).filter(|node| *node != NodeId::NONE))
    };
    Ok(PartitionImage {
        replicas: nodes(reader)?,
        isr: nodes(reader)?,
        elr: nodes(reader)?,
        adding: nodes(reader)?,
        removing: nodes(reader)?,
        offline: nodes(reader)?,
        leader: node(reader)?,
        last_known_leader: node(reader)?,
        leader_epoch: LeaderEpoch(reader.i32()?),
        partition_epoch: reader.i32()?,
    })
}
