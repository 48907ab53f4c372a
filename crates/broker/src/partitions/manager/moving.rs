//! Moves a replica to another directory: asks, steps, the change, the end. See docs/007 for the whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use twinstream_log::{AppendError, CopyError, LogError};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, TopicPartition};

use super::super::directories::{deleted_name, future_name};
use super::super::moves::{Copy, Move, Step, Work};
use super::super::partition::{Room, Seat};
use super::changing::Changing;
use super::{Partition, PartitionManager, now_ms};
use crate::partitions::log_code;
use crate::settings::live::LiveSettings;

/// Bytes of a step, one batch at least.
const STEP_BYTES: usize = 1 << 20;
/// Before a copy is tried again that cannot be read or written at the moment.
const BLOCKED_PAUSE: Duration = Duration::from_secs(1);
const RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// A replica that is on its way, as DescribeLogDirs shows it.
pub(crate) struct FutureReplica {
    pub(crate) at: TopicPartition,
    pub(crate) dir: usize,
    pub(crate) bytes: u64,
    /// Records that are missing.
    pub(crate) lag: i64,
}

impl PartitionManager {
    /// Has the replica of a partition in a directory from now on. Blocks.
    pub(crate) fn move_to(&self, image: &Image, at: &TopicPartition, dir: &str) -> Result<(), ErrorCode> {
        let to = self.directories.find(dir).ok_or(ErrorCode::LogDirNotFound)?;
        if future_name(at).is_none() {
            return Err(ErrorCode::InvalidTopicException);
        }
        if !self.directories.works(to) {
            return Err(ErrorCode::KafkaStorageError);
        }
        if LiveSettings::new(&self.settings, image).cordoned_dirs()[to] {
            return Err(ErrorCode::InvalidReplicaAssignment);
        }
        let _in_turn = self.moves.requests.lock();
        let Some(partition) = self.get(at) else {
            self.moves.choose(at, to);
            return Err(match image.partition(&at.topic, at.partition) {
                None => ErrorCode::UnknownTopicOrPartition,
                Some(_) => ErrorCode::ReplicaNotAvailable,
            });
        };
        if partition.has_failed() || partition.is_offline() {
            return Err(ErrorCode::KafkaStorageError);
        }
        if let Some(under_way) = self.moves.of(at) {
            if under_way.to == to && Arc::ptr_eq(&under_way.partition, &partition) {
                return Ok(());
            }
            self.cancel(&under_way, &mut under_way.work());
        }
        if partition.dir() == to {
            return Ok(());
        }
        // As Kafka: there might be a copy in a directory that cannot be seen.
        if self.directories.offline_count() > 0 {
            return Err(ErrorCode::KafkaStorageError);
        }
        if self.directories.has_folder(to, at) {
            self.remove_left_behind(); // what it left there when it moved away
            if self.directories.has_folder(to, at) {
                tracing::warn!(partition = %at, dir, "there is a folder of this partition already, move it away");
                return Err(ErrorCode::KafkaStorageError);
            }
        }
        self.begin_move(&partition, to).map_err(|error| {
            tracing::warn!(partition = %at, dir, error = %error.chain(), "cannot make a copy in another directory");
            log_code(&error)
        })
    }

    fn begin_move(&self, partition: &Arc<Partition>, to: usize) -> Result<(), LogError> {
        let (at, config) = (partition.id(), partition.log().config());
        let topic_id = partition.topic_id();
        let log =
            self.directories.create_future(to, at, topic_id, (*config).clone(), self.metrics.clone(), now_ms())?;
        let seat = Seat::new(log, self.room(to), Arc::downgrade(partition));
        self.moves.begin(partition, to, Copy::Open(seat));
        tracing::info!(partition = %at, to = %self.directories.disk(to).path().display(), "replica moves to another directory");
        Ok(())
    }

    pub(super) fn room(&self, dir: usize) -> Room {
        Room { dir, flusher: Arc::clone(&self.flushers[dir]) }
    }

    /// Goes on with a move that an earlier run began, unless another one was asked for since.
    pub(super) fn resume_move(&self, partition: &Arc<Partition>) {
        let mut found = self.directories.take_futures(|at| at == partition.id());
        if found.is_empty() {
            return;
        }
        let _in_turn = self.moves.requests.lock();
        let is_moving = self.moves.of(partition.id()).is_some();
        let wanted = found.iter().position(|future| !is_moving && future.dir != partition.dir());
        let wanted = wanted.map(|at| found.swap_remove(at));
        for surplus in found {
            self.remove_future(surplus.dir, &surplus.at, &surplus.folder);
        }
        if let Some(future) = wanted {
            self.moves.begin(partition, future.dir, Copy::Left(future.folder));
        }
    }

