//! The playbooks, on eight booted hosts, as an operator runs them over ssh.
//!
//! Picture: one package of the binary under test; two sites from nothing; records as Avro upstream, the same downstream and
//! in an index; then what happens to sites: a rolling restart under load, a host without power, a link that is cut, the
//! loss of the upstream site. Who writes and reads is a client that is not ours, on a machine that is none of the hosts.
//!
//! Invariants: every record that was acknowledged is read again, at both sites. `ansible-lint` judges the playbooks with its
//! strictest profile.

mod clients; // Python, as applications have it
mod sites; // hosts, inventory, playbooks

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clients::Producer;
use serde_json::Value;
use sites::{DOWNSTREAM, Sites, UPSTREAM, ansible_folder};
use twinstream_testkit::{peer, wait_until};

const AVRO_RECORDS: usize = 1_000;
/// How long a copy may take to come, after whatever was broken is whole again.
const COPIED_WITHIN: Duration = Duration::from_secs(60);
/// How many records more show that producers go on.
const GOES_ON: usize = 500;
/// As many while the sites do not see each other.
const APART: usize = 3_000;
const GOES_ON_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn the_playbooks_are_clean_for_the_strictest_linter() {
    let mut lint = peer::ansible().command("ansible-lint", &ansible_folder());
    let output = lint.args(["--offline", "--profile", "production", "."]).output().expect("start ansible-lint");
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("Profile 'production' was required, and it passed"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sites_are_provisioned_run_and_failed_over() {
    let mut clock = Clock::new();
    let mut sites = Sites::boot().await;
    clock.tell("eight hosts are up, the package is made");

    let first = sites.play("site.yml", &[]);
    assert!(first.changed > 0, "hosts from nothing are changed");
    clock.tell("site.yml, from nothing");
    let second = sites.play("site.yml", &[]);
    assert_eq!(second.changed, 0, "a second run changes nothing:\n{}", second.text);
    clock.tell("site.yml again: nothing changed");

    sites.twinstream("kafka01", "topic create orders --partitions 6 --replication-factor 3");
    sites.twinstream("kafka01", "topic create load --partitions 6 --replication-factor 3");
    clients::produce_avro(&sites, "orders", AVRO_RECORDS);
    let (upstream, downstream) = (sites.bootstrap(&UPSTREAM), sites.bootstrap(&DOWNSTREAM));
    clients::wait_avro(&sites, &downstream, "orders", AVRO_RECORDS, COPIED_WITHIN);
    clock.tell("1,000 Avro records upstream are read downstream");
    let index = sites.start_index();
    let arguments =
        ["-e", "connectors_search_url=http://connect01:9200", "-e", r#"{"connectors_search_topics": ["orders"]}"#];
    assert!(sites.play("connectors.yml", &arguments).changed > 0, "a connector is new");
    wait_until("all documents are in the index", COPIED_WITHIN, || async {
        let count = index.get("/orders/_count").await;
        count.is_good() && count.good()["count"] == AVRO_RECORDS
    })
    .await;
    clock.tell("connectors.yml: the sink has 1,000 documents in the index");

    let mut producer = Producer::start(&upstream, "load");
    producer.goes_on(GOES_ON, GOES_ON_WITHIN).await;
    assert!(sites.play("rolling.yml", &[]).changed > 0, "brokers are restarted");
    producer.goes_on(GOES_ON, GOES_ON_WITHIN).await;
    clock.tell("rolling.yml under load");

    sites.hosts.kill("kafka02");
    producer.goes_on(GOES_ON, GOES_ON_WITHIN).await;
    sites.hosts.start("kafka02").await;
    sites.twinstream("kafka01", "cluster health --wait 60");
    clock.tell("a host lost its power and came back, in sync");

    let beyond: Vec<&str> = DOWNSTREAM.iter().copied().chain(["connect01"]).collect();
    sites.hosts.set_links(&UPSTREAM, &beyond, true);
    producer.goes_on(APART, GOES_ON_WITHIN).await;
    let behind = missing(producer.acknowledged(), &clients::values(&downstream, "load", 0));
    assert!(behind > 0, "nothing comes over a link that is cut");
    sites.hosts.set_links(&UPSTREAM, &beyond, false);
    producer.goes_on(GOES_ON, GOES_ON_WITHIN).await;
    clock.tell("the link between the sites was cut and mended");

    let acknowledged = producer.stop();
    assert_eq!(missing(&acknowledged, &clients::values(&upstream, "load", 0)), 0, "lost upstream");
    clients::wait_values(&downstream, "load", &acknowledged, COPIED_WITHIN);
    eprintln!("{} records were acknowledged; all of them are at both sites", acknowledged.len());
    clock.tell("both sites have what was acknowledged");

    let dry = sites.play("failover.yml", &["--check"]);
    assert_eq!(dry.changed, 0, "{}", dry.text);
    sites.play("failover.yml", &[]);
    let mut after = Producer::start(&downstream, "load");
    after.goes_on(GOES_ON, GOES_ON_WITHIN).await;
    let after = after.stop();
    assert_eq!(missing(&after, &clients::values(&downstream, "load", 0)), 0, "lost after the fail-over");
    clock.tell("failover.yml: the downstream site is written to");

    sites.play("exporter.yml", &[]);
    sites.play("monitoring.yml", &[]);
    wait_until("Prometheus reaches every target", COPIED_WITHIN, || async {
        let told = sites.prometheus().get("/api/v1/targets?state=active").await;
        told.is_good() && all_up(&told.good())
    })
    .await;
    clock.tell("exporter.yml and monitoring.yml: every target is up");
}

fn all_up(told: &Value) -> bool {
    let targets = told["data"]["activeTargets"].as_array().map_or(&[][..], Vec::as_slice);
    !targets.is_empty() && targets.iter().all(|target| target["health"] == "up")
}

fn missing(wanted: &BTreeSet<u64>, found: &BTreeSet<u64>) -> usize {
    wanted.difference(found).count()
}

/// Tells how long each step took.
struct Clock {
    began: Instant,
    last: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { began: Instant::now(), last: Instant::now() }
    }

    fn tell(&mut self, what: &str) {
        let took = self.last.elapsed().as_secs_f64();
        eprintln!("{:6.1} s  (+{took:.1} s)  {what}", self.began.elapsed().as_secs_f64());
        self.last = Instant::now();
    }
}
