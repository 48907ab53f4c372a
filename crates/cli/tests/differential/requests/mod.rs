//! Hand-made requests: wrong epochs, unknown names, empty lists, nulls, every version that both sides serve.
//!
//! Every request goes out in each version that can carry it; answers are compared field by field. Where versions are
//! protocols of their own (transactions, KIP-890; requests among brokers), each goes out in those that mean it.

mod normal; // what must differ, made alike
mod scripts; // the requests
mod side; // one broker, and what it answered
mod wire; // one connection

use side::{Side, api_name};
use twinstream_testkit::peer;

use crate::verdict::{self, Deviations, Difference};

/// Fewer would mean that a script stopped early, or that hardly any version is common.
const ANSWERS_AT_LEAST: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_apache_kafka() {
    let kafka = peer::kafka();
    let (theirs, ours) = crate::both(&kafka).await;
    let (theirs_at, ours_at) = (theirs.bootstrap(), ours.bootstrap());
    let compared = tokio::task::spawn_blocking(move || compare(&theirs_at, &ours_at));
    let (count, differences) = compared.await.expect("a comparison");
    let complaints = Deviations::parse(include_str!("deviations.txt")).judge(differences);
    assert!(complaints.is_empty(), "{} of {count} answers differ:\n{}", complaints.len(), complaints.join("\n"));
    assert!(count > ANSWERS_AT_LEAST, "only {count} answers were compared");
}

fn compare(theirs: &str, ours: &str) -> (usize, Vec<Difference>) {
    let (mut kafka, mut twinstream) = (Side::connect(theirs), Side::connect(ours));
    let mut differences = compare_versions(&kafka, &twinstream);
    let common = kafka.versions_with(&twinstream);
    for side in [&mut kafka, &mut twinstream] {
        side.serve_only(&common);
    }
    std::thread::scope(|scope| {
        let other = scope.spawn(|| scripts::run(&mut kafka));
        scripts::run(&mut twinstream);
        other.join().expect("the scripts against Apache Kafka");
    });
    differences.extend(verdict::compare(&kafka.transcript, &twinstream.transcript));
    (kafka.transcript.len(), differences)
}

/// What both say that they serve.
fn compare_versions(kafka: &Side, twinstream: &Side) -> Vec<Difference> {
    let keys: std::collections::BTreeSet<i16> =
        kafka.versions().keys().chain(twinstream.versions().keys()).copied().collect();
    let range = |side: &Side, key: i16| {
        side.versions().get(&key).map_or("none".to_owned(), |(min, max)| format!("{min}-{max}"))
    };
    let difference = |key: i16| {
        let label = format!("versions of {} ({key})", api_name(key));
        Difference::between(label, &range(kafka, key), &range(twinstream, key))
    };
    keys.into_iter().filter_map(difference).collect()
}
