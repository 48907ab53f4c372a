//! Partitions that keep the source's offsets: their footing, and what happens when logs part.
//!
//! Picture: the target's own log end is the position, so whenever the target refuses, the partition asks for its *footing*
//! anew. When source and mirror have parted the point is looked for on both sides (*parting*); if the policy lets the copy go
//! on, the mirror gives up what it has beyond it (*cutting*), and only when that is done the footing is asked for again.
//! Invariants: nothing is fetched between a parting and the end of its cut, so no append can pass a cut that failed. A
//! partition that the target does not take is looked at again every [`LOOK_AGAIN`]: a mark can change.

use std::time::Duration;

use twinstream_model::{ErrorCode, LeaderEpoch, Offset};

use super::partition::{Phase, Then, Tie};
use super::standing::{Begin, OnTrouble, Standing};
use super::{At, Engine, LOOK_AGAIN, Stop};
use crate::aligned::footing::Footing;
use crate::aligned::parting::Parting;
use crate::words::counted;

/// The target did not take a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// `None` if it did not answer in time.
    pub code: Option<ErrorCode>,
    pub why: String,
    /// Nothing arrived since the last one.
    pub again: bool,
}

impl Engine {
    /// Partitions whose footing is to be asked for.
    pub(crate) fn unfooted(&self) -> impl Iterator<Item = At> {
        self.unfooted.iter().copied()
    }

    /// Partitions whose parting point is to be looked for, once nothing of them is under way.
    pub(crate) fn parting(&self) -> impl Iterator<Item = At> {
        self.parting.iter().copied()
    }

    /// Partitions that wait for their cut.
    pub(crate) fn cutting(&self) -> impl Iterator<Item = At> {
        self.cutting.iter().copied()
    }

    /// The mirror that a partition is copied into.
    pub(crate) fn tie(&self, at: At) -> Option<&Tie> {
        self.partitions[at].tie.as_ref()
    }

    /// Where a mirror stands that may be told something beside records: nothing passes a parting, or a cut.
    pub(crate) fn stands_at(&self, at: At) -> Option<Offset> {
        self.position(at).filter(|_| self.is_asked(at) && self.tie(at).is_some())
    }

    /// The source's leader epoch, at least as of when its leader was looked up.
    pub(crate) fn source_epoch(&self, at: At) -> LeaderEpoch {
        self.partitions[at].source_epoch
    }

    /// What the target says of a partition's side there.
    pub(crate) fn grounded(
        &mut self,
        at: At,
        found: Result<Footing, (ErrorCode, String)>,
        now: Duration,
    ) -> Result<(), Stop> {
        if self.partitions[at].phase != Phase::Footing {
            return Ok(());
        }
        match found {
            Err((code, cause)) if code.is_retriable() => {
                if self.partitions[at].pause > super::AWAY_AFTER {
                    self.stands(at, Standing::Away, format!("the target: {cause}"));
                }
                self.rest(at, Then::Footing, now);
            }
            Err((_, cause)) => self.not_taken(at, Standing::Refused, cause, now),
            Ok(Footing::Missing) => {
                if self.partitions[at].pause > super::AWAY_AFTER {
                    self.stands(at, Standing::Refused, "its topic or partition is not on the target".to_owned());
                }
                self.rest(at, Then::Footing, now);
            }
            Ok(Footing::Promoted) => {
                let cause = "its mirror was promoted, producers write to it now".to_owned();
                self.not_taken(at, Standing::Promoted, cause, now);
            }
            Ok(Footing::Refused(why)) => self.not_taken(at, Standing::Refused, why, now),
            // What was copied into the mirror is not in it, and the position says that it is.
            Ok(Footing::Generic) if self.partitions[at].tie.is_some() => {
                let cause = "it was a mirror of this link, and somebody has made a topic of that name without the mark: delete it on the target, it is made again and filled from its beginning".to_owned();
                self.not_taken(at, Standing::Refused, cause, now);
            }
            Ok(Footing::Generic) => {
                self.partitions[at].tie = None;
                let known = self.partitions[at].position.is_some();
                self.enter(at, if known { Phase::Homeless } else { Phase::Seek(self.policies.begin) });
            }
            Ok(Footing::Aligned(ground)) => {
                self.jump(at, Some(ground.end));
                let partition = &mut self.partitions[at];
                partition.tie = Some(Tie { link: ground.link, cluster: ground.cluster });
                partition.last_epoch = ground.last_epoch;
                if !ground.topic_id.is_none() {
                    partition.topic_id = ground.topic_id;
                }
                // An empty mirror begins where its source does, and has missed nothing.
                let is_empty = ground.end.0 == 0;
                self.enter(at, if is_empty { Phase::Seek(Begin::Earliest) } else { Phase::Homeless });
            }
        }
        Ok(())
    }

    /// The target takes nothing of a partition for now.
    fn not_taken(&mut self, at: At, standing: Standing, cause: String, now: Duration) {
        self.stands(at, standing, cause);
        self.rest_for(at, LOOK_AGAIN, Then::Footing, now);
    }

