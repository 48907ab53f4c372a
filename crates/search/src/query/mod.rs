//! The query language: from the JSON of a search to a tantivy query.
//!
//! Known: match_all, match_none, match, match_phrase, multi_match (best fields), term, terms, range, prefix, exists,
//! ids, bool, constant_score, query_string. Everything else is refused by name, because an ignored clause would give
//! wrong hits. Values are read by the same rules as documents are. A field that is not mapped matches nothing, as in
//! Elasticsearch.

mod simple; // the text language of query_string and q=

use std::ops::Bound;

use serde_json::{Map, Value};
use tantivy::Term;
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, EmptyQuery, Occur, PhraseQuery, Query,
    RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::IndexRecordOption;

use crate::date;
use crate::document::{Exact, read_exact, text_of};
use crate::error::ApiError;
use crate::fields::{Fields, words_of};
use crate::mapping::{Field, Kind, Mapping};

const KINDS: &str = "match_all, match_none, match, match_phrase, multi_match, term, terms, range, prefix, exists, ids, bool, constant_score, query_string";
const DEPTH_MAX: usize = 20;
const CLAUSES_MAX: usize = 1_024;
const TERMS_MAX: usize = 65_536;

type Parsed = Result<Box<dyn Query>, ApiError>;

pub(crate) struct Builder<'a> {
    pub fields: &'a Fields,
    pub mapping: &'a Mapping,
}

