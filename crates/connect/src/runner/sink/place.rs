//! A sink task's place in the group `connect-<connector>`.
//!
//! The consumer is a *static* member: a task that comes back after a crash of the worker takes the place of its dead
//! predecessor at once, instead of waiting until the session of that one ends (45 s by default). The price is that such
//! a consumer does not leave by itself, so an orderly end says goodbye for it, and its partitions move on at once.

use std::time::Duration;

use twinstream_client::{ClientError, ClientSettings, Consumer, RawClient};
use twinstream_connect_api::TaskError;
use twinstream_model::GroupId;

use crate::group::{instance_id, leave_group};
use crate::runner::{Shared, TaskSpec};
use crate::settings::Role;
use crate::state::TaskId;

const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// What it takes to leave.
pub(super) struct Place {
    settings: ClientSettings,
}

impl Place {
    pub(super) async fn leave(self, id: &TaskId) {
        let left = match tokio::time::timeout(LEAVE_WITHIN, self.try_leave()).await {
            Ok(left) => left,
            Err(_) => Err(ClientError::Timeout { what: "leave the group".to_owned(), after: LEAVE_WITHIN }),
        };
        if let Err(error) = left {
            tracing::warn!(task = %id, %error, "consumer did not leave its group, its partitions move on with its session");
        }
    }

    async fn try_leave(&self) -> Result<(), ClientError> {
        let (Some(group), Some(instance)) = (self.settings.get("group.id"), self.settings.get("group.instance.id"))
        else {
            return Ok(());
        };
        let client = RawClient::connect(&self.settings).await?;
        leave_group(&client, &GroupId::from(group), "", instance).await
    }
}

/// Joins the connector's group with the subscription of its configuration.
pub(super) async fn join(shared: &Shared, spec: &TaskSpec) -> Result<(Consumer, Place), TaskError> {
    let failed = |what: &str| TaskError::fatal(what.to_owned());
    let client_id = format!("connector-consumer-{}", spec.id);
    let group = format!("connect-{}", spec.id.connector);
    let instance = instance_id(&[shared.settings.group_id(), &spec.id.connector, &spec.id.task.to_string()]);
    let own = [("client.id", &client_id), ("group.id", &group), ("group.instance.id", &instance)];
    let own = own.into_iter().map(|(name, value)| (name, value.as_str()));
    let settings = shared.settings.client(Role::Consumer, own.chain(spec.client_overrides("consumer.override.")));
    let mut settings = settings.map_err(|error| failed("consumer settings").caused_by(error))?;
    for (name, value) in [("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")] {
        settings.set_default(name, value).map_err(|error| failed("consumer settings").caused_by(error))?;
    }
    let consumer = Consumer::connect(&settings).await;
    let consumer = consumer.map_err(|error| failed("cannot reach the cluster to consume from").caused_by(error))?;
    let topics = subscription(spec);
    consumer.subscribe(&topics).await.map_err(|error| failed("cannot subscribe").caused_by(error))?;
    Ok((consumer, Place { settings }))
}

/// Names as they are; a pattern as Java means it, matching whole names.
fn subscription(spec: &TaskSpec) -> Vec<String> {
    let names = spec.setting("topics").unwrap_or_default();
    let names: Vec<String> = names.split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    match spec.setting("topics.regex") {
        Some(pattern) if names.is_empty() => {
            let inner = pattern.strip_prefix('^').unwrap_or(pattern);
            let inner = inner.strip_suffix('$').unwrap_or(inner);
            vec![format!("^({inner})$")]
        }
        _ => names,
    }
}
