//! Which neighbouring segments become one.
//!
//! Compaction leaves small segments; without grouping a log would become a heap of tiny files. Neighbours go together as
//! long as their sizes *before* the cleaning fit into one segment, so that the result fits in any case.

use std::ops::Range;

use twinstream_model::Offset;

/// What a segment brings into a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) base: Offset,
    /// Where the segment behind it begins.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    pub(crate) index_bytes: u64,
}

/// Splits a row of segments into groups that fit a segment each. A segment that is too large stands alone.
pub(crate) fn group(members: &[Member], segment_bytes: u64, index_bytes: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut index) = (0u64, 0u64);
    for (i, member) in members.iter().enumerate() {
        let fits = groups.last().is_some_and(|group| {
            // The offsets of a segment without records ask for nothing: else every two billion offsets would leave one.
            let spans = member.bytes == 0 || member.end.0 - 1 - members[group.start].base.0 <= i64::from(i32::MAX);
            spans && bytes + member.bytes <= segment_bytes && index + member.index_bytes <= index_bytes
        });
        match groups.last_mut() {
            Some(group) if fits => {
                group.end = i + 1;
                (bytes, index) = (bytes + member.bytes, index + member.index_bytes);
            }
            _ => {
                groups.push(i..i + 1);
                (bytes, index) = (member.bytes, member.index_bytes);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(sizes: &[(i64, u64, u64)]) -> Vec<Member> {
        let end = |i: usize| sizes.get(i + 1).map_or(i64::MAX / 2, |next| next.0);
        let each = sizes.iter().enumerate();
        each.map(|(i, (base, bytes, index_bytes))| Member {
            base: Offset(*base),
            end: Offset(if i + 1 == sizes.len() { base + 10 } else { end(i) }),
            bytes: *bytes,
            index_bytes: *index_bytes,
        })
        .collect()
    }

    #[test]
    fn neighbours_go_together_as_long_as_they_fit() {
        let row = members(&[(0, 40, 1), (10, 40, 1), (20, 40, 1), (30, 200, 1), (40, 10, 1), (50, 10, 1)]);
        assert_eq!(group(&row, 100, 100), [0..2, 2..3, 3..4, 4..6]);
        assert!(group(&[], 100, 100).is_empty());
    }

    #[test]
    fn indexes_must_fit_too() {
        let row = members(&[(0, 1, 6), (10, 1, 4), (20, 1, 1)]);
        assert_eq!(group(&row, 100, 10), [0..2, 2..3]);
    }

    #[test]
    fn offsets_of_a_group_fit_32_bits_unless_there_is_nothing_at_them() {
        let far = i64::from(i32::MAX);
        let groups = |second: (i64, u64, u64)| group(&members(&[(0, 1, 1), second]), 100, 100).len();
        assert_eq!((groups((far - 10, 1, 1)), groups((far, 1, 1)), groups((far, 0, 0))), (1, 2, 1));
    }
}
