//! ACLs of topics: listed, made, deleted (DescribeAcls, CreateAcls, DeleteAcls).
//!
//! A rule is a value: Kafka has no ids for them, so making one that is there changes nothing, and two that are equal are one.
//! A cluster without an authorizer answers SECURITY_DISABLED. Listing needs DESCRIBE on the cluster, changing needs ALTER.
//! Left out of lists: rules with a kind of pattern or permission that Kafka did not have when this was written.
//! Bounds: one request makes or deletes at most [`RULES_AT_ONCE`] rules.

use std::collections::BTreeSet;
use std::fmt;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::ErrorCode;

use super::{Node, RawClient};
use crate::error::ClientError;

/// Kafka's controller takes 10,000 records in one go.
const RULES_AT_ONCE: usize = 500;

/// Numbers of Kafka's ResourceType, PatternType, AclOperation and AclPermissionType.
const TOPIC: i8 = 2;
const ANY: i8 = 1;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const DENY: i8 = 2;
const ALLOW: i8 = 3;
/// Names of operations, from number 2 on.
const OPERATIONS: [&str; 14] = [
    "ALL",
    "READ",
    "WRITE",
    "CREATE",
    "DELETE",
    "ALTER",
    "DESCRIBE",
    "CLUSTER_ACTION",
    "DESCRIBE_CONFIGS",
    "ALTER_CONFIGS",
    "IDEMPOTENT_WRITE",
    "CREATE_TOKENS",
    "DESCRIBE_TOKENS",
    "TWO_PHASE_COMMIT",
];

/// What the name of a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AclPattern {
    /// One topic; `*` is every one.
    Literal,
    /// What the names of topics begin with.
    Prefixed,
}

impl AclPattern {
    pub fn name(self) -> &'static str {
        match self {
            Self::Literal => "LITERAL",
            Self::Prefixed => "PREFIXED",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Literal, Self::Prefixed].into_iter().find(|pattern| pattern.name() == name)
    }

    fn number(self) -> i8 {
        match self {
            Self::Literal => LITERAL,
            Self::Prefixed => PREFIXED,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AclPermission {
    Deny,
    Allow,
}

impl AclPermission {
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "DENY",
            Self::Allow => "ALLOW",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Deny, Self::Allow].into_iter().find(|permission| permission.name() == name)
    }

    fn number(self) -> i8 {
        match self {
            Self::Deny => DENY,
            Self::Allow => ALLOW,
        }
    }
}

/// What a rule is about, by Kafka's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclOperation(i8);

impl AclOperation {
    pub const ALL: Self = Self(2);
    pub const READ: Self = Self(3);
    pub const WRITE: Self = Self(4);
    pub const DESCRIBE: Self = Self(8);

    /// `None` for a number that Kafka did not have when this was written.
    pub fn of(number: i8) -> Option<Self> {
        usize::try_from(number).ok()?.checked_sub(2).filter(|index| *index < OPERATIONS.len()).map(|_| Self(number))
    }

    pub fn name(self) -> &'static str {
        let index = usize::try_from(self.0).ok().and_then(|number| number.checked_sub(2));
        index.and_then(|index| OPERATIONS.get(index)).copied().unwrap_or("UNKNOWN")
    }

    pub fn parse(name: &str) -> Option<Self> {
        let index = OPERATIONS.iter().position(|known| *known == name)?;
        i8::try_from(index + 2).ok().map(Self)
    }
}

/// One rule about topics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicAcl {
    pub pattern: AclPattern,
    pub name: String,
    /// `User:alice`.
    pub principal: String,
    /// `*` is every one.
    pub host: String,
    pub operation: AclOperation,
    pub permission: AclPermission,
}

impl fmt::Display for TopicAcl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (permission, operation) = (self.permission.name(), self.operation.name());
        let Self { principal, host, name, .. } = self;
        write!(f, "{permission} {operation} to {principal} from {host} on {} topic {name}", self.pattern.name())
    }
}

/// What became of each rule.
pub type AclResults = Vec<(TopicAcl, Result<(), ClientError>)>;

impl RawClient {
    /// All rules about topics. Asked once.
    pub async fn topic_acls(&self) -> Result<BTreeSet<TopicAcl>, ClientError> {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(TOPIC)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(ANY)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(ANY)
            .with_permission_type(ANY);
        let answer = self.request(Node::Any, &request).await?;
        ClientError::check(|| "list ACLs".to_owned(), answer.error_code, answer.error_message.as_deref())?;
        let mut rules = BTreeSet::new();
        for resource in answer.resources.iter().filter(|resource| resource.resource_type == TOPIC) {
            let pattern = [AclPattern::Literal, AclPattern::Prefixed];
            let Some(pattern) = pattern.into_iter().find(|pattern| pattern.number() == resource.pattern_type) else {
                continue;
            };
            for acl in &resource.acls {
                let permission = [AclPermission::Deny, AclPermission::Allow];
                let permission = permission.into_iter().find(|permission| permission.number() == acl.permission_type);
                let (Some(permission), Some(operation)) = (permission, AclOperation::of(acl.operation)) else {
                    continue;
                };
                rules.insert(TopicAcl {
                    pattern,
                    name: resource.resource_name.to_string(),
                    principal: acl.principal.to_string(),
                    host: acl.host.to_string(),
                    operation,
                    permission,
                });
            }
        }
        Ok(rules)
    }

