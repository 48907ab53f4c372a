//! What becomes of one committed offset of a group on the target. Pure.
//!
//! The link owns an offset on the target as long as it is the one that the link wrote: then it follows the source, rewinds
//! included. An offset that somebody else put there (a consumer that ran on the target for a while) is only ever moved
//! forward, as MirrorMaker does, so that nobody there reads again what they had read.

use twinstream_model::Offset;

/// What is known of one partition of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The source's offset, translated.
    pub wanted: Offset,
    /// The target's own, if there is one.
    pub present: Option<Offset>,
    /// What the link wrote last.
    pub ours: Option<Offset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Write,
    /// It is there already.
    Same,
    /// The group is further on the target than its owner at the source, by its own doing.
    Leave,
}

pub(crate) fn step(position: Position) -> Step {
    let Position { wanted, present, ours } = position;
    match present {
        None => Step::Write,
        Some(present) if present == wanted => Step::Same,
        Some(present) if wanted > present || ours == Some(present) => Step::Write,
        Some(_) => Step::Leave,
    }
}

/// The note that goes with an offset which a link writes for a group that has no note of its own. Whoever commits there afterwards
/// replaces it, so it tells the link's own offsets also after a restart.
pub(crate) fn note_of(source_alias: &str) -> String {
    format!("mirrored from {source_alias}")
}

/// What goes with an offset that a link writes: the group's own note, if it has one that no link has put there.
pub(crate) fn noted(own: &str, note: &str) -> String {
    if own.is_empty() || own.starts_with(&note_of("")) { note.to_owned() } else { own.to_owned() }
}

/// Within the target's log: never past what is mirrored, and never before what is left of it, where a consumer would fall
/// back to `auto.offset.reset` and might skip everything.
pub(crate) fn within(wanted: Offset, log_start: Offset, log_end: Offset) -> Offset {
    wanted.min(log_end).max(log_start)
}

/// Whether a checkpoint says something new against the one before it, (upstream, downstream) each. The same upstream offset
/// never leads backward: that is an old part of the map becoming coarse.
pub(crate) fn is_news(last: Option<(Offset, Offset)>, now: (Offset, Offset)) -> bool {
    match last {
        None => true,
        Some((upstream, downstream)) if upstream == now.0 => now.1 > downstream,
        Some((upstream, downstream)) => now.0 < upstream || now.1 != downstream,
    }
}

/// Whether a group of this state may be moved from outside: nobody is a member. A group that does not exist is made.
pub(crate) fn is_free(state: &str) -> bool {
    matches!(state, "Empty" | "Dead")
}
