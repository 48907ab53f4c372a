//! Where records have been, told by a header of theirs. Pure.
//!
//! Picture: two sites write to the same topic name, and a link leads each way. A record that is copied takes the id of the cluster
//! that it is copied from along, behind those that it came through before: `twinstream.path: <id>,<id>`. One whose path names
//! the target has been there, and is left out.
//! Invariants: a record comes to no cluster twice by links that all do so, however many there are in the circle. A cluster is
//! in a path once. What a record has beside this header stays as it is.
//! Not here: records that are copied without the header, which nobody can tell apart; records that come by two ways.

use twinstream_client::protocol::batch::{Headers, Passage, RecordTail};
use twinstream_connect_api::config::Config;
use twinstream_connect_api::{ConfigDef, ConfigKey, ConfigType, Importance};

use crate::aligned::LinkMode;
use crate::config::{LINK_MODE, MirrorConfigError, RETURNS};

pub(crate) const PROVENANCE: &str = "twinstream.provenance.headers.enabled";
/// The header's name.
pub(crate) const HEADER: &[u8] = b"twinstream.path";
const BETWEEN: u8 = b',';

/// What a link writes into paths, and what it looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    source: String,
    target: String,
}

impl Path {
    /// By the ids of both clusters.
    pub(crate) fn between(source: Option<String>, target: Option<String>) -> Result<Path, String> {
        let id = |side: &str, id: Option<String>| match id {
            Some(id) if !id.is_empty() && !id.as_bytes().contains(&BETWEEN) => Ok(id),
            Some(id) => Err(format!("the {side} cluster's id '{id}' cannot stand in a path")),
            None => Err(format!("the {side} cluster does not tell its id")),
        };
        let (source, target) = (id("source", source)?, id("target", target)?);
        match source == target {
            true => Err(format!("source and target are the same cluster ({source})")),
            false => Ok(Path { source, target }),
        }
    }

    /// Whether a record with these headers has been at the target.
    pub(crate) fn leads_back(&self, headers: Headers<'_>) -> bool {
        names(headers, &self.target)
    }

    /// What becomes of a record on its way.
    pub(crate) fn pass(&self, record: &RecordTail<'_>, changed: &mut Vec<u8>) -> Passage {
        let headers = record.headers();
        if self.leads_back(headers) {
            return Passage::LeftOut;
        }
        // It went round by a link that writes no paths, and has been here.
        if names(headers, &self.source) {
            return Passage::AsItIs;
        }
        let before = headers.iter().filter(|header| header.key == HEADER).last().and_then(|header| header.value);
        let mut path = before.unwrap_or_default().to_vec();
        if !path.is_empty() {
            path.push(BETWEEN);
        }
        path.extend_from_slice(self.source.as_bytes());
        record.write_with_header(HEADER, &path, changed);
        Passage::Changed
    }
}

/// Whether a path among the headers names a cluster.
fn names(headers: Headers<'_>, cluster: &str) -> bool {
    let mut paths = headers.iter().filter(|header| header.key == HEADER).filter_map(|header| header.value);
    paths.any(|path| path.split(|byte| *byte == BETWEEN).any(|id| id == cluster.as_bytes()))
}

pub(crate) fn keys(def: ConfigDef) -> ConfigDef {
    def.define(ConfigKey::with_default(
        PROVENANCE,
        ConfigType::Boolean,
        "false",
        Importance::Medium,
        "Whether each record that is copied takes the id of its cluster along, in the header `twinstream.path`, and one that has been at the target is left out: so two sites may write to topics of the same name and mirror each other. Set it on the links of both directions, before there are records. `auto` is `generic` then.",
    ))
}

