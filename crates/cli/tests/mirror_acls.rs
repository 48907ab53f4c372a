//! Rules about topics follow between two clusters of Apache Kafka with its authorizer, where `kafka-acls` is the judge of both sides; quotas follow between ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use twinstream_client::RawClient;
use twinstream_client::raw::{QuotaEntity, Quotas};
use twinstream_testkit::peer::KafkaTools;
use twinstream_testkit::{Cluster, Folder, Worker, WorkerOptions, peer, records, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const WITH_RULES: [(&str, &str); 2] = [
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS"),
];

/// One cluster, as `kafka-acls` sees it. Rules are texts: `ALLOW READ alice LITERAL orders`.
struct Rules<'a> {
    tools: &'a Mutex<KafkaTools>,
    bootstrap: String,
}

impl Rules<'_> {
    fn run(&self, arguments: &[&str]) -> String {
        let arguments = [&["--bootstrap-server", &self.bootstrap], arguments].concat();
        let printed =
            self.tools.lock().expect("no panic while a tool ran").run("org.apache.kafka.tools.AclCommand", &arguments);
        assert_eq!(printed.code, 0, "{arguments:?}: {}", printed.text);
        printed.text
    }

    fn change(&self, verb: &[&str], rule: &str) {
        let words: Vec<&str> = rule.split(' ').collect();
        let [permission, operation, user, pattern, name] = words[..] else { panic!("five words: {rule}") };
        let principal = format!("User:{user}");
        let who = if permission == "ALLOW" { "--allow-principal" } else { "--deny-principal" };
        let what = [who, &principal, "--operation", operation, "--topic", name, "--resource-pattern-type", pattern];
        self.run(&[verb, &what].concat());
    }

    fn add(&self, rules: &[&str]) {
        rules.iter().for_each(|rule| self.change(&["--add"], rule));
    }

    fn remove(&self, rules: &[&str]) {
        rules.iter().for_each(|rule| self.change(&["--remove", "--force"], rule));
    }

    fn list(&self) -> BTreeSet<String> {
        let (mut rules, mut of) = (BTreeSet::new(), String::new());
        for line in self.run(&["--list"]).lines() {
            if let Some(name) = value(line, "name") {
                of = format!("{} {name}", value(line, "patternType").expect("a pattern"));
            } else if let Some(principal) = value(line, "principal") {
                let user = principal.strip_prefix("User:").expect("a user");
                let [permission, operation] =
                    ["permissionType", "operation"].map(|field| value(line, field).expect("a field"));
                rules.insert(format!("{permission} {operation} {user} {of}"));
            }
        }
        rules
    }

    async fn until(&self, what: &str, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|rule| (*rule).to_owned()).collect();
        wait_until(what, PATIENCE, || async { self.list() == expected }).await;
    }

    async fn until_there(&self, rule: &str) {
        wait_until(&format!("the target has {rule}"), PATIENCE, || async { self.list().contains(rule) }).await;
    }
}

/// `a` of `name=a, ..` and `name=a)`.
fn value<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{field}="))?;
    rest.split([',', ')']).next()
}

