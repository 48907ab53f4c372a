//! Rules about topics follow: who may read a topic at the source may read its copy, and who may not may not.
//!
//! Picture: every `sync.topic.acls.interval.seconds` both clusters are asked for all rules about topics; `rules` says which of them
//! the target should have and under what names, `plan` what is to be made and to be deleted, `note` keeps what was made.
//! Invariants: a look that fails changes nothing and is told once, as is a cluster without an authorizer, where there is
//! nothing to do; both are asked again with the next look. What is made is made before something is deleted. No trouble
//! here stops the copy of records. Nothing is deleted but what this sync made (`plan`), and that in `full` only.
//! Not here: rules about groups, clusters and transactional ids; a link that leads back (`twinstream.link.returns`) leaves the rules
//! of the original topics alone.

mod metrics; // what is counted
mod note; // what was made
mod plan; // from what is there to what should be
mod rules; // what should be there
pub(crate) mod settings; // keys

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{debug, info, warn};
use twinstream_client::raw::TopicAcl;
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_model::{ErrorCode, TopicName};

use self::metrics::AclMetrics;
use self::note::Note;
use self::plan::{Made, Plan, Sides, plan};
use self::rules::Naming;
use crate::config::Settings;
use crate::figures;
use crate::words::counted;

pub(crate) use self::metrics::collectors;
use self::rules::Extent;

/// How rules follow.
#[derive(Debug, Clone)]
pub(crate) struct AclSettings {
    every: Duration,
    extent: Extent,
    /// Where it is noted what was made.
    note_topic: TopicName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// Why a look came to nothing.
#[derive(Debug)]
enum Trouble {
    NoAuthorizer(Side),
    Failed { what: &'static str, cause: ClientError },
}

/// What became of a look that both clusters answered.
#[derive(Debug, Default)]
struct Done {
    made: usize,
    deleted: usize,
    /// Rules that the target did not let us make or delete.
    refused: BTreeMap<TopicAcl, ClientError>,
}

/// How the rules stand, as it was told last.
#[derive(Debug, Default, PartialEq, Eq)]
enum Stand {
    #[default]
    Unknown,
    InStep,
    NoAuthorizer(Side),
    /// A cluster is away; how exactly changes from look to look.
    Away,
    Failing(String),
}

pub(crate) struct AclSync {
    acls: AclSettings,
    settings: Settings,
    connector: String,
    source: RawClient,
    target: RawClient,
    note: Option<Note>,
    missed: BTreeSet<TopicAcl>,
    told: Stand,
    metrics: AclMetrics,
}

impl AclSync {
    pub(crate) fn new(
        acls: AclSettings,
        settings: &Settings,
        connector: &str,
        source: &RawClient,
        target: &RawClient,
    ) -> Self {
        Self {
            acls,
            settings: settings.clone(),
            connector: connector.to_owned(),
            source: source.clone(),
            target: target.clone(),
            note: None,
            missed: BTreeSet::new(),
            told: Stand::default(),
            metrics: AclMetrics::of(&settings.source_alias, &settings.target_alias),
        }
    }

    /// Looks again and again; `copied` are the topics that are copied by now.
    pub(crate) async fn run(mut self, copied: impl Fn() -> BTreeSet<TopicName>) {
        loop {
            let found = self.look(&copied()).await;
            self.tell(found);
            tokio::time::sleep(self.acls.every).await;
        }
    }

    async fn look(&mut self, copied: &BTreeSet<TopicName>) -> Result<Done, Trouble> {
        // Who answers is asked anew: what stands behind an address may have changed.
        self.source.refresh(&[]).await.map_err(failed("ask the source who it is"))?;
        let source = ask(&self.source, Side::Source).await?;
        let cluster = self.source.cluster_id();
        let present = ask(&self.target, Side::Target).await?;
        self.load().await.map_err(failed("read on the target what was made"))?;
        let Settings { policy, filter, target_alias, .. } = &self.settings;
        let naming = Naming { policy, filter, target_alias, extent: self.acls.extent };
        let (asked_for, justified) = (naming.asked_for(&source, copied), naming.justified(&source));
        let none = Made::new();
        let plan = plan(&Sides {
            asked_for: &asked_for,
            justified: &justified,
            present: &present,
            made: self.note.as_ref().map_or(&none, Note::made),
            cluster: cluster.as_deref(),
            missed: &self.missed,
        });
        self.apply(plan, cluster.as_deref()).await
    }

    async fn load(&mut self) -> Result<(), ClientError> {
        if self.acls.extent == Extent::Full && self.note.is_none() {
            let (target, topic) = (self.target.clone(), self.acls.note_topic.clone());
            self.note = Some(Note::load(target, topic, self.settings.syncs.replicas, &self.connector).await?);
        }
        Ok(())
    }

