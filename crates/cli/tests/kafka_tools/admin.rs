//! The tools of features, quotas, credentials, ACLs, and of configs of groups and client metrics.

use super::bench::Bench;

const CONFIGS: &str = "kafka.admin.ConfigCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const CLIENT_METRICS: &str = "org.apache.kafka.tools.ClientMetricsCommand";

/// Lines of `kafka-configs --describe`.
fn described(bench: &Bench, arguments: &[&str]) -> Vec<String> {
    let text = bench.text(CONFIGS, &[&["--describe"], arguments].concat());
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn alter(bench: &Bench, arguments: &[&str]) -> String {
    bench.text(CONFIGS, &[&["--alter"], arguments].concat()).trim().to_owned()
}

/// What the tool says when the cluster refuses.
fn refused(bench: &Bench, class: &str, arguments: &[&str]) -> String {
    let (success, said) = bench.outcome(class, arguments);
    assert!(!success || said.contains("Error while"), "{arguments:?} was not refused: {said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feature_command_shows_the_levels_and_refuses_what_is_not_served() {
    let bench = Bench::start(1).await;
    let text = bench.text(FEATURES, &["describe"]);
    let levels: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Feature: ")?.split_once("SupportedMinVersion")?;
            Some((name.trim(), rest.split("FinalizedVersionLevel: ").nth(1)?.split_whitespace().next()?))
        })
        .collect();
    for wanted in [("metadata.version", "4.3-IV0"), ("kraft.version", "1"), ("eligible.leader.replicas.version", "1")] {
        assert!(levels.contains(&wanted), "{wanted:?} is not in\n{text}");
    }
    let upgrade = ["upgrade", "--feature", "share.version=1"];
    let (_, said) = bench.outcome(FEATURES, &upgrade);
    let reason =
        "Invalid update version 1 for feature share.version. Local controller 1 does not support this feature.";
    assert!(said.contains(reason), "{said}");
    let (_, said) = bench.outcome(FEATURES, &["upgrade", "--feature", "metadata.version=30"]);
    assert!(said.contains("metadata.version was upgraded to 30."), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_command_keeps_quotas_of_users_clients_and_addresses() {
    let bench = Bench::start(3).await;
    let alice = ["--entity-type", "users", "--entity-name", "alice"];
    let both = ["--entity-type", "clients", "--entity-name", "app"];
    let rates = ["--add-config", "producer_byte_rate=1000,consumer_byte_rate=2000"];
    assert_eq!(alter(&bench, &[&alice[..], &rates].concat()), "Completed updating config for user alice.");
    alter(&bench, &["--entity-type", "users", "--entity-default", "--add-config", "request_percentage=50"]);
    alter(&bench, &[&alice[..], &both, &["--add-config", "controller_mutation_rate=5"]].concat());
    let address = ["--entity-type", "ips", "--entity-name", "127.0.0.1"];
    alter(&bench, &[&address[..], &["--add-config", "connection_creation_rate=10"]].concat());
    assert_eq!(
        described(&bench, &["--entity-type", "users"]),
        [
            "Quota configs for the default user-principal are request_percentage=50.0",
            "Quota configs for user-principal 'alice' are consumer_byte_rate=2000.0, producer_byte_rate=1000.0",
        ]
    );
    assert_eq!(
        described(&bench, &["--entity-type", "users", "--entity-type", "clients"]),
        ["Quota configs for user-principal 'alice', client-id 'app' are controller_mutation_rate=5.0"]
    );
    assert_eq!(
        described(&bench, &["--entity-type", "ips"]),
        ["Quota configs for ip '127.0.0.1' are connection_creation_rate=10.0"]
    );
    let zero = [&["--alter"], &alice[..], &["--add-config", "producer_byte_rate=0"]].concat();
    let said = refused(&bench, CONFIGS, &zero);
    assert!(said.contains("Quota producer_byte_rate must be greater than 0"), "{said}");
    alter(&bench, &[&alice[..], &["--delete-config", "producer_byte_rate"]].concat());
    assert_eq!(described(&bench, &alice), ["Quota configs for user-principal 'alice' are consumer_byte_rate=2000.0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_command_keeps_credentials_and_acl_command_hears_that_there_is_no_authorizer() {
    let bench = Bench::start(1).await;
    let bob = ["--entity-type", "users", "--entity-name", "bob"];
    alter(&bench, &[&bob[..], &["--add-config", "SCRAM-SHA-512=[iterations=8192,password=secret]"]].concat());
    assert_eq!(
        described(&bench, &bob),
        ["SCRAM credential configs for user-principal 'bob' are SCRAM-SHA-512=iterations=8192"]
    );
    let other = [&["--alter"], &bob[..], &["--delete-config", "SCRAM-SHA-256"]].concat();
    let said = refused(&bench, CONFIGS, &other);
    assert!(said.contains("Attempt to delete a user credential that does not exist"), "{said}");
    alter(&bench, &[&bob[..], &["--delete-config", "SCRAM-SHA-512"]].concat());
    assert!(described(&bench, &bob).is_empty());
    let said = refused(&bench, ACLS, &["--list"]);
    assert!(said.contains("SecurityDisabledException: No Authorizer is configured on the broker"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_command_keeps_configs_of_groups_and_of_client_metrics() {
    let bench = Bench::start(1).await;
    let group = ["--entity-type", "groups", "--entity-name", "readers"];
    alter(&bench, &[&group[..], &["--add-config", "consumer.session.timeout.ms=50000"]].concat());
    let session = "consumer.session.timeout.ms=50000 sensitive=false synonyms={DYNAMIC_GROUP_CONFIG:\
                   consumer.session.timeout.ms=50000, DEFAULT_CONFIG:group.consumer.session.timeout.ms=45000}";
    let expected = ["Dynamic configs for group readers are:", session];
    assert_eq!(described(&bench, &["--entity-type", "groups"]), expected, "found without a name");
    let far = [&["--alter"], &group[..], &["--add-config", "consumer.session.timeout.ms=70000"]].concat();
    let said = refused(&bench, CONFIGS, &far);
    let bound = "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms";
    assert!(said.contains(bound), "{said}");

    let metrics = ["--entity-type", "client-metrics", "--entity-name", "basic"];
    let pushed = ["--add-config", "metrics=[org.apache.kafka.producer.,org.apache.kafka.consumer.],interval.ms=5000"];
    assert_eq!(alter(&bench, &[&metrics[..], &pushed].concat()), "Completed updating config for client-metric basic.");
    let text = bench.text(CLIENT_METRICS, &["--describe"]);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let list = "metrics=org.apache.kafka.producer.,org.apache.kafka.consumer.";
    assert_eq!(lines, ["Client metrics configs for basic are:", "interval.ms=5000", "match=", list]);
    bench.text(CLIENT_METRICS, &["--delete", "--name", "basic"]);
    assert_eq!(bench.text(CLIENT_METRICS, &["--list"]).trim(), "");
}
