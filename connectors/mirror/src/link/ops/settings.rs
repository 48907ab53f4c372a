//! Settings of topics go over before sites change places, so that the one that leads from then on has those of the one that led.
//!
//! Picture: while a link runs, the side that is copied to follows in rounds (`source::settings`). A way back lives for less than
//! one of them, and the site that comes home would bring its old settings with it, or none at all where it was set up anew.
//! Invariant: only settings that the link copies are touched, and only of topics that change places in this verb.

use std::collections::BTreeMap;

use twinstream_client::RawClient;
use twinstream_connect_api::ApiRefusal;
use twinstream_connect_api::error::trace_of;
use twinstream_model::TopicName;

use super::plan::Phase;
use super::{Operation, Side};
use crate::topics::{self, TopicsError};
use crate::words::counted;

/// Topics that are told by name.
const TOLD_MAX: usize = 20;

/// What is to be changed, by the topics' names there.
type Changes = BTreeMap<TopicName, Vec<(String, Option<String>)>>;

impl Operation<'_> {
    /// Brings the settings of topics in these phases over from the side that leads. Whether all of them are there now; what is not
    /// stands in the report. A dry run only tells.
    pub(super) async fn bring_settings(&mut self, from: Side, phases: &[Phase]) -> Result<bool, ApiRefusal> {
        let pairs = self.in_phase(phases).into_iter();
        let names: BTreeMap<TopicName, TopicName> = pairs
            .map(|pair| match from {
                Side::Source => (pair.source.clone(), pair.target.clone()),
                Side::Target => (pair.target.clone(), pair.source.clone()),
            })
            .collect();
        if names.is_empty() {
            return Ok(true);
        }
        if self.settings.config_sync.is_none() {
            self.report.step("settings of topics are not compared: sync.topic.configs.enabled=false");
            return Ok(true);
        }
        let (source, target) = (self.ends.source()?, &self.ends.target);
        let (leads, follows, alias) = match from {
            Side::Source => (source, target, self.ends.target_alias.clone()),
            Side::Target => (target, source, self.ends.source_alias.clone()),
        };
        let told = |cause: TopicsError| ApiRefusal::new(502, format!("settings of topics: {}", trace_of(&cause)));
        let (changes, mut left) = self.differences(leads, follows, &names).await.map_err(told)?;
        let is_dry = self.asked.dry_run;
        if !is_dry && !changes.is_empty() {
            let refused = topics::alter(follows, &changes).await.map_err(told)?;
            left.extend(refused.into_iter().map(|(topic, cause)| (topic, trace_of(&cause))));
        }
        let done: Vec<&TopicName> = changes.keys().filter(|topic| !left.contains_key(*topic)).collect();
        if !done.is_empty() {
            self.report.step(told_of(&alias, &done, &changes, is_dry));
        }
        let all = left.is_empty();
        let told = left.into_iter().map(|(topic, cause)| {
            format!("settings of topic {topic} of '{alias}' are not those of the side that leads: {cause}; mend that, and call again")
        });
        self.report.left.extend(told);
        Ok(all)
    }

    /// What differs, and the topics whose settings one side does not tell, with the reason.
    async fn differences(
        &self,
        leads: &RawClient,
        follows: &RawClient,
        names: &BTreeMap<TopicName, TopicName>,
    ) -> Result<(Changes, BTreeMap<TopicName, String>), TopicsError> {
        let excluded = &self.settings.properties_excluded;
        let theirs: Vec<TopicName> = names.keys().cloned().collect();
        let (wanted, unread) = topics::read_configs(leads, &theirs, Some(excluded)).await?;
        let mut left: BTreeMap<TopicName, String> = BTreeMap::new();
        for (topic, cause) in unread {
            left.extend(names.get(&topic).map(|there| (there.clone(), trace_of(&cause))));
        }
        let there: Vec<TopicName> = names.values().cloned().collect();
        let (present, unread) = topics::read_configs(follows, &there, None).await?;
        left.extend(unread.into_iter().map(|(topic, cause)| (topic, trace_of(&cause))));
        let mut changes = Changes::new();
        for (topic, there) in names {
            let (Some(wanted), Some(present)) = (wanted.get(topic), present.get(there)) else { continue };
            let steps = topics::difference(wanted, present, excluded);
            if !steps.is_empty() {
                changes.insert(there.clone(), steps);
            }
        }
        Ok((changes, left))
    }
}

fn told_of(alias: &str, topics: &[&TopicName], changes: &Changes, is_dry: bool) -> String {
    let of = |topic: &&TopicName| {
        let names = changes.get(*topic).into_iter().flatten().map(|(name, _)| name.as_str());
        format!("{topic} ({})", names.collect::<Vec<_>>().join(", "))
    };
    let told: Vec<String> = topics.iter().take(TOLD_MAX).map(of).collect();
    let more = topics.len() - told.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "settings of {} of '{alias}' {} those of the side that leads: {}{more}",
        counted(topics.len(), "topic"),
        if is_dry { "would become" } else { "are now" },
        told.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_change_are_told_by_name_and_of_many_topics_some() {
        let topics: Vec<TopicName> = (0..22).map(|index| TopicName::parse(&format!("t{index:02}")).unwrap()).collect();
        let steps = vec![("cleanup.policy".to_owned(), None), ("retention.ms".to_owned(), Some("-1".to_owned()))];
        let changes: Changes = topics.iter().map(|topic| (topic.clone(), steps.clone())).collect();
        let told = told_of("east", &topics.iter().collect::<Vec<_>>(), &changes, false);
        assert!(told.starts_with("settings of 22 topics of 'east' are now those"), "{told}");
        assert!(told.contains("t00 (cleanup.policy, retention.ms), t01") && told.ends_with(" and 2 more"), "{told}");
        assert!(told_of("east", &[&topics[0]], &changes, true).contains("1 topic of 'east' would become"));
    }
}