impl Builder<'_> {
    pub(crate) fn build(&self, query: &Value) -> Parsed {
        self.clause(query, 0)
    }

    /// `q=` of a URL.
    pub(crate) fn build_simple(&self, text: &str) -> Parsed {
        simple::parse(self, text, &[], Occur::Should)
    }

    fn clause(&self, query: &Value, depth: usize) -> Parsed {
        if depth > DEPTH_MAX {
            return Err(ApiError::illegal(format!("the query is nested deeper than {DEPTH_MAX} levels")));
        }
        let (kind, body) = single(query)
            .ok_or_else(|| ApiError::parsing("[query] malformed, expected an object with one query name"))?;
        match (kind, body) {
            ("match_all", body) => options(kind, body, &["boost"]).map(|_| Box::new(AllQuery) as Box<dyn Query>),
            ("match_none", _) => Ok(Box::new(EmptyQuery)),
            ("match", body) => self.match_clause(body),
            ("match_phrase", body) => self.match_phrase(body),
            ("multi_match", body) => self.multi_match(body),
            ("term", body) => self.term(body),
            ("terms", body) => self.terms(body),
            ("range", body) => self.range(body),
            ("prefix", body) => self.prefix(body),
            ("exists", body) => self.exists(body),
            ("ids", body) => self.ids(body),
            ("bool", Value::Object(body)) => self.bool(body, depth),
            ("constant_score", body) => {
                let body = options(kind, body, &["filter", "boost"])?;
                let filter = self.clause(body.get("filter").unwrap_or(&Value::Null), depth + 1)?;
                Ok(Box::new(ConstScoreQuery::new(filter, number(body, "boost", 1.0)?)))
            }
            ("query_string", body) => self.query_string(body),
            ("bool", _) => Err(ApiError::parsing("[bool] query malformed, no start_object after query name")),
            (other, _) => Err(ApiError::parsing(format!("unknown query [{other}]; this embedded index knows {KINDS}"))),
        }
    }

    fn bool(&self, body: &Map<String, Value>, depth: usize) -> Parsed {
        let mut clauses = Vec::new();
        let (mut n_should, mut n_required) = (0, 0);
        for (key, value) in body {
            let occur = match key.as_str() {
                "must" | "filter" => Occur::Must,
                "should" => Occur::Should,
                "must_not" => Occur::MustNot,
                "minimum_should_match" | "boost" => continue,
                other => return Err(ApiError::parsing(format!("[bool] query does not support [{other}]"))),
            };
            let list = match value {
                Value::Array(list) => list.as_slice(),
                single => std::slice::from_ref(single),
            };
            for clause in list {
                let mut query = self.clause(clause, depth + 1)?;
                if key == "filter" {
                    query = Box::new(ConstScoreQuery::new(query, 0.0));
                }
                n_should += usize::from(occur == Occur::Should);
                n_required += usize::from(occur == Occur::Must);
                clauses.push((occur, query));
            }
        }
        if clauses.len() > CLAUSES_MAX {
            return Err(ApiError::new(400, "too_many_clauses", format!("maxClauseCount is set to {CLAUSES_MAX}")));
        }
        let minimum = match body.get("minimum_should_match") {
            None => usize::from(n_required == 0 && n_should > 0),
            Some(value) => {
                whole(value).ok_or_else(|| ApiError::parsing("[minimum_should_match] must be a whole number here"))?
            }
        };
        if n_should == 0 && n_required == 0 {
            clauses.push((Occur::Must, Box::new(AllQuery))); // must_not alone, or nothing at all: everything else
        }
        if minimum > n_should {
            return Ok(Box::new(EmptyQuery));
        }
        let query = BooleanQuery::with_minimum_required_clauses(clauses, minimum);
        Ok(Box::new(BoostQuery::new(Box::new(query), number(body, "boost", 1.0)?)))
    }

    fn match_clause(&self, body: &Value) -> Parsed {
        let (path, body) = field_body("match", body)?;
        let value = match body {
            Value::Object(body) => {
                known_keys("match", body, &["query", "operator", "boost", "minimum_should_match", "lenient"])?;
                body.get("query").ok_or_else(|| ApiError::parsing("[match] requires [query]"))?
            }
            value => value,
        };
        let operator = body.get("operator").and_then(Value::as_str).unwrap_or("or");
        let occur = if operator.eq_ignore_ascii_case("and") { Occur::Must } else { Occur::Should };
        let minimum = body
            .get("minimum_should_match")
            .map(|value| {
                whole(value).ok_or_else(|| ApiError::parsing("[minimum_should_match] must be a whole number here"))
            })
            .transpose()?;
        let query = self.match_value(path, value, occur, minimum)?;
        self.boosted(query, body)
    }

    /// Full text on a text field, else equality.
    fn match_value(&self, path: &str, value: &Value, occur: Occur, minimum: Option<usize>) -> Parsed {
        match self.mapping.resolve(path) {
            Some(field) if field.kind == Kind::Text => {
                let words = words_of(&text_of(value));
                let minimum = minimum.unwrap_or(1).min(words.len());
                let clauses: Vec<_> = words.iter().map(|word| (occur, self.word(path, word))).collect();
                match (clauses.is_empty(), occur) {
                    (true, _) => Ok(Box::new(EmptyQuery)),
                    (_, Occur::Should) => Ok(Box::new(BooleanQuery::with_minimum_required_clauses(clauses, minimum))),
                    _ => Ok(Box::new(BooleanQuery::new(clauses))),
                }
            }
            _ => self.equals(path, value),
        }
    }

    fn match_phrase(&self, body: &Value) -> Parsed {
        let (path, body) = field_body("match_phrase", body)?;
        let (value, slop) = match body {
            Value::Object(body) => {
                known_keys("match_phrase", body, &["query", "slop", "boost"])?;
                (
                    body.get("query").ok_or_else(|| ApiError::parsing("[match_phrase] requires [query]"))?,
                    whole(body.get("slop").unwrap_or(&Value::from(0))).unwrap_or(0),
                )
            }
            value => (value, 0),
        };
        self.boosted(self.phrase(path, value, u32::try_from(slop).unwrap_or(u32::MAX))?, body)
    }

    fn phrase(&self, path: &str, value: &Value, slop: u32) -> Parsed {
        match self.mapping.resolve(path) {
            Some(field) if field.kind == Kind::Text => {
                let words = words_of(&text_of(value));
                match words.as_slice() {
                    [] => Ok(Box::new(EmptyQuery)),
                    [word] => Ok(self.word(path, word)),
                    words => {
                        let terms = words.iter().map(|word| self.fields.word_term(path, word)).enumerate().collect();
                        Ok(Box::new(PhraseQuery::new_with_offset_and_slop(terms, slop)))
                    }
                }
            }
            _ => self.equals(path, value),
        }
    }

    fn multi_match(&self, body: &Value) -> Parsed {
        let body = options("multi_match", body, &["query", "fields", "operator", "type"])?;
        if let Some(kind) = body.get("type").and_then(Value::as_str).filter(|kind| *kind != "best_fields") {
            return Err(ApiError::parsing(format!("[multi_match] type [{kind}] is not supported; use best_fields")));
        }
        let value = body.get("query").ok_or_else(|| ApiError::parsing("[multi_match] requires [query]"))?;
        let paths: Vec<&str> = match body.get("fields") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let occur = if body.get("operator").and_then(Value::as_str).is_some_and(|op| op.eq_ignore_ascii_case("and")) {
            Occur::Must
        } else {
            Occur::Should
        };
        self.any_field(&paths, |path| self.match_value(path, value, occur, None))
    }

    /// The best of several fields; no names means every field, and those that cannot hold the value are skipped.
    fn any_field(&self, paths: &[&str], make: impl Fn(&str) -> Parsed) -> Parsed {
        let (all, lenient): (Vec<&str>, bool) = match paths {
            [] | ["*"] => (self.mapping.values().map(|(path, _)| path).collect(), true),
            paths => (paths.to_vec(), false),
        };
        let mut queries = Vec::new();
        for path in all.into_iter().take(CLAUSES_MAX) {
            match make(path) {
                Ok(query) => queries.push(query),
                Err(_) if lenient => {}
                Err(error) => return Err(error),
            }
        }
        Ok(if queries.is_empty() { Box::new(EmptyQuery) } else { Box::new(DisjunctionMaxQuery::new(queries)) })
    }

    fn term(&self, body: &Value) -> Parsed {
        let (path, body) = field_body("term", body)?;
        let value = match body {
            Value::Object(body) => {
                known_keys("term", body, &["value", "boost"])?;
                body.get("value").ok_or_else(|| ApiError::parsing("[term] requires [value]"))?
            }
            value => value,
        };
        self.boosted(self.equals(path, value)?, body)
    }

    fn terms(&self, body: &Value) -> Parsed {
        let body = body.as_object().ok_or_else(|| ApiError::parsing("[terms] query malformed, expected an object"))?;
        let mut fields = body.iter().filter(|(key, _)| *key != "boost");
        let (Some((path, Value::Array(values))), None) = (fields.next(), fields.next()) else {
            return Err(ApiError::parsing("[terms] query requires one field with an array of values"));
        };
        if values.len() > TERMS_MAX {
            return Err(ApiError::illegal(format!("[terms] has {} values, the limit is {TERMS_MAX}", values.len())));
        }
        let mut terms = Vec::with_capacity(values.len());
        for value in values {
            terms.extend(self.exact_term(path, value)?);
        }
        Ok(Box::new(ConstScoreQuery::new(Box::new(TermSetQuery::new(terms)), number(body, "boost", 1.0)?)))
    }

    fn equals(&self, path: &str, value: &Value) -> Parsed {
        Ok(match self.exact_term(path, value)? {
            Some(term) => Box::new(TermQuery::new(term, IndexRecordOption::Basic)),
            None => Box::new(EmptyQuery),
        })
    }

    /// The one index entry that equals the value; none when the field is not mapped.
    fn exact_term(&self, path: &str, value: &Value) -> Result<Option<Term>, ApiError> {
        if path == "_id" {
            return Ok(Some(self.fields.id_term(&text_of(value))));
        }
        let Some(field) = self.mapping.resolve(path) else { return Ok(None) };
        if field.kind == Kind::Text {
            return Ok(Some(self.fields.word_term(path, &text_of(value))));
        }
        Ok(self.exact(path, field, value)?.map(|exact| self.fields.exact_term(path, &exact)))
    }

    fn exact(&self, path: &str, field: &Field, value: &Value) -> Result<Option<Exact>, ApiError> {
        read_exact(field, value).map_err(|why| {
            let kind = field.kind.name();
            ApiError::new(
                400,
                "query_shard_exception",
                format!(
                    "failed to create query: [{}] is no value of field [{path}] of type [{kind}]: {why}",
                    text_of(value)
                ),
            )
        })
    }

    fn word(&self, path: &str, word: &str) -> Box<dyn Query> {
        Box::new(TermQuery::new(self.fields.word_term(path, word), IndexRecordOption::WithFreqs))
    }

    fn range(&self, body: &Value) -> Parsed {
        let (path, body) = field_body("range", body)?;
        let body = body
            .as_object()
            .ok_or_else(|| ApiError::parsing("[range] query malformed, no start_object after field name"))?;
        known_keys("range", body, &["gt", "gte", "lt", "lte", "format", "boost"])?;
        let Some(field) = self.mapping.resolve(path) else { return Ok(Box::new(EmptyQuery)) };
        let mut field = field.clone();
        if let Some(Value::String(format)) = body.get("format") {
            field.format = Some((format.clone(), date::parse_formats(format).map_err(ApiError::illegal)?));
        }
        let bound = |inclusive: &str, exclusive: &str| -> Result<Bound<Value>, ApiError> {
            Ok(match (body.get(inclusive), body.get(exclusive)) {
                (Some(_), Some(_)) => {
                    return Err(ApiError::parsing(format!(
                        "[range] has both [{inclusive}] and [{exclusive}] for [{path}]"
                    )));
                }
                (Some(value), None) if !value.is_null() => Bound::Included(value.clone()),
                (None, Some(value)) if !value.is_null() => Bound::Excluded(value.clone()),
                _ => Bound::Unbounded,
            })
        };
        let query = self.between(path, &field, bound("gte", "gt")?, bound("lte", "lt")?)?;
        Ok(Box::new(ConstScoreQuery::new(query, number(body, "boost", 1.0)?)))
    }

    fn between(&self, path: &str, field: &Field, lower: Bound<Value>, upper: Bound<Value>) -> Parsed {
        if matches!(field.kind, Kind::Text | Kind::Boolean | Kind::Binary | Kind::Object) {
            let kind = field.kind.name();
            return Err(ApiError::illegal(format!(
                "field [{path}] of type [{kind}] does not support range queries; use a keyword, number or date field"
            )));
        }
        if lower == Bound::Unbounded && upper == Bound::Unbounded {
            return Ok(self.has_value(path));
        }
        let mut edges = Vec::with_capacity(2);
        for bound in [lower, upper] {
            edges.push(match bound {
                Bound::Unbounded => Bound::Unbounded,
                Bound::Included(value) => self.edge(path, field, &value)?.map_or(Bound::Unbounded, Bound::Included),
                Bound::Excluded(value) => self.edge(path, field, &value)?.map_or(Bound::Unbounded, Bound::Excluded),
            });
        }
        let upper = edges.pop().unwrap_or(Bound::Unbounded);
        let lower = edges.pop().unwrap_or(Bound::Unbounded);
        Ok(Box::new(RangeQuery::new(lower, upper)))
    }

    fn edge(&self, path: &str, field: &Field, value: &Value) -> Result<Option<Term>, ApiError> {
        // A whole-number field may be asked for `gt: 4.5`; the column compares decimals itself.
        let exact = match (field.kind, value) {
            (Kind::Integer(_), Value::Number(number)) if number.is_f64() => number.as_f64().map(Exact::Float),
            _ => self.exact(path, &Field { ignore_above: None, ..field.clone() }, value)?,
        };
        Ok(exact.map(|exact| self.fields.exact_term(path, &exact)))
    }

    fn prefix(&self, body: &Value) -> Parsed {
        let (path, body) = field_body("prefix", body)?;
        let value = match body {
            Value::Object(body) => {
                known_keys("prefix", body, &["value", "boost"])?;
                body.get("value").unwrap_or(&Value::Null)
            }
            value => value,
        };
        let text = value.as_str().ok_or_else(|| ApiError::parsing("[prefix] requires a string value"))?;
        match self.mapping.resolve(path) {
            None => Ok(Box::new(EmptyQuery)),
            Some(field) if field.kind == Kind::Keyword => {
                let after = format!("{text}{}", char::MAX); // no assigned character sorts behind it
                self.between(path, field, Bound::Included(Value::from(text)), Bound::Excluded(Value::from(after)))
            }
            Some(field) => Err(ApiError::illegal(format!(
                "[prefix] needs a keyword field, [{path}] is of type [{}]",
                field.kind.name()
            ))),
        }
    }

    fn exists(&self, body: &Value) -> Parsed {
        let body = options("exists", body, &["field", "boost"])?;
        let path = body
            .get("field")
            .and_then(Value::as_str)
            .ok_or_else(|| ApiError::parsing("[exists] must be provided with a [field]"))?;
        match self.mapping.resolve(path) {
            Some(field) if field.kind == Kind::Object => {
                let prefix = format!("{path}.");
                let below: Vec<Term> = self
                    .mapping
                    .values()
                    .filter(|(name, _)| name.starts_with(&prefix))
                    .map(|(name, _)| self.fields.name_term(name))
                    .collect();
                Ok(Box::new(ConstScoreQuery::new(Box::new(TermSetQuery::new(below)), 1.0)))
            }
            Some(_) => Ok(self.has_value(path)),
            None => Ok(Box::new(EmptyQuery)),
        }
    }

    fn has_value(&self, path: &str) -> Box<dyn Query> {
        let query = TermQuery::new(self.fields.name_term(path), IndexRecordOption::Basic);
        Box::new(ConstScoreQuery::new(Box::new(query), 1.0))
    }

    fn ids(&self, body: &Value) -> Parsed {
        let body = options("ids", body, &["values", "boost"])?;
        let Some(Value::Array(values)) = body.get("values") else {
            return Err(ApiError::parsing("[ids] requires an array of [values]"));
        };
        let terms = values.iter().map(|value| self.fields.id_term(&text_of(value)));
        Ok(Box::new(ConstScoreQuery::new(Box::new(TermSetQuery::new(terms)), 1.0)))
    }

    fn query_string(&self, body: &Value) -> Parsed {
        let body = options("query_string", body, &["query", "default_field", "fields", "default_operator", "boost"])?;
        let text = body
            .get("query")
            .and_then(Value::as_str)
            .ok_or_else(|| ApiError::parsing("[query_string] must be provided with a [query]"))?;
        let mut paths: Vec<&str> =
            body.get("fields").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        paths.extend(body.get("default_field").and_then(Value::as_str));
        let and = body.get("default_operator").and_then(Value::as_str).is_some_and(|op| op.eq_ignore_ascii_case("and"));
        simple::parse(self, text, &paths, if and { Occur::Must } else { Occur::Should })
    }

    fn boosted(&self, query: Box<dyn Query>, body: &Value) -> Parsed {
        match body.get("boost").and_then(Value::as_f64) {
            Some(boost) => Ok(Box::new(BoostQuery::new(query, boost as f32))),
            None => Ok(query),
        }
    }
}

fn single(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(key, value)| (key.as_str(), value))
}

fn field_body<'v>(kind: &str, body: &'v Value) -> Result<(&'v str, &'v Value), ApiError> {
    single(body).ok_or_else(|| ApiError::parsing(format!("[{kind}] query malformed, expected one field name")))
}

fn options<'v>(kind: &str, body: &'v Value, known: &[&str]) -> Result<&'v Map<String, Value>, ApiError> {
    let body =
        body.as_object().ok_or_else(|| ApiError::parsing(format!("[{kind}] query malformed, expected an object")))?;
    known_keys(kind, body, known)?;
    Ok(body)
}

fn known_keys(kind: &str, body: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    match body.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(ApiError::parsing(format!("[{kind}] query does not support [{key}]"))),
        None => Ok(()),
    }
}

fn number(body: &Map<String, Value>, key: &str, default: f32) -> Result<f32, ApiError> {
    match body.get(key) {
        None => Ok(default),
        Some(value) => {
            value.as_f64().map(|n| n as f32).ok_or_else(|| ApiError::parsing(format!("[{key}] must be a number")))
        }
    }
}

fn whole(value: &Value) -> Option<usize> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|n| usize::try_from(n).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
