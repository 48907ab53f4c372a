//! Rules as texts: `ALLOW READ alice LITERAL orders`.

use std::collections::BTreeSet;

use twinstream_client::raw::{AclOperation, AclPattern, AclPermission, TopicAcl};

use super::*;

pub(super) fn rule(text: &str) -> TopicAcl {
    let parts: Vec<&str> = text.split(' ').collect();
    let [permission, operation, user, pattern, name] = parts[..] else { panic!("five words: {text}") };
    TopicAcl {
        pattern: AclPattern::parse(pattern).unwrap(),
        name: name.to_owned(),
        principal: format!("User:{user}"),
        host: "*".to_owned(),
        operation: AclOperation::parse(operation).unwrap(),
        permission: AclPermission::parse(permission).unwrap(),
    }
}

pub(super) fn rules(texts: &[&str]) -> BTreeSet<TopicAcl> {
    texts.iter().map(|text| rule(text)).collect()
}

pub(super) fn short(rule: &TopicAcl) -> String {
    let user = rule.principal.strip_prefix("User:").unwrap();
    let (permission, operation) = (rule.permission.name(), rule.operation.name());
    format!("{permission} {operation} {user} {} {}", rule.pattern.name(), rule.name)
}

fn shown(found: Result<Done, Trouble>) -> (Stand, String) {
    stand(found, "east", "west")
}

fn listed(code: ErrorCode) -> Trouble {
    Trouble::Failed { what: "list ACLs of the source", cause: ClientError::broker("list ACLs", code) }
}

#[test]
fn a_missing_right_is_told_with_the_way_out_and_other_trouble_without() {
    let (stand, text) = shown(Err(listed(ErrorCode::ClusterAuthorizationFailed)));
    assert_eq!(stand, Stand::Failing(text.clone()));
    assert!(text.contains("CLUSTER_AUTHORIZATION_FAILED") && text.contains("user DESCRIBE on that"), "{text}");
    let refused = ClientError::broker("make ACL (it)", ErrorCode::ClusterAuthorizationFailed);
    let done = Done { refused: [(rule("ALLOW READ alice LITERAL a"), refused)].into(), ..Done::default() };
    let text = shown(Ok(done)).1;
    assert!(text.contains("refuses 1 rule,") && text.contains("make ACL (it)") && text.contains("ALTER"), "{text}");
    assert!(!shown(Err(listed(ErrorCode::InvalidRequest))).1.contains("give"));
}

#[test]
fn a_cluster_without_authorizer_is_no_failure_and_one_that_is_away_is_told_once() {
    let (stand, text) = shown(Err(Trouble::NoAuthorizer(Side::Target)));
    assert_eq!((stand, text.as_str()), (Stand::NoAuthorizer(Side::Target), "target cluster 'west' has no authorizer"));
    let away = |after| {
        let cause = ClientError::Timeout { what: "list ACLs".to_owned(), after };
        shown(Err(Trouble::Failed { what: "list ACLs of the source", cause }))
    };
    let (first, second) = (away(Duration::from_secs(1)), away(Duration::from_secs(2)));
    assert!(first.0 == second.0 && first.1 != second.1, "no news, though the words differ");
    assert_eq!(shown(Ok(Done::default())).0, Stand::InStep);
}

#[test]
fn rules_follow_by_default_as_mirror_makers_and_quotas_when_that_is_wished() {
    let settings = |extra: &[(&str, &str)]| Settings::parse(&crate::tests::east_to_west(extra)).unwrap();
    let by_default = settings(&[]);
    let acls = by_default.acls.unwrap();
    assert_eq!((acls.every, acls.extent), (Duration::from_secs(5), Extent::Topics));
    assert_eq!((acls.note_topic.as_str(), by_default.quota_sync), ("mm2-acls.east.internal", None));
    assert_eq!(settings(&[("twinstream.sync.acls", "full")]).acls.unwrap().extent, Extent::Full);
    for off in [
        ("sync.topic.acls.enabled", "false"),
        ("sync.topic.acls.interval.seconds", "0"),
        ("twinstream.link.returns", "true"),
    ] {
        assert!(settings(&[off]).acls.is_none(), "{off:?}");
    }
    let quotas = ("twinstream.sync.quotas.enabled", "true");
    assert_eq!(settings(&[quotas]).quota_sync, Some(Duration::from_secs(5)));
    assert_eq!(settings(&[quotas, ("twinstream.link.returns", "true")]).quota_sync, None);
    let refused =
        Settings::parse(&crate::tests::east_to_west(&[("twinstream.sync.acls", "all")])).unwrap_err().to_string();
    assert!(refused.contains("full"), "{refused}");
}
