//! What the registry knows: a pure replay of the topic `_schemas`.
//!
//! Picture: the topic is the truth, this is its sum. [`State::replay`] is the only way in, live and after a restart, so both
//! give the same answers. Values are kept as the JSON they came as: members that this release does not understand survive
//! when a record has to be written again.
//! Invariants: an id means one text with its references for ever, under all subjects; of two records that claim one id, or
//! one version, for different schemas, the first in the log wins and the other is noted as rejected (two registries wrote
//! at once, see `store`).
//! Not here: I/O, clocks, rules about what may be written (see `rules`).

mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::{Map, Value as Json};

use record::{Entry, decode};
pub(crate) use record::{Key, RawRecord, Reference, SchemaValue, SubjectVersion};

use crate::level::{Level, Mode};

/// How many rejected offsets are remembered; each is asked for right after it was written.
const REJECTED_MAX: usize = 1_000;

/// One version of a subject.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) value: SchemaValue,
}

/// What makes two schemas the same: text, type and references.
pub(crate) type Content = (String, String, Vec<Reference>);

#[derive(Clone, Debug, Default)]
pub(crate) struct SubjectConfig {
    pub(crate) level: Option<Level>,
    pub(crate) normalize: Option<bool>,
}

#[derive(Default)]
pub(crate) struct State {
    subjects: BTreeMap<String, BTreeMap<i32, Version>>,
    /// How many versions, deleted ones included, use an id, and what it means.
    ids: BTreeMap<i32, IdEntry>,
    by_content: HashMap<Content, i32>,
    /// Never goes back while this process runs, so that an id of a schema that is gone is not given to another.
    id_max: i32,
    configs: BTreeMap<Option<String>, SubjectConfig>,
    modes: BTreeMap<Option<String>, Mode>,
    /// Every byte form in which a version's key was seen. Compaction works on bytes: a hard delete must strike each.
    key_forms: HashMap<SubjectVersion, BTreeSet<Vec<u8>>>,
    rejected: VecDeque<i64>,
    /// The next offset to replay.
    position: i64,
}

struct IdEntry {
    content: Content,
    uses: BTreeSet<SubjectVersion>,
}

impl State {
    /// Takes in one record of the topic. Unreadable records are skipped with a reason, as Confluent's registry does.
    pub(crate) fn replay(&mut self, raw: &RawRecord) -> Result<(), String> {
        self.position = self.position.max(raw.offset + 1);
        match decode(raw)? {
            Entry::Schema(at, Some(value)) => self.schema(raw, at, value),
            Entry::Schema(at, None) => self.strike(raw, &at),
            Entry::DeleteSubject { subject, version } => self.delete_up_to(&subject, version),
            Entry::ClearSubject { subject } => self.clear(subject.as_deref()),
            Entry::Config { subject, config: Some(config) } => _ = self.configs.insert(subject, config),
            Entry::Config { subject, config: None } => _ = self.configs.remove(&subject),
            Entry::Mode { subject, mode: Some(mode) } => _ = self.modes.insert(subject, mode),
            Entry::Mode { subject, mode: None } => _ = self.modes.remove(&subject),
            Entry::Nothing => {}
        }
        Ok(())
    }

    fn schema(&mut self, raw: &RawRecord, at: SubjectVersion, value: SchemaValue) {
        let content = value.content();
        let other_version = self.version(&at.subject, at.version).is_some_and(|known| known.value.content() != content);
        let other_id = self.ids.get(&value.id).is_some_and(|known| known.content != content);
        if other_version || other_id {
            self.reject(raw.offset);
            return;
        }
        self.key_forms.entry(at.clone()).or_default().insert(raw.key.clone());
        if let Some(known) = self.version(&at.subject, at.version).map(|known| known.value.id)
            && known != value.id
        {
            self.forget_use(known, &at);
        }
        self.id_max = self.id_max.max(value.id);
        self.by_content.entry(content.clone()).or_insert(value.id);
        let entry = self.ids.entry(value.id).or_insert_with(|| IdEntry { content, uses: BTreeSet::new() });
        entry.uses.insert(at.clone());
        self.subjects.entry(at.subject).or_default().insert(at.version, Version { value });
    }

    /// A tombstone: the version is gone, and with its last use the id.
    fn strike(&mut self, raw: &RawRecord, at: &SubjectVersion) {
        if let Some(forms) = self.key_forms.get_mut(at) {
            forms.remove(&raw.key);
            if forms.is_empty() {
                self.key_forms.remove(at);
            }
        }
        let Some(versions) = self.subjects.get_mut(&at.subject) else { return };
        let removed = versions.remove(&at.version);
        if versions.is_empty() {
            self.subjects.remove(&at.subject);
        }
        if let Some(removed) = removed {
            self.forget_use(removed.value.id, at);
        }
    }

    fn forget_use(&mut self, id: i32, at: &SubjectVersion) {
        let Some(entry) = self.ids.get_mut(&id) else { return };
        entry.uses.remove(at);
        if entry.uses.is_empty()
            && let Some(entry) = self.ids.remove(&id)
            && self.by_content.get(&entry.content) == Some(&id)
        {
            self.by_content.remove(&entry.content);
        }
    }