/// Whether records carry paths.
pub(crate) fn read(config: &Config) -> Result<bool, MirrorConfigError> {
    if !config.bool(PROVENANCE) {
        return Ok(false);
    }
    let wrong = |why: String| Err(MirrorConfigError::Value { key: PROVENANCE, why });
    if config.bool(RETURNS) {
        return wrong(format!("does not go with {RETURNS}=true: what comes home keeps the bytes that it has"));
    }
    if config.string(LINK_MODE) == LinkMode::Aligned.name() {
        return wrong(format!(
            "does not go with {LINK_MODE}=aligned: mirrors keep the source's bytes and take records from nobody else; leave one of the two out"
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use twinstream_client::protocol::batch::{BatchBuilder, BatchJoiner, BatchView, JoinBounds};
    use twinstream_client::protocol::compression::Compression;
    use twinstream_model::Offset;

    use super::*;

    fn path(source: &str, target: &str) -> Path {
        Path::between(Some(source.to_owned()), Some(target.to_owned())).unwrap()
    }

    /// Copies a batch over these links, one behind the other; the paths of the records that arrive.
    fn copied(paths: &[Option<&[u8]>], links: &[(&str, &str)]) -> Vec<String> {
        let mut builder = BatchBuilder::new();
        for value in paths {
            builder.append(
                0,
                Some(b"k"),
                Some(b"v"),
                [(&b"own"[..], None)].into_iter().chain(value.map(|v| (HEADER, Some(v)))),
            );
        }
        let mut batch = builder.build().unwrap();
        for (source, target) in links {
            let path = path(source, target);
            let bounds = JoinBounds { good: 1 << 20, max: 1 << 20, expected: 0 };
            let mut joiner = BatchJoiner::new(Compression::None, bounds);
            let view = BatchView::parse(&batch).unwrap();
            joiner.add_through(&view, Offset(0), 1 << 20, &mut |record, out| path.pass(record, out)).unwrap();
            match joiner.finish().unwrap().pop() {
                Some(joined) => batch = joined.bytes,
                None => return Vec::new(),
            }
        }
        let records = BatchView::parse(&batch).unwrap().records(1 << 20).unwrap();
        let records = records.iter().map(Result::unwrap).map(|record| {
            assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&b"v"[..])));
            let headers: Vec<_> = record.headers.iter().collect();
            assert_eq!((headers[0].key, headers[0].value, headers.len()), (&b"own"[..], None, 2));
            assert_eq!(headers[1].key, HEADER);
            String::from_utf8(headers[1].value.unwrap().to_vec()).unwrap()
        });
        records.collect()
    }

    #[test]
    fn a_record_takes_along_where_it_has_been_and_comes_to_no_cluster_twice() {
        let news: [Option<&[u8]>; 1] = [None];
        assert_eq!(copied(&news, &[("A", "B")]), ["A"]);
        assert_eq!(copied(&news, &[("A", "B"), ("B", "A")]), [""; 0], "it is left out on its way back");
        assert_eq!(copied(&news, &[("A", "B"), ("B", "C")]), ["A,B"]);
        assert_eq!(copied(&news, &[("A", "B"), ("B", "C"), ("C", "A")]), [""; 0], "also round a larger circle");
        let mixed: [Option<&[u8]>; 4] = [Some(b"B"), None, Some(b"X,B"), Some(b"Bee")];
        assert_eq!(copied(&mixed, &[("A", "B")]), ["A", "Bee,A"], "the target's own stay behind");
    }

    #[test]
    fn a_path_names_a_cluster_once_and_an_empty_one_is_none() {
        assert_eq!(copied(&[Some(b"A,X"), Some(b"")], &[("A", "B")]), ["A,X", "A"]);
    }

    #[test]
    fn clusters_that_cannot_be_told_apart_have_no_path() {
        let between = |source: &str, target: Option<&str>| {
            Path::between(Some(source.to_owned()), target.map(str::to_owned)).unwrap_err()
        };
        assert!(between("A", None).contains("the target cluster does not tell its id"));
        assert!(between("A,B", Some("C")).contains("'A,B'"));
        assert!(between("A", Some("A")).contains("same cluster"));
    }
}