    /// Makes rules through the controller. Each has its own result. When the call fails as a whole some may be there.
    pub async fn create_topic_acls(&self, rules: &[TopicAcl]) -> Result<AclResults, ClientError> {
        let mut results = AclResults::new();
        for some in rules.chunks(RULES_AT_ONCE) {
            let request = CreateAclsRequest::default().with_creations(some.iter().map(creation).collect());
            let answer = self.to_controller(&request).await?;
            let mut told = answer.results.iter();
            for rule in some {
                let result = told.next().map(|result| (result.error_code, result.error_message.as_deref()));
                results.push((rule.clone(), result_of("make ACL", rule, result)));
            }
        }
        Ok(results)
    }

    /// Deletes exactly these rules through the controller; one that is not there is no error. Each has its own result. When the
    /// call fails as a whole some may be gone.
    pub async fn delete_topic_acls(&self, rules: &[TopicAcl]) -> Result<AclResults, ClientError> {
        let mut results = AclResults::new();
        for some in rules.chunks(RULES_AT_ONCE) {
            let request = DeleteAclsRequest::default().with_filters(some.iter().map(exactly).collect());
            let answer = self.to_controller(&request).await?;
            let mut told = answer.filter_results.iter();
            for rule in some {
                let result = told.next().map(|result| {
                    let failed = result.matching_acls.iter().find(|acl| acl.error_code != 0);
                    let failed = failed.map(|acl| (acl.error_code, acl.error_message.as_deref()));
                    let whole = (result.error_code, result.error_message.as_deref());
                    failed.filter(|_| whole.0 == 0).unwrap_or(whole)
                });
                results.push((rule.clone(), result_of("delete ACL", rule, result)));
            }
        }
        Ok(results)
    }
}

fn result_of(what: &str, rule: &TopicAcl, told: Option<(i16, Option<&str>)>) -> Result<(), ClientError> {
    let what = || format!("{what} ({rule})");
    match told {
        Some((code, message)) => ClientError::check(what, code, message),
        None => Err(ClientError::broker(what(), ErrorCode::UnknownServerError)),
    }
}

fn creation(rule: &TopicAcl) -> AclCreation {
    AclCreation::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(&rule.name))
        .with_resource_pattern_type(rule.pattern.number())
        .with_principal(text(&rule.principal))
        .with_host(text(&rule.host))
        .with_operation(rule.operation.0)
        .with_permission_type(rule.permission.number())
}

fn exactly(rule: &TopicAcl) -> DeleteAclsFilter {
    DeleteAclsFilter::default()
        .with_resource_type_filter(TOPIC)
        .with_resource_name_filter(Some(text(&rule.name)))
        .with_pattern_type_filter(rule.pattern.number())
        .with_principal_filter(Some(text(&rule.principal)))
        .with_host_filter(Some(text(&rule.host)))
        .with_operation(rule.operation.0)
        .with_permission_type(rule.permission.number())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_kafkas_numbers_and_names() {
        for (operation, name) in [
            (AclOperation::ALL, "ALL"),
            (AclOperation::READ, "READ"),
            (AclOperation::WRITE, "WRITE"),
            (AclOperation::DESCRIBE, "DESCRIBE"),
        ] {
            assert_eq!((operation.name(), AclOperation::parse(name)), (name, Some(operation)));
        }
        assert_eq!(AclOperation::of(15).map(AclOperation::name), Some("TWO_PHASE_COMMIT"));
        let others = [i8::MIN, -1, 0, 1, 16, i8::MAX];
        assert!(others.into_iter().all(|number| AclOperation::of(number).is_none()));
        assert_eq!(AclOperation::parse("ANY"), None, "no rule is about that");
    }

    #[test]
    fn a_filter_matches_one_rule_and_no_other() {
        let rule = TopicAcl {
            pattern: AclPattern::Prefixed,
            name: "a".to_owned(),
            principal: "User:b".to_owned(),
            host: "*".to_owned(),
            operation: AclOperation::READ,
            permission: AclPermission::Deny,
        };
        let (made, filter) = (creation(&rule), exactly(&rule));
        assert_eq!((made.resource_type, made.resource_pattern_type), (2, 4));
        assert_eq!((filter.resource_type_filter, filter.pattern_type_filter), (2, 4), "no MATCH (2) and no ANY (1)");
        assert_eq!((filter.operation, filter.permission_type), (made.operation, made.permission_type));
        let names = [&filter.resource_name_filter, &filter.principal_filter, &filter.host_filter];
        assert!(names.into_iter().all(Option::is_some), "none of them is left open");
    }

    #[test]
    fn a_rule_that_the_answer_leaves_out_is_no_success() {
        let rule = TopicAcl {
            pattern: AclPattern::Literal,
            name: "a".to_owned(),
            principal: "User:b".to_owned(),
            host: "*".to_owned(),
            operation: AclOperation::READ,
            permission: AclPermission::Allow,
        };
        assert!(result_of("make ACL", &rule, Some((0, None))).is_ok());
        let error = result_of("make ACL", &rule, None).unwrap_err();
        assert!(error.to_string().contains("ALLOW READ to User:b from * on LITERAL topic a"), "{error}");
    }
}