    /// The target did not take a batch; nothing behind it arrived, and the lane is closed.
    pub(crate) fn complained(&mut self, at: At, complaint: Complaint, now: Duration) -> Result<(), Stop> {
        let Complaint { code, why, again } = complaint;
        let partition = &mut self.partitions[at];
        if partition.phase == Phase::Stopped {
            return Ok(());
        }
        match code {
            Some(ErrorCode::InvalidRecord) if partition.tie.is_some() => {
                if matches!(partition.phase, Phase::Cutting { .. }) {
                    self.tell(at, Standing::Refused, format!("{why}; it stands until the task is started again"), 0, 0);
                    self.enter(at, Phase::Stopped);
                    return Ok(());
                }
                partition.complaint = Some(why);
                self.enter(at, Phase::Parting);
            }
            Some(ErrorCode::PolicyViolation | ErrorCode::OutOfOrderSequenceNumber) | None if again => {
                self.stands(at, Standing::Refused, why);
                self.rest(at, Then::Footing, now);
            }
            Some(ErrorCode::PolicyViolation | ErrorCode::OutOfOrderSequenceNumber) | None => {
                self.enter(at, Phase::Footing)
            }
            // What the target did not expect itself is named when it lasts, and none of what stays.
            Some(ErrorCode::UnknownServerError) if again => {
                self.stands(at, Standing::Refused, why);
                self.rest(at, Then::Footing, now);
            }
            Some(code) if code.is_retriable() || code == ErrorCode::UnknownServerError => {
                self.rest(at, Then::Footing, now);
            }
            Some(_) => {
                let partition = partition.name.clone();
                return Err(Stop { partition, standing: Some(Standing::Refused), why });
            }
        }
        Ok(())
    }

    /// Where source and mirror part, if they do. The answer is what the mirror has to give up now.
    pub(crate) fn parted(
        &mut self,
        at: At,
        found: Result<Option<Parting>, (ErrorCode, String)>,
        now: Duration,
    ) -> Result<Option<Parting>, Stop> {
        if self.partitions[at].phase != Phase::Parting {
            return Ok(None);
        }
        let parting = match found {
            // It is known, and nothing that may be cut, whatever the policy.
            Err((ErrorCode::InvalidRecord, cause)) => {
                let (policy, _) = self.policies.of(Standing::Truncated);
                if matches!(policy, OnTrouble::Fail | OnTrouble::Pause) {
                    self.decide(at, Standing::Truncated, cause, 0, 0)?;
                    return Ok(None);
                }
                self.stands(at, Standing::Refused, cause);
                self.rest(at, Then::Parting, now);
                return Ok(None);
            }
            Err((_, cause)) => {
                if self.partitions[at].pause > super::AWAY_AFTER {
                    self.stands(at, Standing::Away, cause);
                }
                self.rest(at, Then::Parting, now);
                return Ok(None);
            }
            Ok(parting) => parting,
        };
        let complaint = self.partitions[at].complaint.take();
        let Some(parting) = parting else {
            match complaint {
                Some(why) => self.not_taken(at, Standing::Refused, why, now),
                None => self.rest(at, Then::Footing, now),
            }
            return Ok(None);
        };
        let records = parting.mirror_end.0 - parting.at.0;
        let cause = format!(
            "source and mirror part at offset {}: the source lacks {} of the mirror from there on, and goes on there with epoch {}",
            parting.at,
            counted(records, "record"),
            parting.epoch
        );
        let (policy, _) = self.policies.of(Standing::Truncated);
        match policy {
            OnTrouble::Fail | OnTrouble::Pause => _ = self.decide(at, Standing::Truncated, cause, 0, records)?,
            OnTrouble::Resume | OnTrouble::Latest => {
                self.stands(at, Standing::Truncated, format!("{cause}; they are cut from the mirror"));
                self.enter(at, Phase::Cutting { records });
                return Ok(Some(parting));
            }
        }
        Ok(None)
    }

    /// The mirror has given up what was not the source's.
    pub(crate) fn cut_is_done(&mut self, at: At) {
        if let Phase::Cutting { records } = self.partitions[at].phase {
            self.tell(at, Standing::Truncated, "the mirror was cut and goes on".to_owned(), 0, records);
            self.enter(at, Phase::Footing);
        }
    }

    /// The topic behind a mirror's name is another one, which needs a mirror of its own.
    pub(super) fn recreated_mirror(&mut self, at: At, cause: String, now: Duration) -> Result<(), Stop> {
        let cause = format!("{cause}; delete the mirror on the target, it is made anew and copied from its beginning");
        match self.policies.of(Standing::Recreated) {
            (OnTrouble::Fail, _) => {
                let partition = self.partitions[at].name.clone();
                Err(Stop { partition, standing: Some(Standing::Recreated), why: cause })
            }
            _ => {
                self.not_taken(at, Standing::Recreated, cause, now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
