//! Running a search: the request body, the order of hits, the answer.
//!
//! Picture: one collector walks the matches of every segment, computes a sort key per document and keeps the best `from
//! + size`; the keys of a segment refer to its own dictionaries and are made comparable when the segment is done. Only
//! the hits that are answered are read from the store.
//! Bounds: the window (`from` and `size` together) is at most [`WINDOW_MAX`]; totals are always counted exactly and cut to
//! `track_total_hits` when shown.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, DynamicColumn, StrColumn};
use tantivy::schema::TantivyDocument;
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader};

use crate::catalog::wildcard_matches;
use crate::error::ApiError;
use crate::index::Index;
use crate::mapping::{Kind, Mapping};
use crate::query::Builder;

const WINDOW_MAX: usize = 10_000;
const SORT_KEYS_MAX: usize = 16;
const TOTAL_SHOWN_DEFAULT: u64 = 10_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub query: Value,
    pub q: Option<String>,
    pub from: usize,
    pub size: usize,
    pub sort: Vec<SortKey>,
    pub source: SourceFilter,
    pub total: TotalHits,
    pub version: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SortKey {
    field: String,
    descending: bool,
    missing_first: bool,
    unmapped_ok: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TotalHits {
    Exact,
    UpTo(u64),
    Hidden,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum SourceFilter {
    #[default]
    All,
    Nothing,
    Fields {
        includes: Vec<String>,
        excludes: Vec<String>,
    },
}

impl Default for Request {
    fn default() -> Request {
        Request {
            query: json!({ "match_all": {} }),
            q: None,
            from: 0,
            size: 10,
            sort: Vec::new(),
            source: SourceFilter::All,
            total: TotalHits::UpTo(TOTAL_SHOWN_DEFAULT),
            version: false,
        }
    }
}

impl Request {
    pub(crate) fn parse_body(&mut self, body: &Value) -> Result<(), ApiError> {
        let body = match body {
            Value::Null => return Ok(()),
            Value::Object(body) => body,
            _ => return Err(ApiError::parsing("the search body must be an object")),
        };
        for (key, value) in body {
            match key.as_str() {
                "query" => self.query = value.clone(),
                "from" => self.from = count("from", value)?,
                "size" => self.size = count("size", value)?,
                "sort" => self.sort = parse_sort(value)?,
                "_source" => self.source = SourceFilter::parse(value)?,
                "track_total_hits" => self.total = parse_total(value)?,
                "version" => self.version = value.as_bool().unwrap_or(false),
                "timeout" | "track_scores" => {} // answers come at once, scores are computed when no sort is given
                other => {
                    return Err(ApiError::parsing(format!(
                        "unknown key [{other}] in the search body; this embedded index knows query, from, size, sort, _source, track_total_hits, version"
                    )));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.from.saturating_add(self.size) > WINDOW_MAX {
            let window = self.from.saturating_add(self.size);
            return Err(ApiError::illegal(format!(
                "Result window is too large, from + size must be less than or equal to: [{WINDOW_MAX}] but was [{window}]"
            )));
        }
        Ok(())
    }
}

fn count(name: &str, value: &Value) -> Result<usize, ApiError> {
    let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| ApiError::illegal(format!("[{name}] parameter must be a number of 0 or more, was [{value}]")))
}

pub(crate) fn parse_total(value: &Value) -> Result<TotalHits, ApiError> {
    match (
        value.as_bool().or_else(|| value.as_str().and_then(|text| text.parse().ok())),
        count("track_total_hits", value),
    ) {
        (Some(true), _) => Ok(TotalHits::Exact),
        (Some(false), _) => Ok(TotalHits::Hidden),
        (None, Ok(limit)) => Ok(TotalHits::UpTo(limit as u64)),
        (None, Err(error)) => Err(error),
    }
}

/// `"f"`, `"f:desc"` (URL), `{"f":"desc"}`, `{"f":{"order":"desc","missing":"_last","unmapped_type":".."}}`, or a list
/// of them.
pub(crate) fn parse_sort(value: &Value) -> Result<Vec<SortKey>, ApiError> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut keys = Vec::new();
    for item in list {
        match item {
            Value::String(text) => {
                let (field, order) =
                    text.split_once(':').unwrap_or((text, if text == "_score" { "desc" } else { "asc" }));
                keys.push(SortKey::new(field, order)?);
            }
            Value::Object(fields) => {
                for (field, options) in fields {
                    keys.push(SortKey::parse(field, options)?);
                }
            }
            other => return Err(ApiError::parsing(format!("malformed sort [{other}]"))),
        }
    }
    if keys.len() > SORT_KEYS_MAX {
        return Err(ApiError::illegal(format!("at most {SORT_KEYS_MAX} sort keys are supported")));
    }
    Ok(keys)
}

impl SortKey {
    fn new(field: &str, order: &str) -> Result<SortKey, ApiError> {
        let descending = match order {
            "asc" => false,
            "desc" => true,
            other => {
                return Err(ApiError::parsing(format!("unknown sort order [{other}] for [{field}]; use asc or desc")));
            }
        };
        Ok(SortKey { field: field.to_owned(), descending, missing_first: false, unmapped_ok: false })
    }

    fn parse(field: &str, options: &Value) -> Result<SortKey, ApiError> {
        let default = if field == "_score" { "desc" } else { "asc" };
        let mut key = SortKey::new(field, options.as_str().or_else(|| options["order"].as_str()).unwrap_or(default))?;
        for (name, value) in options.as_object().into_iter().flatten() {
            match (name.as_str(), value.as_str()) {
                ("order", Some(_)) => {}
                ("missing", Some("_first")) => key.missing_first = true,
                ("missing", Some("_last")) => key.missing_first = false,
                ("unmapped_type", Some(_)) => key.unmapped_ok = true,
                _ => return Err(ApiError::parsing(format!("[{field}] sort does not support [{name}] with [{value}]"))),
            }
        }
        Ok(key)
    }

    fn check(&self, mapping: &Mapping) -> Result<(), ApiError> {
        if matches!(self.field.as_str(), "_score" | "_doc") {
            return Ok(());
        }
        match mapping.resolve(&self.field) {
            None if self.unmapped_ok => Ok(()),
            None => Err(ApiError::new(
                400,
                "query_shard_exception",
                format!("No mapping found for [{}] in order to sort on", self.field),
            )),
            Some(field) if matches!(field.kind, Kind::Text | Kind::Binary | Kind::Object) => {
                let kind = field.kind.name();
                Err(ApiError::illegal(format!(
                    "field [{}] of type [{kind}] can not be sorted on; use a keyword field such as [{}.keyword]",
                    self.field, self.field
                )))
            }
            Some(_) => Ok(()),
        }
    }
}

impl SourceFilter {
    pub(crate) fn parse(value: &Value) -> Result<SourceFilter, ApiError> {
        let list = |value: &Value| -> Vec<String> {
            match value {
                Value::String(text) => text.split(',').map(str::to_owned).collect(),
                Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            }
        };
        match value {
            Value::Bool(true) => Ok(SourceFilter::All),
            Value::Bool(false) => Ok(SourceFilter::Nothing),
            Value::String(text) if text == "true" => Ok(SourceFilter::All),
            Value::String(text) if text == "false" => Ok(SourceFilter::Nothing),
            Value::String(_) | Value::Array(_) => {
                Ok(SourceFilter::Fields { includes: list(value), excludes: Vec::new() })
            }
            Value::Object(body) => {
                let either = |a: &str, b: &str| list(body.get(a).or_else(|| body.get(b)).unwrap_or(&Value::Null));
                Ok(SourceFilter::Fields {
                    includes: either("includes", "include"),
                    excludes: either("excludes", "exclude"),
                })
            }
            other => Err(ApiError::parsing(format!("malformed _source [{other}]"))),
        }
    }

    pub(crate) fn apply(&self, source: &[u8]) -> Result<Option<Value>, ApiError> {
        if *self == SourceFilter::Nothing {
            return Ok(None);
        }
        let source: Value = serde_json::from_slice(source)
            .map_err(|cause| ApiError::internal(format!("stored source is damaged: {cause}")))?;
        match (self, source) {
            (SourceFilter::Fields { includes, excludes }, Value::Object(source)) => {
                Ok(Some(Value::Object(filtered("", source, includes, excludes))))
            }
            (_, source) => Ok(Some(source)),
        }
    }
}

fn filtered(prefix: &str, source: Map<String, Value>, includes: &[String], excludes: &[String]) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, value) in source {
        let path = crate::mapping::join(prefix, &name);
        if excludes.iter().any(|pattern| wildcard_matches(pattern, &path)) {
            continue;
        }
        let whole = includes.is_empty() || includes.iter().any(|pattern| wildcard_matches(pattern, &path));
        match value {
            Value::Object(inner) => {
                let inner = filtered(&path, inner, if whole { &[] } else { includes }, excludes);
                if whole || !inner.is_empty() {
                    kept.insert(name, Value::Object(inner));
                }
            }
            value if whole => drop(kept.insert(name, value)),
            _ => {}
        }
    }
    kept
}

struct Ranked {
    index: usize,
    hit: Hit,
}

/// Blocking: reads files. Several indices answer as one.
pub(crate) fn search(indices: &[Arc<Index>], request: &Request) -> Result<Value, ApiError> {
    request.check()?;
    let started = std::time::Instant::now();
    let searchers: Vec<_> = indices.iter().map(|index| index.shared.reader.searcher()).collect();
    let window = request.from + request.size;
    let by_score = [SortKey { field: "_score".to_owned(), descending: true, missing_first: false, unmapped_ok: true }];
    let sort: &[SortKey] = if request.sort.is_empty() { &by_score } else { &request.sort };
    let (mut total, mut ranked) = (0, Vec::new());
    for (at, (index, searcher)) in indices.iter().zip(&searchers).enumerate() {
        let meta = index.shared.meta();
        sort.iter().try_for_each(|key| key.check(&meta.mapping))?;
        let builder = Builder { fields: &index.shared.fields, mapping: &meta.mapping };
        let query = match &request.q {
            Some(text) => builder.build_simple(text)?,
            None => builder.build(&request.query)?,
        };
        let found = searcher.search(&query, &TopHits { sort, window })?;
        total += found.total;
        ranked.extend(found.hits.into_iter().map(|hit| Ranked { index: at, hit }));
    }
    ranked.sort_by(|a, b| {
        compare(sort, &a.hit.keys, &b.hit.keys).then_with(|| (a.index, a.hit.address).cmp(&(b.index, b.hit.address)))
    });
    let max_score = ranked
        .iter()
        .filter_map(|ranked| ranked.hit.score)
        .fold(None, |best: Option<f32>, score| Some(best.map_or(score, |best| best.max(score))));
    let mut hits = Vec::new();
    for Ranked { index: at, hit } in ranked.into_iter().skip(request.from).take(request.size) {
        let fields = &indices[at].shared.fields;
        let stored: TantivyDocument = searchers[at].doc(hit.address)?;
        let mut body = json!({ "_index": indices[at].name(), "_id": fields.id_of(&stored), "_score": hit.score });
        if request.version {
            let segment = searchers[at].segment_reader(hit.address.segment_ord);
            body["_version"] = json!(segment.fast_fields().i64("_version")?.first(hit.address.doc_id));
        }
        if let Some(source) = request.source.apply(&fields.source_of(&stored))? {
            body["_source"] = source;
        }
        if !request.sort.is_empty() {
            body["sort"] = hit.keys.iter().map(Key::to_json).collect();
        }
        hits.push(body);
    }
    let mut shown = json!({ "max_score": max_score, "hits": hits });
    match request.total {
        TotalHits::Hidden => {}
        TotalHits::UpTo(limit) if total > limit => shown["total"] = json!({ "value": limit, "relation": "gte" }),
        _ => shown["total"] = json!({ "value": total, "relation": "eq" }),
    }
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(json!({ "took": took, "timed_out": false, "_shards": shards(indices.len()), "hits": shown }))
}

pub(crate) fn count_hits(indices: &[Arc<Index>], request: &Request) -> Result<Value, ApiError> {
    let mut total = 0;
    for index in indices {
        let meta = index.shared.meta();
        let builder = Builder { fields: &index.shared.fields, mapping: &meta.mapping };
        let query = match &request.q {
            Some(text) => builder.build_simple(text)?,
            None => builder.build(&request.query)?,
        };
        total += index.shared.reader.searcher().search(&query, &tantivy::collector::Count)? as u64;
    }
    Ok(json!({ "count": total, "_shards": shards(indices.len()) }))
}

pub(crate) fn shards(n: usize) -> Value {
    json!({ "total": n, "successful": n, "skipped": 0, "failed": 0 })
}

/// A value to sort by. Inside a segment strings are ordinals of its dictionary.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    Missing,
    Int(i64),
    Float(f64),
    Ordinal(u64),
    Str(String),
}