    fn delete_up_to(&mut self, subject: &str, version: i32) {
        let Some(versions) = self.subjects.get_mut(subject) else { return };
        for (_, version) in versions.range_mut(..=version) {
            version.value.set_deleted(true);
        }
    }

    /// Forgets the deleted versions of a subject, or of all.
    fn clear(&mut self, only: Option<&str>) {
        let of_subject = |subject: &str| only.is_none_or(|only| only == subject);
        let subjects = self.subjects.iter().filter(|(subject, _)| of_subject(subject));
        let deleted: Vec<SubjectVersion> = subjects
            .flat_map(|(subject, versions)| {
                let deleted = versions.iter().filter(|(_, version)| version.value.deleted());
                deleted.map(|(number, _)| SubjectVersion { subject: subject.clone(), version: *number })
            })
            .collect();
        for at in deleted {
            let raw = RawRecord { offset: self.position - 1, key: Vec::new(), value: None };
            self.strike(&raw, &at);
        }
    }

    fn reject(&mut self, offset: i64) {
        self.rejected.push_back(offset);
        if self.rejected.len() > REJECTED_MAX {
            self.rejected.pop_front();
        }
    }

    pub(crate) fn is_rejected(&self, offset: i64) -> bool {
        self.rejected.contains(&offset)
    }

    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    pub(crate) fn next_id(&self) -> Option<i32> {
        self.id_max.checked_add(1)
    }

    /// The id that a content already has.
    pub(crate) fn id_of(&self, content: &Content) -> Option<i32> {
        self.by_content.get(content).copied()
    }

    /// Some version that uses an id, of this subject if it has one.
    pub(crate) fn by_id(&self, id: i32, subject: Option<&str>) -> Option<&SchemaValue> {
        let uses = &self.ids.get(&id)?.uses;
        let of_subject = |at: &&SubjectVersion| subject.is_none_or(|subject| at.subject == subject);
        let at = uses.iter().find(of_subject).or_else(|| uses.first())?;
        Some(&self.version(&at.subject, at.version)?.value)
    }

    pub(crate) fn uses_of(&self, id: i32) -> Option<&BTreeSet<SubjectVersion>> {
        self.ids.get(&id).map(|entry| &entry.uses)
    }

    pub(crate) fn id_max(&self) -> i32 {
        self.id_max
    }

    pub(crate) fn subjects(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, Version>)> {
        self.subjects.iter().map(|(subject, versions)| (subject.as_str(), versions))
    }

    /// Versions of a subject in ascending order, deleted ones included.
    pub(crate) fn versions(&self, subject: &str) -> impl DoubleEndedIterator<Item = (i32, &Version)> {
        self.subjects.get(subject).into_iter().flatten().map(|(number, version)| (*number, version))
    }

    /// Versions of a subject that are not deleted.
    pub(crate) fn live(&self, subject: &str) -> impl DoubleEndedIterator<Item = (i32, &Version)> {
        self.versions(subject).filter(|(_, version)| !version.value.deleted())
    }

    pub(crate) fn version(&self, subject: &str, version: i32) -> Option<&Version> {
        self.subjects.get(subject)?.get(&version)
    }

    /// Ids of the schemas that refer to a version, deleted referrers left out.
    pub(crate) fn referenced_by(&self, subject: &str, version: i32) -> BTreeSet<i32> {
        let refers = |value: &SchemaValue| {
            value.references().iter().any(|reference| reference.subject == subject && reference.version == version)
        };
        let all = self.subjects.values().flat_map(BTreeMap::values).map(|version| &version.value);
        all.filter(|value| !value.deleted() && refers(value)).map(|value| value.id).collect()
    }

    /// Whether a version of another subject refers to this one, a deleted one included: it still explains data.
    pub(crate) fn is_referenced_from_elsewhere(&self, at: &SubjectVersion) -> bool {
        let others = self.subjects.iter().filter(|(subject, _)| **subject != at.subject);
        others.flat_map(|(_, versions)| versions.values()).any(|version| {
            let mut references = version.value.references().into_iter();
            references.any(|reference| reference.subject == at.subject && reference.version == at.version)
        })
    }

    pub(crate) fn config(&self, subject: Option<&str>) -> Option<&SubjectConfig> {
        self.configs.get(&subject.map(str::to_owned))
    }

    pub(crate) fn mode(&self, subject: Option<&str>) -> Option<Mode> {
        self.modes.get(&subject.map(str::to_owned)).copied()
    }

    /// Subjects with a mode of their own.
    pub(crate) fn subjects_with_mode(&self) -> impl Iterator<Item = &str> {
        self.modes.keys().flatten().map(String::as_str)
    }

    /// Every byte form of a version's key, the canonical one included.
    pub(crate) fn key_forms(&self, at: &SubjectVersion) -> Vec<Vec<u8>> {
        let mut forms = self.key_forms.get(at).cloned().unwrap_or_default();
        forms.insert(Key::Schema(at.clone()).bytes());
        forms.into_iter().collect()
    }
}

pub(crate) type JsonObject = Map<String, Json>;

#[cfg(test)]
mod tests;