    async fn apply(&mut self, plan: Plan, cluster: Option<&str>) -> Result<Done, Trouble> {
        let mut done = Done::default();
        self.missed = plan.missed;
        let made = self.target.create_topic_acls(&plan.create).await;
        for (rule, result) in made.map_err(failed("make rules on the target"))? {
            match result {
                Ok(()) => {
                    debug!(connector = self.connector, %rule, "rule made on the target");
                    done.made += 1;
                    // A source without an id could not be told from another one later: its rules stay.
                    if let (Some(note), Some(cluster)) = (&mut self.note, cluster) {
                        note.add(rule, cluster);
                    }
                }
                Err(cause) => _ = done.refused.insert(rule, cause),
            }
        }
        let written = self.write_note().await;
        let deleted = self.target.delete_topic_acls(&plan.delete).await;
        for (rule, result) in deleted.map_err(failed("delete rules on the target"))? {
            match result {
                Ok(()) => {
                    info!(connector = self.connector, %rule, "rule deleted on the target: this link made it, and the source has it no more");
                    done.deleted += 1;
                    self.strike(rule);
                }
                Err(cause) => _ = done.refused.insert(rule, cause),
            }
        }
        plan.forget.into_iter().for_each(|rule| self.strike(rule));
        self.metrics.changed(done.made, done.deleted);
        if done.made > 0 {
            info!(connector = self.connector, rules = done.made, "rules about topics made on the target");
        }
        written.and(self.write_note().await).map_err(failed("note on the target what was made"))?;
        Ok(done)
    }

    fn strike(&mut self, rule: TopicAcl) {
        if let Some(note) = &mut self.note {
            note.strike(rule);
        }
    }

    async fn write_note(&mut self) -> Result<(), ClientError> {
        match &mut self.note {
            Some(note) => note.write().await,
            None => Ok(()),
        }
    }

    /// Says how the rules stand when that has changed.
    fn tell(&mut self, found: Result<Done, Trouble>) {
        let Settings { source_alias, target_alias, .. } = &self.settings;
        let (stand, text) = stand(found, source_alias, target_alias);
        figures::link(source_alias, target_alias).acls_stand(&text);
        let is_failing = matches!(stand, Stand::Away | Stand::Failing(_));
        self.metrics.failing(is_failing);
        if stand == self.told {
            return;
        }
        let connector = &self.connector;
        match &stand {
            Stand::Away | Stand::Failing(_) => warn!(connector, "ACLs are not in step, which is tried again: {text}"),
            Stand::NoAuthorizer(_) => info!(connector, "ACLs are not copied: {text}"),
            // The first time it is what everybody expects.
            Stand::InStep if self.told == Stand::Unknown => debug!(connector, "ACLs are in step"),
            Stand::InStep | Stand::Unknown => info!(connector, "ACLs are in step again"),
        }
        self.told = stand;
    }
}

/// What is shown of a look.
fn stand(found: Result<Done, Trouble>, source_alias: &str, target_alias: &str) -> (Stand, String) {
    match found {
        Ok(done) => match done.refused.first_key_value() {
            None => (Stand::InStep, "in step".to_owned()),
            Some((_, cause)) => {
                let (rules, hint) = (counted(done.refused.len(), "rule"), hint(cause, "ALTER"));
                let text = format!("the target refuses {rules}, as this one: {}{hint}", trace_of(cause));
                (Stand::Failing(text.clone()), text)
            }
        },
        Err(Trouble::NoAuthorizer(side)) => {
            let text = match side {
                Side::Source => format!("source cluster '{source_alias}' has no authorizer"),
                Side::Target => format!("target cluster '{target_alias}' has no authorizer"),
            };
            (Stand::NoAuthorizer(side), text)
        }
        Err(Trouble::Failed { what, cause }) => {
            let text = format!("{what}: {}{}", trace_of(&cause), hint(&cause, "DESCRIBE"));
            let stand = if cause.is_retriable() { Stand::Away } else { Stand::Failing(text.clone()) };
            (stand, text)
        }
    }
}

/// The way out where a right is missing.
fn hint(cause: &ClientError, right: &str) -> String {
    match cause.code() {
        Some(ErrorCode::ClusterAuthorizationFailed) => {
            format!("; give the link's user {right} on that cluster, or set sync.topic.acls.enabled=false")
        }
        _ => String::new(),
    }
}

async fn ask(client: &RawClient, side: Side) -> Result<BTreeSet<TopicAcl>, Trouble> {
    let what = match side {
        Side::Source => "list ACLs of the source",
        Side::Target => "list ACLs of the target",
    };
    client.topic_acls().await.map_err(|cause| match cause.code() {
        Some(ErrorCode::SecurityDisabled) => Trouble::NoAuthorizer(side),
        _ => Trouble::Failed { what, cause },
    })
}

fn failed(what: &'static str) -> impl FnOnce(ClientError) -> Trouble {
    move |cause| Trouble::Failed { what, cause }
}

#[cfg(test)]
mod tests;
