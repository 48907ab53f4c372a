//! How a verb is asked for. Pure.

use std::time::Duration;

use regex::Regex;
use tokio::time::Instant;
use twinstream_connect_api::{ApiRefusal, ApiRequest};
use twinstream_model::TopicName;

use crate::policy::full_match;

const TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Before an expression of topics that are left out.
const NOT: char = '!';
/// Topics that are told by name.
const TOLD_MAX: usize = 20;

pub(super) struct Asked {
    pub dry_run: bool,
    pub until: Instant,
    pub topics: Topics,
}

impl Asked {
    pub(super) fn read(request: &ApiRequest) -> Result<Asked, ApiRefusal> {
        let timeout = match request.query.get("timeout") {
            None => TIMEOUT,
            Some(text) => {
                text.parse().ok().map(Duration::from_secs).filter(|timeout| *timeout <= TIMEOUT_MAX).ok_or_else(
                    || ApiRefusal::bad_request(format!("timeout must be seconds, at most 3600, not '{text}'")),
                )?
            }
        };
        let topics = request.query.get("topics").map(String::as_str).unwrap_or_default();
        let topics = Topics::parse(topics).map_err(|why| ApiRefusal::bad_request(format!("topics: {why}")))?;
        Ok(Asked { dry_run: request.flag("dry-run"), until: Instant::now() + timeout, topics })
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// Which of a link's topics, by the source's names: those that one of the expressions matches, or all if there is none, without
/// those that one with a `!` before it matches.
#[derive(Debug)]
pub(super) struct Topics {
    include: Option<Regex>,
    exclude: Regex,
}

impl Topics {
    fn parse(list: &str) -> Result<Topics, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let (without, with): (Vec<&str>, Vec<&str>) = entries.partition(|entry| entry.starts_with(NOT));
        let without: Vec<String> = without.iter().map(|entry| entry.trim_start_matches(NOT).to_owned()).collect();
        let with: Vec<String> = with.into_iter().map(str::to_owned).collect();
        let include = if with.is_empty() { None } else { Some(full_match(&with)?) };
        Ok(Topics { include, exclude: full_match(&without)? })
    }

    pub(super) fn has(&self, topic: &TopicName) -> bool {
        let name = topic.as_str();
        self.include.as_ref().is_none_or(|include| include.is_match(name)) && !self.exclude.is_match(name)
    }
}

/// The option of a command that leaves these topics out, and no others.
pub(super) fn without<'a>(topics: impl IntoIterator<Item = &'a TopicName>) -> String {
    let names: Vec<String> =
        topics.into_iter().map(|topic| format!("{NOT}{}", topic.as_str().replace('.', "\\."))).collect();
    let more = names.len().saturating_sub(TOLD_MAX);
    let told = names.into_iter().take(TOLD_MAX).collect::<Vec<_>>().join(",");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("--topics '{told}'{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    #[test]
    fn topics_are_named_by_expressions_and_left_out_by_those_with_a_mark() {
        let has = |list: &str, name: &str| Topics::parse(list).unwrap().has(&topic(name));
        assert!(has("", "orders") && has("orders|x", "orders") && !has("orders", "orders2"));
        assert!(has("!plain", "orders") && !has("!plain", "plain"));
        assert!(has("o.*, !old.*", "orders") && !has("o.*, !old.*", "old1") && !has("o.*,!old.*", "plain"));
        assert!(Topics::parse("!(").is_err());
    }

    #[test]
    fn what_a_refusal_names_leaves_out_just_that() {
        let option = without([&topic("a.b"), &topic("c")]);
        assert_eq!(option, "--topics '!a\\.b,!c'");
        let list = option.trim_start_matches("--topics '").trim_end_matches('\'').to_owned();
        let topics = Topics::parse(&list).unwrap();
        assert!(!topics.has(&topic("a.b")) && !topics.has(&topic("c")) && topics.has(&topic("a-b")));
    }
}
