//! Every input that is kept, and seeded changes of them, on every run: what was found once is not found again.
//!
//! A failure prints the input as a line for `corpus/<target>.txt`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use twinstream_fuzz::corpus;
use twinstream_fuzz::mutate::{Dice, mutated};
use twinstream_fuzz::{Cost, TARGETS, Target, target};

/// Changed inputs for each target. Together they take some seconds on a machine of two cores.
fn changes(cost: Cost) -> usize {
    match cost {
        Cost::Bytes => 12_000,
        Cost::Files => 300,
    }
}

fn replay(name: &str) {
    let target = target(name).expect("a target of this name");
    let inputs = corpus::read(name).expect("a readable corpus");
    for input in &inputs {
        survives(target, input, "kept");
    }
    let seed = name.bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut dice = Dice::new(seed);
    for _ in 0..changes(target.cost) {
        let mut input = mutated(&inputs, &mut dice);
        input.truncate(target.len_max);
        survives(target, &input, "changed");
    }
}

fn survives(target: &Target, input: &[u8], how: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        panic!("{}: a {how} input breaks it; keep it in the corpus:\n{}", target.name, corpus::format(input));
    }
}

macro_rules! replays {
    ($($test:ident $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                replay($name);
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_a_corpus() {
            let replayed = [$($name),*];
            let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(replayed[..], known[..]);
            for name in known {
                assert!(!corpus::read(name).expect("a readable corpus").is_empty(), "{name}: run `corpus seed`");
            }
        }
    };
}

replays! {
    requests_decode_or_are_refused "request";
    answers_decode_or_are_refused "answer";
    requests_of_nodes_decode_or_are_refused "peer-request";
    answers_of_nodes_decode_or_are_refused "peer-answer";
    raft_messages_decode_or_are_refused "raft-message";
    tags_of_links_are_read_or_refused "mirror-tags";
    batches_parse_or_are_refused "batches";
    records_parse_or_are_refused "records";
    gzip_unpacks_within_its_bound "gzip";
    snappy_unpacks_within_its_bound "snappy";
    lz4_unpacks_within_its_bound "lz4";
    zstd_unpacks_within_its_bound "zstd";
    members_describe_themselves_or_are_refused "group-member";
    topic_patterns_translate_or_are_refused "topic-pattern";
    avro_decodes_or_is_refused "avro-record";
    avro_schemas_parse_or_are_refused "avro-schema";
    converters_convert_or_refuse "converter";
    segments_open_to_whole_batches "segment";
    offset_indexes_are_hints "offset-index";
    time_indexes_are_hints "time-index";
    transaction_indexes_are_hints "transaction-index";
    producer_snapshots_are_hints "producer-snapshot";
    epoch_files_are_hints_or_refused "leader-epochs";
    partition_metadata_is_read_or_refused "partition-metadata";
    marks_of_logs_that_are_left_are_read_or_refused "left-metadata";
    checkpoints_are_read_or_refused "checkpoints";
    identities_are_read_or_refused "directory-identity";
    quorum_logs_open_or_are_refused "quorum-log";
    quorum_snapshots_open_or_are_refused "quorum-snapshot";
    metadata_records_decode_or_are_refused "metadata-records";
    metadata_snapshots_decode_or_are_refused "metadata-snapshot";
    group_records_decode_or_are_refused "group-records";
    transaction_records_decode_or_are_refused "transaction-records";
    schema_records_replay_or_are_refused "registry-records";
    connect_records_replay_or_are_refused "connect-records";
    records_of_links_are_read_or_refused "mirror-records";
    files_of_flows_are_planned_or_refused "mirror-file";
}
