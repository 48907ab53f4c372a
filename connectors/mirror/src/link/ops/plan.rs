//! Where a pair of topics stands, and which verb does what about it. Pure.
//!
//! Picture: a topic of site A and its counterpart on site B, each with or without the mark of the link that leads to it.
//! The two marks together say who leads:
//!
//! ```text
//!            the copy on B says   the original on A says
//!   Ahead    mirroring            nothing, or promoted       A is written to, B follows
//!   Between  mirroring            mirroring                  nobody is written to: the sites change places
//!   Behind   promoted             mirroring                  B is written to, A follows
//!   Parted   promoted             nothing, or promoted       both may be written to: after a fail-over
//! ```
//! Invariant: what is done next follows from the marks alone, so a verb that was cut off goes on when it is called again.
//! A copy without a mark (any Kafka, or a topic that was there before) is `Plain`: producers could always write to it.

use twinstream_client::raw::MirrorMark;
use uuid::Uuid;

use super::Verb;

/// Who is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Ahead,
    Between,
    Behind,
    Parted,
    Plain,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ahead => "source leads",
            Self::Between => "changing places",
            Self::Behind => "target leads",
            Self::Parted => "both lead",
            Self::Plain => "not marked",
        }
    }

    /// Of a pair of this link. `here` is the mark of the copy, `there` that of the original, `back` the id of the link that
    /// leads the other way.
    pub(super) fn of(here: Option<&MirrorMark>, there: Option<&MirrorMark>, back: Option<Uuid>) -> Phase {
        let Some(here) = here else { return Self::Plain };
        let returns = there.is_some_and(|there| !there.promoted && Some(there.link) == back);
        match (here.promoted, returns) {
            (false, false) => Self::Ahead,
            (false, true) => Self::Between,
            (true, true) => Self::Behind,
            (true, false) => Self::Parted,
        }
    }
}

/// What a verb makes of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is as the verb wants it.
    Done,
    /// The copy becomes a topic like any other.
    Promote,
    /// The original becomes a mirror of the copy, whose link is to come.
    Return,
    /// The original is fenced, then the copy gets the rest, then it is promoted.
    Swap,
    /// Nothing can be done about it, and why.
    Refuse(&'static str),
}

/// What `verb` does first about a pair.
pub(super) fn step(verb: Verb, phase: Phase) -> Step {
    const PLAIN: &str = "its copy is no mirror: reverse and failback need brokers of ours on both sides (twinstream.link.mode), or a copy that the link has made";
    match (verb, phase) {
        // A copy that nobody has to promote: it is enough that the link stops.
        (Verb::Promote | Verb::Failover, Phase::Plain) => Step::Done,
        (Verb::Promote | Verb::Failover, Phase::Ahead | Phase::Between) => Step::Promote,
        (Verb::Promote | Verb::Failover, Phase::Behind | Phase::Parted) => Step::Done,
        (Verb::Reverse | Verb::Failback, Phase::Plain) => Step::Refuse(PLAIN),
        (Verb::Reverse, Phase::Ahead | Phase::Between) => Step::Swap,
        (Verb::Reverse, Phase::Behind) => Step::Done,
        (Verb::Reverse, Phase::Parted) => Step::Refuse(
            "both sides may have been written to since a fail-over, use failback, which tells what is given up",
        ),
        (Verb::Failback, Phase::Ahead) => Step::Done,
        (Verb::Failback, Phase::Parted | Phase::Behind | Phase::Between) => Step::Return,
    }
}

#[cfg(test)]
mod tests {
    use twinstream_model::{TopicId, TopicName};

    use super::*;

    const HERE: Uuid = Uuid::from_u128(1);
    const BACK: Uuid = Uuid::from_u128(2);

    fn mark(link: Uuid, promoted: bool) -> MirrorMark {
        MirrorMark {
            link,
            source_cluster: "other".to_owned(),
            source_topic: TopicName::parse("orders").unwrap(),
            source_topic_id: TopicId::NONE,
            promoted,
        }
    }

    #[test]
    fn two_marks_say_who_leads() {
        let phase = |here: Option<bool>, there: Option<(Uuid, bool)>| {
            let there = there.map(|(link, promoted)| mark(link, promoted));
            Phase::of(here.map(|promoted| mark(HERE, promoted)).as_ref(), there.as_ref(), Some(BACK))
        };
        assert_eq!(phase(None, None), Phase::Plain);
        assert_eq!(phase(Some(false), None), Phase::Ahead);
        assert_eq!(phase(Some(false), Some((BACK, true))), Phase::Ahead, "it came back once");
        assert_eq!(phase(Some(false), Some((BACK, false))), Phase::Between);
        assert_eq!(phase(Some(true), Some((BACK, false))), Phase::Behind);
        assert_eq!(phase(Some(true), Some((BACK, true))), Phase::Parted, "promoted on both sides");
        assert_eq!(phase(Some(true), None), Phase::Parted);
        assert_eq!(phase(Some(false), Some((Uuid::from_u128(9), false))), Phase::Ahead, "A mirrors a third site");
    }

    #[test]
    fn a_verb_that_was_cut_off_goes_on_and_one_that_is_done_does_nothing() {
        for (verb, phases) in [
            (Verb::Failover, [Step::Promote, Step::Promote, Step::Done, Step::Done]),
            (Verb::Promote, [Step::Promote, Step::Promote, Step::Done, Step::Done]),
            (Verb::Failback, [Step::Done, Step::Return, Step::Return, Step::Return]),
        ] {
            let all = [Phase::Ahead, Phase::Between, Phase::Behind, Phase::Parted];
            assert_eq!(all.map(|phase| step(verb, phase)), phases, "{verb:?}");
        }
        assert_eq!(step(Verb::Reverse, Phase::Between), Step::Swap);
        assert_eq!(step(Verb::Reverse, Phase::Behind), Step::Done);
        assert!(matches!(step(Verb::Reverse, Phase::Parted), Step::Refuse(_)));
    }

    #[test]
    fn without_marks_only_what_needs_none_is_done() {
        assert_eq!(step(Verb::Failover, Phase::Plain), Step::Done);
        for verb in [Verb::Reverse, Verb::Failback] {
            assert!(matches!(step(verb, Phase::Plain), Step::Refuse(why) if why.contains("brokers of ours")));
        }
    }
}
