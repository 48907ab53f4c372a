//! The tree of commands against real servers: what changes topics, groups, brokers, schemas and connectors.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use twinstream_client::raw::kafka_protocol::messages::{
    AddPartitionsToTxnRequest, InitProducerIdRequest, ProducerId, TopicName, TransactionalId,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::{ClientError, ClientSettings, RawClient};
use twinstream_model::ErrorCode;
use twinstream_testkit::{
    Cluster, ClusterOptions, Folder, Registry, Worker, WorkerOptions, die_with_test, peer, twinstream, wait_until,
};

/// A command line without the flags that reach the servers.
struct Shell {
    reach: Vec<(&'static str, String)>,
}

impl Shell {
    fn run(&self, line: &str, input: &str) -> Output {
        let mut command = Command::new(twinstream());
        command.args(line.split_whitespace());
        command.env_remove("TWINSTREAM_CONTEXT").envs(self.reach.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_test(&mut command);
        let mut child = command.spawn().expect("start a command");
        child.stdin.take().expect("stdin").write_all(input.as_bytes()).ok();
        child.wait_with_output().expect("end of a command")
    }

    fn text(&self, line: &str) -> String {
        let output = self.run(line, "");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{line} -o json"))).expect("JSON")
    }

    fn failure(&self, line: &str) -> (i32, String) {
        let output = self.run(line, "");
        (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn shell(cluster: &Cluster) -> Shell {
    Shell { reach: vec![("TWINSTREAM_BOOTSTRAP", cluster.bootstrap())] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_is_altered_widened_trimmed_cloned_and_purged() {
    let cluster = Cluster::start(1).await;
    let shell = shell(&cluster);
    shell.text("topic create orders -p 1 -c retention.ms=60000");
    assert!(shell.run("produce orders", "1\n2\n3\n4\n").status.success());
    let changed = json!([{"setting": "retention.ms", "from": "60000", "to": "70000"}]);
    assert_eq!(shell.json("topic alter orders -c retention.ms=70000 --dry-run"), changed);
    assert_eq!(shell.json("topic alter orders -c retention.ms=70000"), changed, "a dry run changes nothing");
    assert_eq!(shell.json("topic alter orders -c retention.ms=70000"), json!([]));
    let (code, told) = shell.failure("topic alter orders -c retention.ms=soon");
    assert!(code == 1 && told.contains("INVALID_CONFIG"), "{told}");

    assert_eq!(shell.json("topic trim orders --before 3 --dry-run")[0]["records"], 3);
    let (code, told) = shell.failure("topic trim orders --before 3");
    assert!(code == 2 && told.contains("--yes"), "{told}");
    shell.text("topic trim orders --before 3 --yes");
    assert_eq!(shell.text("consume orders --from-beginning --exit"), "4\n");
    shell.text("topic purge orders --yes");
    assert_eq!(shell.text("consume orders --from-beginning --exit"), "");

    let widened = shell.text("topic add-partitions orders -p 3");
    assert_eq!(widened, "topic orders went from 1 to 3 partitions\n");
    let (code, told) = shell.failure("topic add-partitions orders -p 2");
    assert!(code == 1 && told.contains("INVALID_PARTITIONS"), "{told}");
    shell.text("topic clone orders copies");
    let copied = &shell.json("topic describe copies")[0];
    assert_eq!(
        (copied["partitions"].as_array().map(Vec::len), &copied["configs"]["retention.ms"]),
        (Some(3), &json!("70000"))
    );
    for verb in ["describe", "purge --yes", "delete --yes", "alter -c retention.ms=1"] {
        let (verb, flags) = verb.split_once(' ').unwrap_or((verb, ""));
        let (code, told) = shell.failure(&format!("topic {verb} ordres {flags}"));
        assert!(code == 3 && told.contains("did you mean `orders`?"), "{verb}: {told}");
    }
    shell.text("topic delete copies --dry-run");
    let names = shell.text("topic list -o name");
    assert_eq!(names, "copies\norders\n");
    assert!(shell.text("topic list -o yaml").starts_with("---\n- topic: copies\n  partitions: 3\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_is_moved_cloned_and_deleted_while_nobody_is_in_it() {
    let cluster = Cluster::start(1).await;
    let shell = shell(&cluster);
    shell.text("topic create t -p 1");
    assert!(shell.run("produce t", "1\n2\n3\n").status.success());
    assert_eq!(shell.text("consume t --from-beginning --group readers --exit"), "1\n2\n3\n");
    let moved = |line: &str| {
        let moves = shell.json(line);
        (moves[0]["from"].clone(), moves[0]["to"].clone())
    };
    assert_eq!(moved("group seek readers --to start --dry-run"), (json!(3), json!(0)));
    let (code, told) = shell.failure("group seek readers --to start");
    assert!(code == 2 && told.contains("--yes"), "{told}");
    assert_eq!(moved("group seek readers --by -1 --yes"), (json!(3), json!(2)));
    assert_eq!(shell.json("group lag readers")[0]["lag"], 1);
    assert_eq!(moved("group seek fresh --to 99 --topic t:0"), (Value::Null, json!(3)), "held to what is there");
    shell.text("group clone readers others");
    assert_eq!(shell.text("consume t --group others --exit"), "3\n");
    assert_eq!(shell.json("group offsets others --delete t --yes")[0]["offset"], 3);
    shell.text("group delete readers fresh --yes");
    let (code, told) = shell.failure("group describe reader");
    assert!(code == 3 && !told.contains("did you mean"), "{told}");
    let (code, told) = shell.failure("group delete othres --yes");
    assert!(code == 3, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_a_gate_and_leaders_move_off_a_broker_and_back() {
    let mut cluster = Cluster::start_with(3, ClusterOptions::replicated()).await;
    let shell = shell(&cluster);
    shell.text("topic create t -p 6 -r 3");
    let health = shell.json("cluster health --wait 60 --brokers 3");
    assert_eq!((&health["healthy"], &health["brokers"]), (&json!(true), &json!(3)), "{health}");
    assert_eq!(shell.json("cluster info")["brokers"].as_array().map(Vec::len), Some(3));
    assert!(shell.json("cluster quorum")["leader"].as_i64().is_some_and(|leader| leader > 0));
    let features = shell.json("cluster features");
    assert!(
        features.as_array().is_some_and(|all| all.iter().any(|one| one["feature"] == "metadata.version")),
        "{features}"
    );
    assert!(shell.json("cluster logdirs").as_array().is_some_and(|all| all.len() >= 3));

    let leaders = || {
        let described = shell.json("topic describe t");
        let partitions = described[0]["partitions"].as_array().expect("partitions").clone();
        partitions.iter().map(|partition| partition["leader"].as_i64().unwrap_or(-1)).collect::<Vec<_>>()
    };
    let before = leaders();
    let file = cluster.folder().path().join("order.json").display().to_string();
    let planned = shell.json("cluster move-leaders --from 2 --dry-run");
    assert!(planned.as_array().is_some_and(|all| !all.is_empty()), "{planned}");
    assert_eq!(leaders(), before, "a dry run moves nothing");
    shell.text(&format!("cluster move-leaders --from 2 --save {file}"));
    assert!(!leaders().contains(&2), "{:?}", leaders());
    cluster.broker(2).kill();
    let soon = Duration::from_secs(60);
    wait_until("the gate is shut", soon, || async { shell.failure("cluster health").0 == 1 }).await;
    let (code, told) = shell.failure("cluster health --wait 1");
    assert!(code == 4 && told.contains("not well"), "{told}");
    cluster.broker(2).start().await;
    shell.text("cluster health --wait 60 --brokers 3");
    shell.text(&format!("cluster move-leaders --restore {file}"));
    assert_eq!(leaders(), before);
    shell.text("cluster elect-leaders");

    let set = shell.json("cluster config set log.retention.ms=123456 --dry-run");
    assert_eq!(set[0]["to"], "123456");
    let (code, told) = shell.failure("cluster move-leaders --from 9");
    assert!(code == 3 && told.contains("there is no broker 9"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_security_and_transactions_there_are_is_told() {
    let cluster = Cluster::start(1).await;
    let shell = shell(&cluster);
    let (code, told) = shell.failure("acl list");
    assert!(code == 1 && told.contains("SECURITY_DISABLED") && told.contains("next:"), "{told}");
    assert_eq!(shell.json("user list"), json!([]));
    assert_eq!(shell.json("quota list"), json!([]));
    assert_eq!(shell.json("txn list"), json!([]));
    let (code, told) = shell.failure("txn abort nobody --yes");
    assert!(code == 3 && told.contains("transactional id nobody does not exist"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_and_connectors_are_kept_from_files() {
    let (cluster, folder) = (Cluster::start(1).await, Folder::new());
    let registry = Registry::start(&folder, &cluster.bootstrap()).await;
    let worker = Worker::start(&folder, &cluster.bootstrap(), WorkerOptions::default()).await;
    let mut shell = shell(&cluster);
    shell.reach.push(("TWINSTREAM_REGISTRY", registry.rest.base().to_owned()));
    shell.reach.push(("TWINSTREAM_WORKER", worker.rest.base().to_owned()));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let field = |more: &str| format!(r#"{{"type":"record","name":"P","fields":[{{"name":"x","type":"int"}}{more}]}}"#);
    let first = file("one.avsc", &field(""));
    let second = file("two.avsc", &field(r#",{"name":"y","type":"int","default":0}"#));
    let breaking = file("three.avsc", &field(r#",{"name":"z","type":"int"}"#));
    shell.text(&format!("schema register p-value -f {first} --dry-run"));
    assert_eq!(shell.json("schema list"), json!([]), "a dry run registers nothing");
    shell.text(&format!("schema register p-value -f {first}"));
    assert_eq!(shell.json(&format!("schema register p-value -f {second}"))["version"], 2);
    let (code, told) = shell.failure(&format!("schema check p-value -f {breaking}"));
    assert!(code == 1, "{told}");
    let differs = shell.run("schema diff p-value", "");
    assert!(
        differs.status.code() == Some(1) && String::from_utf8_lossy(&differs.stdout).contains("+      \"name\": \"y\"")
    );
    assert_eq!(shell.json("schema config p-value --set full")["compatibility"], "FULL");
    assert_eq!(shell.json("schema mode")["mode"], "READWRITE");
    let (code, told) = shell.failure("schema get p-valeu");
    assert!(code == 3 && told.contains("did you mean `p-value`?"), "{told}");
    shell.text("schema delete p-value --yes");
    assert_eq!(shell.json("schema list"), json!([]));

    let b = cluster.bootstrap();
    let settings = format!(
        "name: pulse\nconnector.class: org.apache.kafka.connect.mirror.MirrorHeartbeatConnector\nsource.cluster.alias: a\n\
         target.cluster.alias: b\nsource.cluster.bootstrap.servers: {b}\ntarget.cluster.bootstrap.servers: {b}\n\
         heartbeats.topic.replication.factor: 1\n"
    );
    let connector = file("pulse.yaml", &settings);
    assert_eq!(shell.json(&format!("connect apply -f {connector} --dry-run"))[0]["done"], "created");
    assert_eq!(shell.json("connect list"), json!([]), "a dry run makes nothing");
    shell.text(&format!("connect validate -f {connector}"));
    shell.text(&format!("connect apply -f {connector}"));
    assert_eq!(shell.json(&format!("connect apply -f {connector}"))[0]["done"], "unchanged");
    let soon = Duration::from_secs(60);
    let state = |wanted: &'static str| {
        let shell = &shell;
        async move { shell.json("connect list")[0]["state"] == wanted }
    };
    wait_until("it runs", soon, || state("RUNNING")).await;
    shell.text("connect pause pulse");
    wait_until("it is paused", soon, || state("PAUSED")).await;
    let (code, told) = shell.failure("connect get puls");
    assert!(code == 3 && told.contains("did you mean `pulse`?"), "{told}");
    shell.text("connect stop pulse");
    wait_until("it is stopped", soon, || state("STOPPED")).await;
    assert_eq!(shell.json("connect offsets pulse"), json!({"offsets": []}));
    let (code, told) = shell.failure("connect offsets pulse --reset --yes");
    assert!(code == 1 && told.contains("not supported"), "our worker cannot, and says so: {told}");
    shell.text("connect delete pulse --yes");
    assert_eq!(shell.json("connect list"), json!([]));
}

/// The same commands against brokers that are not ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_kafka_is_operated_alike() {
    let brokers = peer::kafka().cluster(2, &[]).await;
    let shell = Shell { reach: vec![("TWINSTREAM_BOOTSTRAP", brokers.bootstrap())] };
    shell.text("topic create t -p 4 -r 2 -c retention.ms=60000");
    assert!(shell.run("produce t -p 0", "1\n2\n3\n").status.success());
    assert_eq!(shell.text("consume t --from-beginning --group readers --exit"), "1\n2\n3\n");
    assert_eq!(shell.json("cluster health --wait 60 --brokers 2")["healthy"], true);
    assert_eq!(shell.json("topic alter t -c retention.ms=70000")[0]["from"], "60000");
    assert_eq!(shell.json("topic trim t --before 1 -p 0 --yes")[0]["new_start"], 1);
    assert_eq!(shell.json("group seek readers --to start --topic t:0 --yes")[0]["to"], 1);
    assert_eq!(shell.json("group lag readers")[0]["lag"], 2);
    shell.text("group delete readers --yes");
    shell.text("topic add-partitions t -p 6");
    shell.text("cluster move-leaders --from 2");
    let info = shell.json("cluster info");
    let second = info["brokers"].as_array().and_then(|all| all.iter().find(|one| one["broker"] == 2)).cloned();
    assert_eq!(second.expect("broker 2")["leads"], 0, "{info}");
    for line in
        ["cluster quorum", "cluster features", "cluster logdirs", "cluster config list", "txn list", "quota list"]
    {
        assert!(
            shell.json(line).as_array().is_some_and(|all| all.len() < 10_000) || line == "cluster quorum",
            "{line}"
        );
    }
    let (code, told) = shell.failure("acl list");
    assert!(code == 1 && told.contains("SECURITY_DISABLED"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_ends_what_is_open_and_fences_its_producer() {
    let cluster = Cluster::start(1).await;
    let shell = shell(&cluster);
    shell.text("topic create t -p 1");
    // The first look-up of a coordinator makes the topic of transactions.
    assert_eq!(shell.failure("txn describe payer").0, 3);
    let settings = ClientSettings::new(&cluster.bootstrap()).expect("an address");
    let client = RawClient::connect(&settings).await.expect("a broker");
    let id = || TransactionalId(StrBytes::from_static_str("payer"));
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let made = client
        .retry(|| async {
            let answer = client.request(Node::Any, &init).await?;
            match answer.error_code {
                0 => Ok(answer),
                _ => Err(ClientError::broker("init", ErrorCode::CoordinatorNotAvailable)),
            }
        })
        .await
        .expect("a producer id");
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partitions(vec![0]);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_producer_id(made.producer_id)
        .with_v3_and_below_producer_epoch(made.producer_epoch)
        .with_v3_and_below_topics(vec![topic]);
    client.request_capped(Node::Any, &add, 3).await.expect("an open transaction");
    let state = || shell.json("txn describe payer")[0].clone();
    assert_eq!((&state()["state"], &state()["partitions"]), (&json!("Ongoing"), &json!(["t-0"])));
    assert_eq!(shell.text("txn list -o name --state Ongoing"), "payer\n");
    shell.text("txn abort payer --dry-run");
    assert_eq!(state()["state"], "Ongoing", "a dry run aborts nothing");
    shell.text("txn abort payer --yes");
    assert_ne!(state()["state"], "Ongoing");
    assert!(state()["producer_epoch"].as_i64() > Some(made.producer_epoch.into()), "{}", state());
    let (code, told) = shell.failure("txn describe payr");
    assert!(code == 3 && told.contains("did you mean `payer`?"), "{told}");
}