    /// Removes copies of partitions that are not here any more.
    pub(super) fn remove_stray_futures(&self, image: &Image) {
        let is_stray = |at: &TopicPartition| {
            image.partition(&at.topic, at.partition).is_none_or(|known| !known.replicas.contains(&self.node))
        };
        for stray in self.directories.take_futures(is_stray) {
            self.remove_future(stray.dir, &stray.at, &stray.folder);
        }
    }

    fn remove_future(&self, dir: usize, at: &TopicPartition, folder: &str) {
        match self.directories.rename(dir, folder, &deleted_name(at)) {
            Ok(doomed) => self.doom(doomed, 0),
            Err(error) => {
                tracing::warn!(partition = %at, folder, error = %error.chain(), "cannot remove an unfinished copy")
            }
        }
    }

    /// Ends a move without a change and removes what it had copied.
    fn cancel(&self, ended: &Move, work: &mut Work) {
        if !work.is_cancelled {
            work.is_cancelled = true;
            self.discard(ended, work);
            tracing::info!(partition = %ended.partition.id(), "replica does not move to another directory after all");
        }
        self.moves.end(ended);
    }

    fn discard(&self, ended: &Move, work: &Work) {
        let at = ended.partition.id();
        if ended.partition.dir() == ended.to {
            return; // it is a copy no more
        }
        match &work.copy {
            Copy::Left(folder) => self.remove_future(ended.to, at, folder),
            Copy::Open(seat) => match seat.log.close_for_deletion(&deleted_name(at)) {
                Ok(folder) => self.doom(folder, 0),
                Err(error) => {
                    tracing::warn!(partition = %at, error = %error.chain(), "cannot remove an unfinished copy")
                }
            },
        }
    }

    /// Lets a move rest until the next start, which finds its folder.
    fn leave(&self, left: &Move) -> Step {
        self.moves.end(left);
        Step::Ended
    }

    /// Whether the log of a partition is being copied.
    pub(in crate::partitions) fn is_moving(&self, at: &TopicPartition) -> bool {
        self.moves.of(at).is_some()
    }

    /// The replicas that are on their way.
    pub(crate) fn futures(&self) -> Vec<FutureReplica> {
        let all = self.moves.all().into_iter().filter(|under_way| !under_way.partition.is_retired());
        let futures = all.map(|under_way| {
            let (at, source_end) = (under_way.partition.id().clone(), under_way.partition.log().log_end_offset());
            let (bytes, end) = under_way.progress.get();
            FutureReplica { at, dir: under_way.to, bytes, lag: (source_end.0 - end.0).max(0) }
        });
        futures.collect()
    }

    /// One step of a move.
    pub(in crate::partitions) fn move_on(&self, under_way: &Move) -> Step {
        let mut work = under_way.work();
        if work.is_cancelled {
            return Step::Ended;
        }
        let partition = &under_way.partition;
        if partition.dir() == under_way.to {
            // A step panicked behind the change: the copy is the log now. What was left goes with the next start.
            work.is_cancelled = true;
            return self.leave(under_way);
        }
        if partition.is_retired() {
            self.cancel(under_way, &mut work);
            return Step::Ended;
        }
        if partition.has_failed() || !self.directories.works(under_way.to) {
            return self.leave(under_way);
        }
        let seat = match self.seat_of(under_way, &mut work) {
            Ok(Some(seat)) => seat,
            Ok(None) => return Step::Goes, // begins anew
            Err(error) => return self.blocked(under_way, &mut work, error.into()),
        };
        let source = under_way.partition.seat();
        let copied = source.log.between_compactions(|count| {
            if work.compactions.replace(count).is_some_and(|before| before != count) {
                let _cut = seat.log.restart_at(source.log.log_start_offset())?;
            }
            self.copy(under_way, &mut work, &seat)
        });
        match copied.unwrap_or(Ok(Step::Later(BLOCKED_PAUSE))) {
            Ok(Step::Ended) => {
                work.is_cancelled = true; // there is nothing to be cancelled any more
                self.moves.end(under_way);
                Step::Ended
            }
            Ok(step) => step,
            Err(error) => self.blocked(under_way, &mut work, error),
        }
    }

