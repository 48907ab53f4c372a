//! Batches at the same offsets: compared by place, length, epoch and checksum, without unpacking them. Pure.
//!
//! The checksum is computed on both sides, as a stored one says nothing of bytes that changed on a disk. Only where batches
//! differ their records are read, so that the first one that differs can be named. Topics that are compacted have batches of
//! their own on each side, and are compared record by record there.

use twinstream_client::protocol::batch::BatchView;

use super::slice::{Answer, Slice};
use super::{Compared, Difference, Side, What, content};
use crate::offset_map::Run;

/// Compares what both answers hold from an offset on.
pub(super) fn compare(source: &Answer, target: &Answer, from: i64, compacted: bool) -> Compared {
    let ((there, there_stuck), (here, here_stuck)) = (source.views(from), target.views(from));
    let reach = (source.reach(from, &there), target.reach(from, &here));
    let mut out = Compared { next: from, ..Compared::default() };
    let (mut i, mut j) = (0, 0);
    loop {
        match (there.get(i), here.get(j)) {
            (Some(a), Some(b)) if is_same(a, b) => {
                out.records += u64::try_from(a.header().record_count).unwrap_or(0);
                out.next = a.header().next_offset().0;
                (i, j) = (i + 1, j + 1);
            }
            (Some(_), Some(_)) => {
                let (i_end, j_end, end) = common(&there[i..], &here[j..]);
                records(&there[i..i + i_end], &here[j..j + j_end], end, compacted, &mut out);
                (i, j) = (i + i_end, j + j_end);
                if out.next != next_of(&there[..i]) || out.next != next_of(&here[..j]) {
                    return out; // the rest of a batch comes again with the next answers
                }
            }
            (None, None) if reach.0.min(reach.1) <= out.next => return out,
            (a, b) => {
                // Bytes that are no batch: the other side says where the next one begins.
                if let Some((side, why)) = stuck((a, &there_stuck), (b, &here_stuck)) {
                    let next = a.or(b).map_or(out.next, |view| view.header().next_offset().0);
                    let at = Some(out.next);
                    let offsets = if side == Side::Source { (at, None) } else { (None, at) };
                    out.differences.push(Difference {
                        source: offsets.0,
                        target: offsets.1,
                        what: What::Broken(side, why),
                    });
                    out.next = next;
                } else {
                    // One side has nothing up to its end.
                    let end = reach.0.min(reach.1);
                    if end > out.next {
                        records(&there[i..], &here[j..], end, compacted, &mut out);
                    }
                }
                return out;
            }
        }
    }
}

fn stuck(
    source: (Option<&BatchView<'_>>, &Option<String>),
    target: (Option<&BatchView<'_>>, &Option<String>),
) -> Option<(Side, String)> {
    match (source, target) {
        ((None, Some(why)), _) => Some((Side::Source, why.clone())),
        (_, (None, Some(why))) => Some((Side::Target, why.clone())),
        _ => None,
    }
}

fn is_same(a: &BatchView<'_>, b: &BatchView<'_>) -> bool {
    let (there, here) = (a.header(), b.header());
    let place = there.base_offset == here.base_offset && there.next_offset() == here.next_offset();
    let bytes = there.len == here.len && there.crc == here.crc && there.leader_epoch == here.leader_epoch;
    place && bytes && a.check_crc().is_ok() && b.check_crc().is_ok()
}

fn next_of(views: &[BatchView<'_>]) -> i64 {
    views.last().map_or(i64::MIN, |view| view.header().next_offset().0)
}

/// The fewest batches of either side that end at the same offset; without one, all that there is up to the smaller end.
fn common(there: &[BatchView<'_>], here: &[BatchView<'_>]) -> (usize, usize, i64) {
    let (mut i, mut j) = (1, 1);
    loop {
        let (a, b) = (next_of(&there[..i]), next_of(&here[..j]));
        let more = match a.cmp(&b) {
            std::cmp::Ordering::Equal => return (i, j, a),
            std::cmp::Ordering::Less => i < there.len(),
            std::cmp::Ordering::Greater => j < here.len(),
        };
        if !more {
            return (i, j, a.min(b));
        }
        if a < b { i += 1 } else { j += 1 }
    }
}

/// Compares records up to an offset, and says what else differs if they do not.
fn records(there: &[BatchView<'_>], here: &[BatchView<'_>], end: i64, compacted: bool, out: &mut Compared) {
    let from = out.next;
    let slice = |views: &[BatchView<'_>]| Slice::of_batches(views, from, end);
    let (source, target) = (slice(there), slice(here));
    let same = Run { up: from, down: from, len: end - from };
    let mut compared = content::compare(&source, &target, from, [same], compacted);
    content::add_damage(&mut compared, &source, &target, (end, end));
    if compared.differences.is_empty() && !compacted {
        compared.differences.extend(other_batches(there, here, from));
    }
    out.next = end;
    out.records += compared.records;
    out.removed += compared.removed;
    out.differences.extend(compared.differences);
}

fn other_batches(there: &[BatchView<'_>], here: &[BatchView<'_>], from: i64) -> Option<Difference> {
    let (Some(a), Some(b)) = (there.first(), here.first()) else {
        // One side ends in a batch without records.
        let what = What::Batch(vec!["place"]);
        let offset = |views: &[BatchView<'_>]| views.first().map(|view| view.base_offset().0);
        let difference = Difference { source: offset(there), target: offset(here), what };
        return (there.len() != here.len()).then_some(difference);
    };
    let (a, b) = (a.header(), b.header());
    let fields = [
        ("place", (a.base_offset, a.next_offset()) != (b.base_offset, b.next_offset())),
        ("leader epoch", a.leader_epoch != b.leader_epoch),
        (
            "producer",
            (a.producer_id, a.producer_epoch, a.base_sequence) != (b.producer_id, b.producer_epoch, b.base_sequence),
        ),
        ("kind", a.attributes != b.attributes),
        ("length", a.len != b.len),
        ("checksum", a.crc != b.crc),
    ];
    let fields: Vec<&'static str> = fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    let at = Some(a.base_offset.0.max(from));
    (!fields.is_empty()).then_some(Difference { source: at, target: at, what: What::Batch(fields) })
}
