//! Verification: whether the target has what the source has, told by offset.
//!
//! Picture: a walk over one partition. Each step fetches the same stretch from both sides ([`walk`]) and compares it: mirrors
//! batch by batch, without unpacking them ([`aligned`]); copies with offsets of their own record by record, through the offset
//! map ([`content`]). What both sides have in common is *verified up to* an offset of the source. The walk runs on demand
//! ([`demand`]), and all the time in the background of the connector, bounded in bytes per second ([`background`]).
//! Invariants: V1 only what both sides must have is compared: below the high watermarks of both, and below the end of the
//! offset map. V2 what the copy leaves out (markers, aborted transactions for a reader of committed records) and what retention
//! or compaction removed on one side is no difference; it is counted and told. V3 a difference is told after it was read twice:
//! a leader that changes in between shows two logs for a moment. V4 memory is bounded: one answer of each side, and
//! [`walk::NAMED_MAX`] differences by name, all others as a number.
//! Not here: repairing. Whoever finds a difference decides which side is right.

mod aligned; // batches at the same offsets
pub(crate) mod background; // all the time
mod content; // records, wherever they are
pub(crate) mod demand; // when somebody asks
mod slice; // what one answer holds
mod walk; // one partition, step by step
mod world; // both clusters: topics, modes, maps

use std::fmt;

/// Where and in what both sides differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Offsets on either side, where there is one.
    pub source: Option<i64>,
    pub target: Option<i64>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// These parts of a record.
    Content(Vec<&'static str>),
    /// The source has a record that the target lacks.
    Missing,
    /// The target has a record that the source lacks.
    Extra,
    /// The same records in another batch: these fields of its header.
    Batch(Vec<&'static str>),
    /// Bytes that are no batch, or fail their checksum.
    Broken(Side, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Content(parts) => write!(f, "the record has another {}", parts.join(" and ")),
            What::Missing => f.write_str("the target lacks the record"),
            What::Extra => f.write_str("the source lacks the record"),
            What::Batch(fields) => write!(f, "the batch has another {}", fields.join(" and ")),
            What::Broken(Side::Source, why) => write!(f, "damaged at the source: {why}"),
            What::Broken(Side::Target, why) => write!(f, "damaged on the target: {why}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = |offset: Option<i64>| offset.map_or("none".to_owned(), |offset| offset.to_string());
        write!(f, "source offset {}, target offset {}: {}", offset(self.source), offset(self.target), self.what)
    }
}

/// What a comparison of two answers came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Of the source: everything before is compared.
    pub next: i64,
    pub records: u64,
    pub differences: Vec<Difference>,
    /// Records that compaction removed on one side.
    pub removed: u64,
    /// Records of the target that are there twice, or came from somebody else.
    pub repeated: u64,
    /// Records that the offset map, which is coarse where it is old, does not pair.
    pub unpaired: u64,
}

#[cfg(test)]
mod tests;
