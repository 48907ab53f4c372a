//! How documents lie in tantivy: one fixed schema for every index, with the mapping's paths inside two JSON fields.
//!
//! | field | holds | for |
//! |---|---|---|
//! | `_id` | the id, one exact term | look-up, replace, delete |
//! | `_source` | the document as it came | answers |
//! | `_version`, `_seq_no` | columns | version checks, answers |
//! | `_names` | paths with a value | `exists` |
//! | `exact` | JSON, untouched strings and numbers, with columns | term, range, sort |
//! | `text` | JSON, tokenized and lower-cased, with positions | match |
//!
//! Dates are milliseconds in `exact`, so that one rule of comparing serves all numbers.

use tantivy::schema::{
    FAST, Field, IndexRecordOption, JsonObjectOptions, OwnedValue, STORED, STRING, Schema, TantivyDocument,
    TextFieldIndexing, Value,
};
use tantivy::tokenizer::{LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer};
use tantivy::{Index, Term};

use crate::document::{Exact, Extracted};

/// Name and behaviour of Elasticsearch's default analyzer: words, lower case, nothing removed but monsters.
pub(crate) const ANALYZER: &str = "standard";
const TOKEN_BYTES_MAX: usize = 255;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub id: Field,
    pub source: Field,
    pub version: Field,
    pub seq_no: Field,
    pub names: Field,
    pub exact: Field,
    pub text: Field,
}

pub(crate) fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let raw = TextFieldIndexing::default().set_tokenizer("raw").set_index_option(IndexRecordOption::Basic);
    let words =
        TextFieldIndexing::default().set_tokenizer(ANALYZER).set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let fields = Fields {
        id: builder.add_text_field("_id", STRING | STORED),
        source: builder.add_bytes_field("_source", STORED),
        version: builder.add_i64_field("_version", FAST),
        seq_no: builder.add_i64_field("_seq_no", FAST),
        names: builder.add_text_field("_names", STRING),
        exact: builder.add_json_field(
            "exact",
            JsonObjectOptions::default().set_indexing_options(raw).set_fast(Some("raw")).set_expand_dots_enabled(),
        ),
        text: builder
            .add_json_field("text", JsonObjectOptions::default().set_indexing_options(words).set_expand_dots_enabled()),
    };
    (builder.build(), fields)
}

pub(crate) fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(TOKEN_BYTES_MAX))
        .filter(LowerCaser)
        .build()
}

pub(crate) fn register_analyzer(index: &Index) {
    index.tokenizers().register(ANALYZER, analyzer());
}

pub(crate) fn words_of(text: &str) -> Vec<String> {
    let mut analyzer = analyzer();
    let mut stream = analyzer.token_stream(text);
    let mut words = Vec::new();
    while let Some(token) = stream.next() {
        words.push(token.text.clone());
    }
    words
}

impl Fields {
    pub(crate) fn document(
        &self,
        id: &str,
        source: &str,
        version: i64,
        seq_no: i64,
        extracted: Extracted,
    ) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_text(self.id, id);
        document.add_bytes(self.source, source.as_bytes());
        document.add_i64(self.version, version);
        document.add_i64(self.seq_no, seq_no);
        for path in &extracted.present {
            document.add_text(self.names, path);
        }
        let exact = extracted
            .exact
            .into_iter()
            .map(|(path, values)| (path, OwnedValue::Array(values.into_iter().map(exact_value).collect())));
        document.add_field_value(self.exact, &OwnedValue::Object(exact.collect()));
        let text = extracted
            .text
            .into_iter()
            .map(|(path, values)| (path, OwnedValue::Array(values.into_iter().map(OwnedValue::Str).collect())));
        document.add_field_value(self.text, &OwnedValue::Object(text.collect()));
        document
    }

    pub(crate) fn id_term(&self, id: &str) -> Term {
        Term::from_field_text(self.id, id)
    }

    pub(crate) fn name_term(&self, path: &str) -> Term {
        Term::from_field_text(self.names, path)
    }

    pub(crate) fn exact_term(&self, path: &str, value: &Exact) -> Term {
        let mut term = Term::from_field_json_path(self.exact, path, true);
        match value {
            Exact::Str(text) => term.append_type_and_str(text),
            Exact::Int(number) => term.append_type_and_fast_value(*number),
            Exact::Float(number) => term.append_type_and_fast_value(*number),
            Exact::Bool(flag) => term.append_type_and_fast_value(*flag),
        }
        term
    }

    pub(crate) fn word_term(&self, path: &str, word: &str) -> Term {
        let mut term = Term::from_field_json_path(self.text, path, true);
        term.append_type_and_str(word);
        term
    }

    pub(crate) fn id_of(&self, document: &TantivyDocument) -> String {
        document.get_first(self.id).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    }

    pub(crate) fn source_of(&self, document: &TantivyDocument) -> Vec<u8> {
        document.get_first(self.source).and_then(|value| value.as_bytes()).unwrap_or_default().to_vec()
    }
}

fn exact_value(value: Exact) -> OwnedValue {
    match value {
        Exact::Str(text) => OwnedValue::Str(text),
        Exact::Int(number) => OwnedValue::I64(number),
        Exact::Float(number) => OwnedValue::F64(number),
        Exact::Bool(flag) => OwnedValue::Bool(flag),
    }
}
