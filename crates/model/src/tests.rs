use uuid::Uuid;

use super::*;

#[test]
fn error_codes_are_dense_and_found_by_their_number() {
    let codes: Vec<i16> = ErrorCode::ALL.iter().map(|e| e.code()).collect();
    assert_eq!(codes, (-1..=136).collect::<Vec<i16>>());
    for error in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_code(error.code()), Some(*error));
    }
    assert_eq!(ErrorCode::from_code(137), None);
    assert_eq!(ErrorCode::from_code(-2), None);
}

#[test]
fn error_variant_is_the_camel_case_of_kafkas_name() {
    for error in ErrorCode::ALL {
        let camel: String =
            error.name().split('_').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase())).collect();
        assert_eq!(format!("{error:?}"), camel);
    }
}

#[test]
fn error_text_is_a_lowercase_fragment() {
    for error in ErrorCode::ALL {
        let text = error.to_string();
        assert!(text.starts_with(|c: char| c.is_lowercase()), "{text}");
        assert!(!text.ends_with('.'), "{text}");
    }
}

#[test]
fn well_known_codes_have_kafkas_numbers_and_retriable_flags() {
    let known = [
        (ErrorCode::OffsetOutOfRange, 1, false),
        (ErrorCode::NotLeaderOrFollower, 6, true),
        (ErrorCode::OutOfOrderSequenceNumber, 45, false),
        (ErrorCode::KafkaStorageError, 56, true),
        (ErrorCode::MemberIdRequired, 79, false),
        (ErrorCode::InvalidRecord, 87, false),
        (ErrorCode::UnknownTopicId, 100, true),
    ];
    for (error, code, retriable) in known {
        assert_eq!((error.code(), error.is_retriable()), (code, retriable), "{}", error.name());
    }
}

#[test]
fn topic_names_follow_kafkas_rules() {
    for name in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
        assert_eq!(TopicName::parse(name).unwrap().as_str(), name);
    }
    assert_eq!(TopicName::parse(""), Err(InvalidTopicName::Empty));
    assert_eq!(TopicName::parse(".."), Err(InvalidTopicName::Dots("..".into())));
    assert_eq!(TopicName::parse(&"x".repeat(250)), Err(InvalidTopicName::TooLong(250)));
    for name in ["a b", "a/b", "ä", "a\0"] {
        assert!(matches!(TopicName::parse(name), Err(InvalidTopicName::IllegalCharacter(_))));
    }
}

#[test]
fn names_that_differ_in_dot_and_underscore_collide() {
    let name = |n| TopicName::parse(n).unwrap();
    assert!(name("a.b").collides_with(&name("a_b")));
    assert!(!name("a.b").collides_with(&name("a.b")));
    assert!(!name("a.b").collides_with(&name("a-b")));
}

#[test]
fn partition_is_displayed_as_its_folder() {
    let partition = TopicPartition::new(TopicName::parse("t").unwrap(), 3);
    assert_eq!(partition.to_string(), "t-3");
}

#[test]
fn ids_are_written_in_kafkas_base64_and_read_back() {
    // What Kafka's Uuid.toString gives for these bits.
    let one = TopicId(Uuid::from_u128(1));
    assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    let id = TopicId(Uuid::from_u128(0xfb0f_1c2d_3e4f_5061_7283_94a5_b6c7_d8e9));
    assert_eq!(id.to_string(), "-w8cLT5PUGFyg5SltsfY6Q");
    assert_eq!(TopicId::parse(&id.to_string()), Some(id));
    for broken in ["", "short", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAB"] {
        assert_eq!(TopicId::parse(broken), None, "{broken}");
    }
    assert_eq!(ClusterId::from_uuid(id.0).as_str(), id.to_string());
}
