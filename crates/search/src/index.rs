//! One index: its directory, its reader, and the way to its writer.
//!
//! Readers share one tantivy reader that the writer moves forward after each commit; so a search sees whole commits
//! only.
//! Memory: tantivy's write buffer is bounded by [`WRITE_BUFFER_BYTES`], everything read is mapped from files.

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;
use tantivy::indexer::LogMergePolicy;
use tantivy::schema::TantivyDocument;
use tantivy::{DocSet, IndexReader, IndexSettings, ReloadPolicy, Searcher, TERMINATED};

use crate::catalog::CatalogError;
use crate::error::ApiError;
use crate::fields::{self, Fields};
use crate::meta::Meta;
use crate::writer::{Op, OpResult, WriterHandle};

/// The smallest that tantivy takes; a bulk beyond it is flushed to a segment earlier, no more.
const WRITE_BUFFER_BYTES: usize = 15_000_000;
/// Blocks of documents kept unpacked per index (16 KiB each).
const STORE_CACHE_BLOCKS: usize = 8;

/// What the reading side and the writer share.
pub(crate) struct Shared {
    pub name: String,
    pub fields: Fields,
    pub reader: IndexReader,
    meta: RwLock<Arc<Meta>>,
}

impl Shared {
    pub(crate) fn meta(&self) -> Arc<Meta> {
        self.meta.read().clone()
    }

    /// By the writer, after the commit that holds it.
    pub(crate) fn publish(&self, meta: Meta) {
        *self.meta.write() = Arc::new(meta);
    }
}

pub(crate) struct Index {
    pub shared: Arc<Shared>,
    writer: WriterHandle,
}

/// A document as it was last committed.
pub(crate) struct Found {
    pub version: i64,
    pub seq_no: i64,
    pub source: Vec<u8>,
}

impl Index {
    /// Makes the directory of a new index; the caller moves it into place afterwards, so half-made ones are never
    /// opened.
    pub(crate) fn create(path: &Path, meta: &Meta) -> Result<(), CatalogError> {
        let (schema, _) = fields::schema();
        let index = tantivy::Index::builder().schema(schema).settings(IndexSettings::default()).create_in_dir(path)?;
        fields::register_analyzer(&index);
        let mut writer: tantivy::IndexWriter = index.writer_with_num_threads(1, WRITE_BUFFER_BYTES)?;
        let mut prepared = writer.prepare_commit()?;
        prepared.set_payload(&meta.encode());
        prepared.commit()?;
        Ok(())
    }

    pub(crate) fn open(name: &str, path: &Path) -> Result<Index, CatalogError> {
        let index = tantivy::Index::open_in_dir(path)?;
        fields::register_analyzer(&index);
        let (schema, fields) = fields::schema();
        if index.schema() != schema {
            return Err(CatalogError::ForeignSchema { path: path.to_owned() });
        }
        let payload = index.load_metas()?.payload.unwrap_or_default();
        let meta = Meta::decode(&payload).map_err(|cause| CatalogError::Meta { path: path.to_owned(), cause })?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(STORE_CACHE_BLOCKS)
            .try_into()?;
        let writer: tantivy::IndexWriter = index.writer_with_num_threads(1, WRITE_BUFFER_BYTES)?;
        writer.set_merge_policy(Box::new(LogMergePolicy::default()));
        let shared = Arc::new(Shared { name: name.to_owned(), fields, reader, meta: RwLock::new(Arc::new(meta)) });
        let writer = WriterHandle::spawn(name, writer, Arc::clone(&shared))?;
        Ok(Index { shared, writer })
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) async fn write(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, ApiError> {
        self.writer.write(ops).await
    }

    pub(crate) async fn put_mapping(&self, body: Value) -> Result<(), ApiError> {
        self.writer.put_mapping(body).await
    }

    pub(crate) fn get(&self, id: &str) -> Result<Option<Found>, ApiError> {
        read_current(&self.shared.reader.searcher(), &self.shared.fields, id)
    }

    pub(crate) fn doc_count(&self) -> u64 {
        self.shared.reader.searcher().num_docs()
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.shared.reader.searcher().space_usage().map_or(0, |usage| usage.total().get_bytes())
    }
}

/// The committed document of an id. At most one is alive, because each write deletes the one before.
pub(crate) fn read_current(searcher: &Searcher, fields: &Fields, id: &str) -> Result<Option<Found>, ApiError> {
    let term = fields.id_term(id);
    for (ordinal, segment) in searcher.segment_readers().iter().enumerate() {
        let Some(mut postings) = segment
            .inverted_index(fields.id)?
            .read_postings(&term, tantivy::schema::IndexRecordOption::Basic)
            .map_err(tantivy::TantivyError::from)?
        else {
            continue;
        };
        while postings.doc() != TERMINATED {
            let doc = postings.doc();
            if !segment.is_deleted(doc) {
                let column = |name: &str| segment.fast_fields().i64(name).map(|column| column.first(doc).unwrap_or(0));
                let stored: TantivyDocument =
                    searcher.doc(tantivy::DocAddress::new(u32::try_from(ordinal).unwrap_or(u32::MAX), doc))?;
                return Ok(Some(Found {
                    version: column("_version")?,
                    seq_no: column("_seq_no")?,
                    source: fields.source_of(&stored),
                }));
            }
            postings.advance();
        }
    }
    Ok(None)
}
