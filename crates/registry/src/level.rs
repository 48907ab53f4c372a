//! Compatibility levels and modes by their Confluent names.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    None,
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl Level {
    const ALL: [(Self, &'static str); 7] = [
        (Self::None, "NONE"),
        (Self::Backward, "BACKWARD"),
        (Self::BackwardTransitive, "BACKWARD_TRANSITIVE"),
        (Self::Forward, "FORWARD"),
        (Self::ForwardTransitive, "FORWARD_TRANSITIVE"),
        (Self::Full, "FULL"),
        (Self::FullTransitive, "FULL_TRANSITIVE"),
    ];

    /// Case does not matter, as in Confluent's registry.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(level, _)| level)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(level, _)| *level == self).map_or("NONE", |(_, name)| name)
    }

    /// Must a new schema read old data?
    pub(crate) fn backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Must old schemas read new data?
    pub(crate) fn forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Against all versions, or only the last one?
    pub(crate) fn transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }
}

/// What may be written. See `rules::mode` for what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    ReadWrite,
    ReadOnly,
    /// Confluent's older name of READONLY; kept as it was set.
    ReadOnlyOverride,
    /// Schemas come with their ids, from another registry.
    Import,
    /// Set by Confluent's registry for schema linking; this one registers nothing while it stands.
    Forward,
}

impl Mode {
    const ALL: [(Self, &'static str); 5] = [
        (Self::ReadWrite, "READWRITE"),
        (Self::ReadOnly, "READONLY"),
        (Self::ReadOnlyOverride, "READONLY_OVERRIDE"),
        (Self::Import, "IMPORT"),
        (Self::Forward, "FORWARD"),
    ];

    /// Case does not matter, as in Confluent's registry.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(mode, _)| mode)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(mode, _)| *mode == self).map_or("READWRITE", |(_, name)| name)
    }

    pub(crate) fn is_read_only(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadOnlyOverride)
    }
}
