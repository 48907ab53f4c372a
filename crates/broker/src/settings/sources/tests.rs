use std::io::Write;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "# a comment\nnode.id=1\nnum.partitions = 2\nlog.dirs=/a\\\n  ,/b").unwrap();
    let variables = environment(&[("TWINSTREAM_NUM_PARTITIONS", "3"), ("TWINSTREAM_NODE_ID", "7"), ("PATH", "/bin")]);
    let overrides = [("node.id".to_owned(), "9".to_owned())];
    let given = gather(Some(file.path()), variables, &overrides).unwrap();
    assert_eq!(given["node.id"], GivenValue { text: "9".into(), provenance: Provenance::CommandLine });
    assert_eq!(given["num.partitions"].text, "3");
    assert_eq!(given["num.partitions"].provenance.to_string(), "in the environment variable TWINSTREAM_NUM_PARTITIONS");
    assert_eq!(given["log.dirs"].text, "/a,/b");
    assert_eq!(given.len(), 3);
}

#[test]
fn our_own_settings_do_not_double_the_prefix_in_the_environment() {
    let given = gather(None, environment(&[("TWINSTREAM_METRICS_LISTENER", "127.0.0.1:1")]), &[]).unwrap();
    assert_eq!(given["twinstream.metrics.listener"].text, "127.0.0.1:1");
}

#[test]
fn variables_of_other_programs_are_left_alone() {
    assert!(gather(None, environment(&[("TWINSTREAM_DATA_DIR", "/x"), ("NODE_ID", "1")]), &[]).unwrap().is_empty());
}

#[test]
fn a_missing_file_is_named() {
    let error = gather(Some(Path::new("/no/such/server.properties")), [], &[]).unwrap_err().to_string();
    assert!(error.starts_with("cannot read settings file /no/such/server.properties: "), "{error}");
}