impl Key {
    fn to_json(&self) -> Value {
        match self {
            Key::Missing => Value::Null,
            Key::Int(number) => json!(number),
            Key::Float(number) => json!(number),
            Key::Ordinal(ordinal) => json!(ordinal),
            Key::Str(text) => json!(text),
        }
    }

    fn compare(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Int(a), Key::Int(b)) => a.cmp(b),
            (Key::Ordinal(a), Key::Ordinal(b)) => a.cmp(b),
            (Key::Str(a), Key::Str(b)) => a.cmp(b),
            (Key::Float(a), Key::Float(b)) => a.total_cmp(b),
            (Key::Int(a), Key::Float(b)) => (*a as f64).total_cmp(b),
            (Key::Float(a), Key::Int(b)) => a.total_cmp(&(*b as f64)),
            (Key::Str(_), _) => Ordering::Greater,
            (_, Key::Str(_)) => Ordering::Less,
            _ => Ordering::Equal,
        }
    }
}

fn compare(sort: &[SortKey], a: &[Key], b: &[Key]) -> Ordering {
    for (key, (a, b)) in sort.iter().zip(a.iter().zip(b)) {
        let order = match (a, b) {
            (Key::Missing, Key::Missing) => Ordering::Equal,
            (Key::Missing, _) if key.missing_first => Ordering::Less,
            (Key::Missing, _) => Ordering::Greater,
            (_, Key::Missing) if key.missing_first => Ordering::Greater,
            (_, Key::Missing) => Ordering::Less,
            (a, b) if key.descending => b.compare(a),
            (a, b) => a.compare(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

struct Hit {
    keys: Vec<Key>,
    score: Option<Score>,
    address: DocAddress,
}

struct Hits {
    total: u64,
    hits: Vec<Hit>,
}

struct TopHits<'a> {
    sort: &'a [SortKey],
    window: usize,
}

struct SegmentHits {
    sort: Vec<SortKey>,
    columns: Vec<SortColumn>,
    window: usize,
    segment: SegmentOrdinal,
    total: u64,
    hits: Vec<Hit>,
    scored: bool,
}

enum SortColumn {
    Score,
    Doc,
    Nothing,
    Int(Column<i64>),
    Unsigned(Column<u64>),
    Float(Column<f64>),
    Bool(Column<bool>),
    Str(StrColumn),
}

impl Collector for TopHits<'_> {
    type Fruit = Hits;
    type Child = SegmentHits;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentHits> {
        let columns = self.sort.iter().map(|key| SortColumn::open(key, reader)).collect::<tantivy::Result<_>>()?;
        Ok(SegmentHits {
            sort: self.sort.to_vec(),
            columns,
            window: self.window,
            segment,
            total: 0,
            hits: Vec::new(),
            scored: self.requires_scoring(),
        })
    }

    fn requires_scoring(&self) -> bool {
        self.sort.iter().any(|key| key.field == "_score")
    }

    fn merge_fruits(&self, segments: Vec<tantivy::Result<Hits>>) -> tantivy::Result<Hits> {
        let mut merged = Hits { total: 0, hits: Vec::new() };
        for segment in segments {
            let segment = segment?;
            merged.total += segment.total;
            merged.hits.extend(segment.hits);
        }
        merged.hits.sort_by(|a, b| compare(self.sort, &a.keys, &b.keys).then(a.address.cmp(&b.address)));
        merged.hits.truncate(self.window);
        Ok(merged)
    }
}

impl SegmentCollector for SegmentHits {
    type Fruit = tantivy::Result<Hits>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.total += 1;
        if self.window == 0 {
            return;
        }
        let keys =
            self.columns.iter().zip(&self.sort).map(|(column, key)| column.key(doc, score, key.descending)).collect();
        self.hits.push(Hit { keys, score: self.scored.then_some(score), address: DocAddress::new(self.segment, doc) });
        // Twice the window before cutting keeps the work per document constant on average.
        if self.hits.len() >= self.window.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    fn harvest(mut self) -> Self::Fruit {
        self.cut();
        for hit in &mut self.hits {
            for (key, column) in hit.keys.iter_mut().zip(&self.columns) {
                if let (Key::Ordinal(ordinal), SortColumn::Str(column)) = (&*key, column) {
                    let mut text = String::new();
                    column.ord_to_str(*ordinal, &mut text)?;
                    *key = Key::Str(text);
                }
            }
        }
        Ok(Hits { total: self.total, hits: self.hits })
    }
}

impl SegmentHits {
    fn cut(&mut self) {
        let sort = &self.sort;
        self.hits.sort_by(|a, b| compare(sort, &a.keys, &b.keys).then(a.address.cmp(&b.address)));
        self.hits.truncate(self.window);
    }
}

impl SortColumn {
    fn open(key: &SortKey, reader: &SegmentReader) -> tantivy::Result<SortColumn> {
        let name = match key.field.as_str() {
            "_score" => return Ok(SortColumn::Score),
            "_doc" => return Ok(SortColumn::Doc),
            field => format!("exact.{field}"),
        };
        let Some(handle) = reader.fast_fields().dynamic_column_handles(&name)?.into_iter().next() else {
            return Ok(SortColumn::Nothing);
        };
        Ok(match handle.open()? {
            DynamicColumn::I64(column) => SortColumn::Int(column),
            DynamicColumn::U64(column) => SortColumn::Unsigned(column),
            DynamicColumn::F64(column) => SortColumn::Float(column),
            DynamicColumn::Bool(column) => SortColumn::Bool(column),
            DynamicColumn::Str(column) => SortColumn::Str(column),
            _ => SortColumn::Nothing,
        })
    }

    /// Of several values the lowest counts when ascending, the highest when descending.
    fn key(&self, doc: DocId, score: Score, descending: bool) -> Key {
        let best = |a: Key, b: Key| if (b.compare(&a) == Ordering::Greater) == descending { b } else { a };
        match self {
            SortColumn::Score => Key::Float(f64::from(score)),
            SortColumn::Doc => Key::Int(i64::from(doc)),
            SortColumn::Nothing => Key::Missing,
            SortColumn::Int(column) => column.values_for_doc(doc).map(Key::Int).reduce(best).unwrap_or(Key::Missing),
            SortColumn::Unsigned(column) => column
                .values_for_doc(doc)
                .map(|n| i64::try_from(n).map_or(Key::Float(n as f64), Key::Int))
                .reduce(best)
                .unwrap_or(Key::Missing),
            SortColumn::Float(column) => {
                column.values_for_doc(doc).map(Key::Float).reduce(best).unwrap_or(Key::Missing)
            }
            SortColumn::Bool(column) => {
                column.values_for_doc(doc).map(|flag| Key::Int(i64::from(flag))).reduce(best).unwrap_or(Key::Missing)
            }
            SortColumn::Str(column) => column.term_ords(doc).map(Key::Ordinal).reduce(best).unwrap_or(Key::Missing),
        }
    }
}