fn config(source: &str, target: &str, more: &[(&str, &str)]) -> Value {
    let mut config = json!({
        "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
        "source.cluster.alias": "src",
        "target.cluster.alias": "dst",
        "source.cluster.bootstrap.servers": source,
        "target.cluster.bootstrap.servers": target,
        "topics": "orders",
        "sync.topic.acls.interval.seconds": "1",
    });
    for (name, value) in more {
        config[*name] = Value::from(*value);
    }
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_of_copied_topics_follow_and_only_what_the_link_made_is_ever_deleted() {
    let (kafka, folder) = (peer::kafka(), Folder::new());
    let tools = Mutex::new(kafka.tools());
    let (source, target) = tokio::join!(kafka.cluster(1, &WITH_RULES), kafka.cluster(1, &WITH_RULES));
    let [upstream, downstream] =
        [&source, &target].map(|cluster| Rules { tools: &tools, bootstrap: cluster.bootstrap() });
    records::create_topic(&source.bootstrap(), "orders", 1).await;
    upstream.add(&[
        "ALLOW READ alice LITERAL orders",
        "ALLOW WRITE alice LITERAL orders",
        "ALLOW ALL bob LITERAL orders",
        "DENY READ eve LITERAL orders",
        "ALLOW READ frank LITERAL orders",
        "ALLOW READ alice LITERAL secret",
        "ALLOW READ carol PREFIXED ord",
        "ALLOW READ dave LITERAL *",
    ]);
    // The operator's own, one of which the source has as well.
    downstream.add(&["ALLOW READ frank LITERAL src.orders", "ALLOW WRITE olga LITERAL src.orders"]);

    let mut worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
    let put = async |worker: &Worker, more: &[(&str, &str)]| {
        let config = config(&source.bootstrap(), &target.bootstrap(), more);
        worker.rest.put("/connectors/mirror/config", &config).await.good();
    };
    put(&worker, &[]).await;
    let by_default = [
        "ALLOW READ alice LITERAL src.orders",
        "ALLOW READ bob LITERAL src.orders",
        "ALLOW READ frank LITERAL src.orders",
        "ALLOW WRITE olga LITERAL src.orders",
        "DENY READ eve LITERAL src.orders",
    ];
    downstream.until("the target has what MirrorMaker copies, and not more", &by_default).await;

    // What the source takes back stays, as with MirrorMaker; two more looks are known by what they bring.
    upstream.remove(&["ALLOW READ alice LITERAL orders"]);
    for (rule, copy) in [
        ("ALLOW DESCRIBE gina LITERAL orders", "ALLOW DESCRIBE gina LITERAL src.orders"),
        ("ALLOW DESCRIBE henry LITERAL orders", "ALLOW DESCRIBE henry LITERAL src.orders"),
    ] {
        upstream.add(&[rule]);
        downstream.until_there(copy).await;
        upstream.remove(&[rule]);
    }
    let left =
        [&by_default[..], &["ALLOW DESCRIBE gina LITERAL src.orders", "ALLOW DESCRIBE henry LITERAL src.orders"]]
            .concat();
    downstream.until("nothing is deleted by default", &left).await;

    // In full, beginnings and all topics follow too.
    put(&worker, &[("twinstream.sync.acls", "full")]).await;
    let (carol, dave) = ("ALLOW READ carol PREFIXED src.ord", "ALLOW READ dave PREFIXED src.");
    downstream.until("beginnings of names follow", &[&left[..], &[carol, dave]].concat()).await;
    upstream.remove(&["ALLOW READ dave LITERAL *", "ALLOW READ frank LITERAL orders"]);
    downstream.until("what the link made goes, what the operator made stays", &[&left[..], &[carol]].concat()).await;

    // What the link made it knows after a restart as well.
    worker.server.stop().await;
    upstream.remove(&["ALLOW READ carol PREFIXED ord"]);
    worker.server.start().await;
    worker.wait_ready().await;
    downstream.until("a rule goes that was taken back while nothing ran", &left).await;
    let status = worker.rest.get("/connectors/mirror/status").await.good();
    assert_eq!(status["connector"]["state"], "RUNNING", "{status}");
    wait_until("the link tells that its rules are in step", PATIENCE, || async {
        worker.rest.get("/links/src:dst").await.good()["acls"] == "in step"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_without_authorizer_are_named_and_no_failure() {
    let folder = Folder::new();
    let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
    let config = config(&source.bootstrap(), &target.bootstrap(), &[]);
    worker.rest.put("/connectors/mirror/config", &config).await.good();
    wait_until("the link tells that there are no rules", PATIENCE, || async {
        let link = worker.rest.try_get("/links/src:dst").await;
        link.is_some_and(|link| link.body["acls"] == "source cluster 'src' has no authorizer")
    })
    .await;
    let status = worker.rest.get("/connectors/mirror/status").await.good();
    assert_eq!(status["connector"]["state"], "RUNNING", "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_of_users_follow_when_that_is_wished_and_the_targets_own_stay() {
    let folder = Folder::new();
    let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let [upstream, downstream] = [client(&source.bootstrap()).await, client(&target.bootstrap()).await];
    let (alice, bob) = (entity("user", Some("alice")), entity("user", Some("bob")));
    let everybody = entity("client-id", None);
    let of = |rate: f64| BTreeMap::from([("producer_byte_rate".to_owned(), rate)]);
    set(&upstream, Quotas::from([(alice.clone(), of(1000.0)), (everybody.clone(), of(500.0))])).await;
    set(&downstream, Quotas::from([(alice.clone(), of(7.0)), (bob.clone(), of(7.0))])).await;

    let worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
    let wish = [("twinstream.sync.quotas.enabled", "true"), ("twinstream.sync.quotas.interval.seconds", "1")];
    let config = config(&source.bootstrap(), &target.bootstrap(), &wish);
    worker.rest.put("/connectors/mirror/config", &config).await.good();
    let both = Quotas::from([(alice.clone(), of(1000.0)), (everybody.clone(), of(500.0)), (bob.clone(), of(7.0))]);
    until_quotas(&downstream, both.clone()).await;
    set(&upstream, Quotas::from([(alice.clone(), of(2000.0))])).await;
    until_quotas(&downstream, both.into_iter().chain([(alice, of(2000.0))]).collect()).await;
}

async fn client(bootstrap: &str) -> RawClient {
    RawClient::connect(&records::client_settings(bootstrap, &[])).await.expect("a cluster that answers")
}

fn entity(kind: &str, name: Option<&str>) -> QuotaEntity {
    QuotaEntity::from([(kind.to_owned(), name.map(str::to_owned))])
}

async fn set(client: &RawClient, quotas: Quotas) {
    let results = client.set_client_quotas(&quotas).await.expect("an answer");
    results.into_values().for_each(|result| result.expect("a quota that is set"));
}

async fn until_quotas(client: &RawClient, expected: Quotas) {
    wait_until(&format!("the target has {expected:?}"), PATIENCE, || async {
        client.client_quotas().await.is_ok_and(|found| found == expected)
    })
    .await;
}