    /// The copy, opened. `None` if the folder that was left is of no use: the move begins anew.
    fn seat_of(&self, under_way: &Move, work: &mut Work) -> Result<Option<Arc<Seat>>, LogError> {
        let folder = match &work.copy {
            Copy::Open(seat) => return Ok(Some(Arc::clone(seat))),
            Copy::Left(folder) => folder.clone(),
        };
        let (partition, to) = (&under_way.partition, under_way.to);
        let config = || (*partition.log().config()).clone();
        let opened = self.directories.open_future(to, &folder, config(), self.metrics.clone(), now_ms());
        // What of a compacted log was copied before which compaction, nobody knows any more.
        let is_compacted = config().cleanup.compact || partition.log().cleaned_to().is_some();
        let is_fit = opened.as_ref().is_ok_and(|log| log.topic_id() == partition.topic_id()) && !is_compacted;
        let log = match opened {
            Ok(log) if is_fit && !log.is_damaged() => log,
            Err(error) if error.is_disk_failure() || error.is_passing() => return Err(error),
            _ => {
                tracing::info!(partition = %partition.id(), folder, "an unfinished copy is of no use and is begun anew");
                self.remove_future(to, partition.id(), &folder);
                let (at, id) = (partition.id(), partition.topic_id());
                self.directories.create_future(to, at, id, config(), self.metrics.clone(), now_ms())?
            }
        };
        let seat = Seat::new(log, self.room(to), Arc::downgrade(partition));
        work.copy = Copy::Open(seat);
        Ok(None)
    }

    /// Copies some batches within the throttle; when none are left, the copy takes the log's place.
    fn copy(&self, under_way: &Move, work: &mut Work, seat: &Arc<Seat>) -> Result<Step, CopyError> {
        let partition = &under_way.partition;
        let bytes_max = match self.allowance() {
            Ok(bytes_max) => bytes_max,
            Err(pause) => return Ok(Step::Later(pause)),
        };
        let copied = seat.log.copy_from(&partition.log(), bytes_max, now_ms());
        under_way.progress.set(&seat.log);
        let copied = copied?;
        self.moves.throttle.lock().spend(copied, Instant::now());
        if self.moves.unflushed() > self.moves.unflushed_bytes_max {
            seat.log.flush(now_ms())?;
            under_way.progress.set(&seat.log);
        }
        match seat.log.has_all_of(&partition.log()) {
            true => match self.change(partition, seat)? {
                Step::Goes => Ok(Step::Later(work.note_vain_change())),
                step => Ok(step),
            },
            false if copied == 0 => Ok(Step::Later(BLOCKED_PAUSE)), // whatever it is, it will not be better at once
            false => Ok(Step::Goes),
        }
    }

    /// Bytes that may be copied now, or when some may again.
    fn allowance(&self) -> Result<usize, Duration> {
        let image = self.newest_image();
        let given = self.settings.text(RATE).and_then(|text| text.trim().parse().ok()).unwrap_or(i64::MAX);
        let rate = LiveSettings::new(&self.settings, &image).integer(RATE, given);
        let rate = u64::try_from(rate).ok().filter(|rate| *rate < i64::MAX as u64);
        let now = Instant::now();
        let mut throttle = self.moves.throttle.lock();
        if throttle.rate() != rate {
            throttle.set_rate(rate, now);
        }
        match throttle.opens_in(now) {
            Some(pause) => Err(pause),
            None => {
                let ration =
                    throttle.ration().map_or(STEP_BYTES, |ration| usize::try_from(ration).unwrap_or(STEP_BYTES));
                Ok(ration.min(STEP_BYTES))
            }
        }
    }

    /// The copy takes the log's place, unless too much came meanwhile.
    fn change(&self, partition: &Arc<Partition>, seat: &Arc<Seat>) -> Result<Step, CopyError> {
        let mut changing = Changing::new(self, partition, seat);
        loop {
            if let Some(step) = changing.advance()? {
                return Ok(step);
            }
        }
    }

    /// A step failed. What may pass is tried again; a copy that cannot be written for good ends the move.
    fn blocked(&self, under_way: &Move, work: &mut Work, error: CopyError) -> Step {
        let at = under_way.partition.id();
        let passes = match &error {
            CopyError::Source(_) | CopyError::Mark(_) => true, // it waits for a repair, or the partition goes
            CopyError::Copy(AppendError::Storage(error)) => error.is_passing(),
            CopyError::Copy(_) => true, // bytes that changed on the way
        };
        if passes {
            if !std::mem::replace(&mut work.has_complained, true) {
                tracing::warn!(partition = %at, %error, "replica cannot move to another directory at the moment, trying on");
            }
            return Step::Later(BLOCKED_PAUSE);
        }
        tracing::error!(partition = %at, %error, "replica does not move to another directory; it stays where it is");
        if self.directories.works(under_way.to) {
            self.cancel(under_way, work);
        }
        self.leave(under_way)
    }

    /// Closes the copies that are under way; the next start goes on with them.
    pub(super) fn close_futures(&self) {
        for under_way in self.moves.all() {
            let mut work = under_way.work();
            work.is_cancelled = true;
            if let Copy::Open(seat) = &work.copy
                && let Err(error) = seat.log.close(now_ms())
                && !error.is_known()
            {
                tracing::warn!(partition = %under_way.partition.id(), error = %error.chain(), "an unfinished copy did not close well");
            }
        }
    }
}
