//! `twinstream acl|user|quota`: who may do what, and how much of it, as far as a cluster tells.
//!
//! Not here: changing them. A cluster without an authorizer answers that security is off, which is told as such.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use twinstream_client::ClientError;
use twinstream_client::raw::kafka_protocol::messages::{DescribeAclsRequest, DescribeUserScramCredentialsRequest};
use twinstream_client::raw::{AclOperation, Node, entity_text};
use twinstream_model::ErrorCode;

use crate::admin::check;
use crate::arguments::{Cluster, OutputFormat};
use crate::bootstrap::{admin, block_on, failed};
use crate::failure::Failure;
use crate::output;

/// Names by Kafka's numbers.
const RESOURCES: [&str; 8] =
    ["unknown", "any", "topic", "group", "cluster", "transactional-id", "delegation-token", "user"];
const PATTERNS: [&str; 5] = ["unknown", "any", "match", "literal", "prefixed"];
const PERMISSIONS: [&str; 4] = ["unknown", "any", "deny", "allow"];
const MECHANISMS: [&str; 3] = ["unknown", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const ANY: i8 = 1;

#[derive(Debug, Subcommand)]
pub(crate) enum Acl {
    /// List access rules of all kinds of resources.
    List {
        /// Only those of this principal, as User:NAME.
        #[arg(long, value_name = "PRINCIPAL")]
        principal: Option<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// List users with the kinds of their SCRAM credentials.
    List(Asked),
    /// Show the credentials of users; passwords are not told.
    Describe {
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Quota {
    /// List users, client ids and addresses with their quotas.
    List(Asked),
    /// Show the quotas of entities whose name contains this text.
    Describe {
        name: String,
        #[command(flatten)]
        cluster: Cluster,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    cluster: Cluster,
}

fn named(names: &[&'static str], number: i8) -> &'static str {
    usize::try_from(number).ok().and_then(|index| names.get(index)).copied().unwrap_or("unknown")
}

#[derive(Serialize)]
struct Rule {
    resource: &'static str,
    name: String,
    pattern: &'static str,
    principal: String,
    host: String,
    operation: &'static str,
    permission: &'static str,
}

pub(crate) fn acl(command: Acl, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        let Acl::List { principal, cluster } = command;
        let admin = admin(&cluster).await?;
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(ANY)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(ANY)
            .with_principal_filter(principal.map(crate::admin::text))
            .with_host_filter(None)
            .with_operation(ANY)
            .with_permission_type(ANY);
        let lost = |error: ClientError| match error.code() {
            Some(ErrorCode::SecurityDisabled) => failed(&cluster, &error)
                .next("there are no rules without an authorizer; every client may do everything"),
            _ => failed(&cluster, &error),
        };
        let answer = admin.raw().request(Node::Any, &request).await.map_err(lost)?;
        check(|| "list ACLs".to_owned(), answer.error_code, answer.error_message.as_ref()).map_err(lost)?;
        let rows: Vec<Rule> = answer
            .resources
            .iter()
            .flat_map(|resource| resource.acls.iter().map(move |acl| (resource, acl)))
            .map(|(resource, acl)| Rule {
                resource: named(&RESOURCES, resource.resource_type),
                name: resource.resource_name.to_string(),
                pattern: named(&PATTERNS, resource.pattern_type),
                principal: acl.principal.to_string(),
                host: acl.host.to_string(),
                operation: AclOperation::of(acl.operation).map_or("unknown", AclOperation::name),
                permission: named(&PERMISSIONS, acl.permission_type),
            })
            .collect();
        let columns = ["principal", "permission", "operation", "resource", "name", "pattern", "+host"];
        output::listing(format, &rows, &columns, |row| {
            let words = [row.permission, row.operation, row.resource].map(str::to_owned).to_vec();
            let named = vec![row.name.clone(), row.pattern.to_owned(), row.host.clone()];
            [vec![row.principal.clone()], words, named].concat()
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

#[derive(Serialize)]
struct Credential {
    user: String,
    mechanism: &'static str,
    iterations: i32,
}

pub(crate) fn user(command: User, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        let (names, cluster) = match command {
            User::List(asked) => (Vec::new(), asked.cluster),
            User::Describe { names, cluster } => (names, cluster),
        };
        let admin = admin(&cluster).await?;
        // All are asked for, so that a name that is not there can be told from one that is nearly right.
        let request = DescribeUserScramCredentialsRequest::default().with_users(None);
        let answer = admin.raw().request(Node::Any, &request).await.map_err(|error| failed(&cluster, &error))?;
        let checked = check(|| "list users".to_owned(), answer.error_code, answer.error_message.as_ref());
        checked.map_err(|error| failed(&cluster, &error))?;
        let mut rows = Vec::new();
        for found in &answer.results {
            rows.extend(found.credential_infos.iter().map(|info| Credential {
                user: found.user.to_string(),
                mechanism: named(&MECHANISMS, info.mechanism),
                iterations: info.iterations,
            }));
        }
        if let Some(missing) = names.iter().find(|name| !rows.iter().any(|row| row.user == **name)) {
            return Err(Failure::not_found(format!("user {missing} has no SCRAM credentials"))
                .did_you_mean(missing, rows.iter().map(|row| &row.user))
                .next("`twinstream user list`"));
        }
        rows.retain(|row| names.is_empty() || names.contains(&row.user));
        output::listing(format, &rows, &["user", "mechanism", "iterations"], |row| {
            vec![row.user.clone(), row.mechanism.to_owned(), row.iterations.to_string()]
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) fn quota(command: Quota, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        let (part, cluster) = match command {
            Quota::List(asked) => (String::new(), asked.cluster),
            Quota::Describe { name, cluster } => (name, cluster),
        };
        let quotas = admin(&cluster).await?.raw().client_quotas().await.map_err(|error| failed(&cluster, &error))?;
        let known: Vec<String> = quotas.keys().map(entity_text).collect();
        let rows: Vec<_> = quotas
            .iter()
            .filter(|(entity, _)| entity_text(entity).contains(&part))
            .flat_map(|(entity, values)| {
                let object = |(key, value): (&String, &f64)| {
                    json!({"entity": entity_text(entity), "parts": entity, "quota": key, "value": value})
                };
                values.iter().map(object).collect::<Vec<_>>()
            })
            .collect();
        if rows.is_empty() && !part.is_empty() {
            return Err(Failure::not_found(format!("no entity with {part} has quotas"))
                .did_you_mean(&part, known)
                .next("`twinstream quota list`"));
        }
        output::listing(format, &rows, &["entity", "quota", "value"], |row| {
            ["entity", "quota", "value"].map(|name| crate::link::word(&row[name])).to_vec()
        })?;
        Ok(ExitCode::SUCCESS)
    })
}
