use super::*;

const SOURCE: &str = r#"
_TEST_DECL(0001_multiobj);
struct test tests[] = {
    {.name = "<MAIN>", .flags = TEST_F_LOCAL},
    _TEST(0000_unittests,
          TEST_F_LOCAL,
          _THRES(.ucpu = 100.0)),
    _TEST(0001_multiobj, 0),
    _TEST(0028_long_topicnames,
          TEST_F_KNOWN_ISSUE,
          TEST_BRKVER(0, 9, 0, 0),
          .extra = "https://example.com/529"),
#if WITH_SOCKEM
    _TEST(0049_consume_conn_close, TEST_F_SOCKEM, TEST_BRKVER(0, 9, 0, 0)),
#endif
    _TEST(0055_producer_latency, TEST_F_KNOWN_ISSUE_WIN32),
    _TEST(0107_topic_recreate,
          0,
          TEST_BRKVER_TOPIC_ADMINAPI,
          .scenario = "noautocreate"),
    _TEST(8000_idle, TEST_F_MANUAL),

    {NULL}};
"#;

#[test]
fn the_table_of_the_suite_names_its_tests() {
    let tests = parse_table(SOURCE);
    let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
    let expected = [
        "0000_unittests",
        "0001_multiobj",
        "0028_long_topicnames",
        "0049_consume_conn_close",
        "0055_producer_latency",
        "0107_topic_recreate",
        "8000_idle",
    ];
    assert_eq!(names, expected);
    let named = |is: fn(&LibrdkafkaTest) -> bool| -> Vec<&str> {
        tests.iter().filter(|test| is(test)).map(LibrdkafkaTest::number).collect()
    };
    assert_eq!(named(|test| test.is_local), ["0000"]);
    assert_eq!(named(|test| test.is_left_out), ["0028", "8000"]);
    assert_eq!(named(|test| test.without_auto_create), ["0107"]);
}

#[test]
fn a_suite_that_is_built_in_another_way_is_another_one() {
    let name = entry_name("2.12.1", &CONFIGURE);
    assert!(name.starts_with("librdkafka-2.12.1-"), "{name}");
    assert_ne!(name, entry_name("2.12.1", &CONFIGURE[1..]));
    assert_ne!(name, entry_name("2.12.2", &CONFIGURE));
}
