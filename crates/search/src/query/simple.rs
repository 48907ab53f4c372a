//! The text language of `query_string` and `q=`: `place:alaska AND magnitude:>=5 -status:reviewed "north of"
//! time:[2018-02-01 TO *]`.
//!
//! Grammar: clauses side by side, joined by AND / OR / NOT or marked `+` / `-`; a clause is `[field:]value`, where the
//! value is a word, a quoted phrase, a comparison (`>`, `>=`, `<`, `<=`), a range `[a TO b]` / `{a TO b}`, `*` (has a
//! value), or a group in parentheses.
//! Not here: wildcards inside words, fuzziness, regular expressions, boosts; they are refused by name.

use std::ops::Bound;

use serde_json::Value;
use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, Occur, Query};

use super::{Builder, Parsed};
use crate::error::ApiError;

const DEPTH_MAX: usize = 20;
const TEXT_BYTES_MAX: usize = 32_768;

pub(super) fn parse(builder: &Builder<'_>, text: &str, paths: &[&str], default: Occur) -> Parsed {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ApiError::illegal(format!("[query_string] is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { builder, rest: text.trim(), paths, default };
    let query = parser.group(0)?;
    if parser.rest.is_empty() { Ok(query) } else { Err(parser.failed("unexpected ')'")) }
}

struct Parser<'a> {
    builder: &'a Builder<'a>,
    rest: &'a str,
    paths: &'a [&'a str],
    default: Occur,
}

impl<'a> Parser<'a> {
    fn group(&mut self, depth: usize) -> Parsed {
        if depth > DEPTH_MAX {
            return Err(self.failed("parentheses are nested too deep"));
        }
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        loop {
            self.skip_space();
            if self.rest.is_empty() || self.rest.starts_with(')') {
                break;
            }
            let mut occur = self.default;
            if self.take_word("AND") || self.take("&&") {
                if let Some((previous, _)) = clauses.last_mut().filter(|(previous, _)| *previous == Occur::Should) {
                    *previous = Occur::Must;
                }
                occur = Occur::Must;
            } else if self.take_word("OR") || self.take("||") {
                occur = Occur::Should;
            }
            self.skip_space();
            if self.take_word("NOT") || self.take("-") || self.take("!") {
                occur = Occur::MustNot;
            } else if self.take("+") {
                occur = Occur::Must;
            }
            self.skip_space();
            let query = self.clause(depth)?;
            clauses.push((occur, query));
        }
        if clauses.is_empty() {
            return Ok(Box::new(EmptyQuery));
        }
        if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
            clauses.push((Occur::Must, Box::new(AllQuery)));
        }
        Ok(Box::new(BooleanQuery::new(clauses)))
    }

    fn clause(&mut self, depth: usize) -> Parsed {
        if self.take("(") {
            let query = self.group(depth + 1)?;
            return if self.take(")") { Ok(query) } else { Err(self.failed("a ')' is missing")) };
        }
        if self.rest.starts_with('"') {
            let phrase = Value::from(self.quoted()?);
            return self.builder.any_field(self.paths, |path| self.builder.phrase(path, &phrase, 0));
        }
        let word = self.word()?;
        if self.take(":") {
            return self.field_value(&word);
        }
        if word == "*" {
            return Ok(Box::new(AllQuery));
        }
        let value = Value::from(self.plain(word)?);
        self.builder.any_field(self.paths, |path| self.builder.match_value(path, &value, Occur::Should, None))
    }

    fn field_value(&mut self, path: &str) -> Parsed {
        if path == "_exists_" {
            let name = self.word()?;
            return Ok(self.builder.has_value(&name));
        }
        if path == "*" && self.take("*") {
            return Ok(Box::new(AllQuery));
        }
        if self.rest.starts_with('"') {
            let phrase = Value::from(self.quoted()?);
            return self.builder.phrase(path, &phrase, 0);
        }
        if self.rest.starts_with(['[', '{']) {
            return self.range(path);
        }
        for (sign, inclusive, lower) in
            [(">=", true, true), ("<=", true, false), (">", false, true), ("<", false, false)]
        {
            if self.take(sign) {
                let word = self.word()?;
                let edge =
                    if inclusive { Bound::Included(Value::from(word)) } else { Bound::Excluded(Value::from(word)) };
                return if lower {
                    self.between(path, edge, Bound::Unbounded)
                } else {
                    self.between(path, Bound::Unbounded, edge)
                };
            }
        }
        if self.rest.starts_with('(') {
            return Err(self.failed("a group after a field name is not supported; repeat the field for each value"));
        }
        let word = self.word()?;
        if word == "*" {
            return Ok(self.builder.has_value(path));
        }
        let value = Value::from(self.plain(word)?);
        self.builder.match_value(path, &value, Occur::Should, None)
    }

    fn range(&mut self, path: &str) -> Parsed {
        let open = self.take("[");
        if !open {
            self.take("{");
        }
        let Some(end) = self.rest.find([']', '}']) else { return Err(self.failed("a range is not closed")) };
        let closed = self.rest[end..].starts_with(']');
        let inner = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        let Some((from, to)) = inner.split_once(" TO ") else { return Err(self.failed("a range is [from TO to]")) };
        let edge = |text: &str, inclusive: bool| match text.trim().trim_matches('"') {
            "*" => Bound::Unbounded,
            text if inclusive => Bound::Included(Value::from(text)),
            text => Bound::Excluded(Value::from(text)),
        };
        self.between(path, edge(from, open), edge(to, closed))
    }

    fn between(&self, path: &str, lower: Bound<Value>, upper: Bound<Value>) -> Parsed {
        match self.builder.mapping.resolve(path) {
            Some(field) => self.builder.between(path, field, lower, upper),
            None => Ok(Box::new(EmptyQuery)),
        }
    }

    fn plain(&self, word: String) -> Result<String, ApiError> {
        if word.contains(['*', '?', '~', '^']) || (word.len() > 1 && word.starts_with('/')) {
            return Err(self.failed(&format!(
                "[{word}] uses a wildcard, fuzziness, boost or regular expression, which are not supported"
            )));
        }
        Ok(word)
    }

    /// Up to a space, a parenthesis or a colon; a backslash takes the next character as it is.
    fn word(&mut self) -> Result<String, ApiError> {
        let mut word = String::new();
        let mut end = self.rest.len();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices() {
            if escaped {
                word.push(c);
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c.is_whitespace() || matches!(c, '(' | ')' | '"') || c == ':' {
                end = at;
                break;
            } else {
                word.push(c);
            }
        }
        if end == 0 || escaped {
            return Err(self.failed("a word is missing"));
        }
        self.rest = &self.rest[end..];
        Ok(word)
    }

    fn quoted(&mut self) -> Result<String, ApiError> {
        let inner = &self.rest[1..];
        let Some(end) = inner.find('"') else { return Err(self.failed("a quote is not closed")) };
        self.rest = &inner[end + 1..];
        Ok(inner[..end].to_owned())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let whole = self.rest.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '(']));
        whole && self.take(word)
    }

    fn failed(&self, why: &str) -> ApiError {
        let rest: String = self.rest.chars().take(40).collect();
        ApiError::new(400, "query_shard_exception", format!("Failed to parse query: {why} at [{rest}]"))
    }
}
