use super::*;

#[test]
fn produce_is_advertised_from_version_zero() {
    if let Some(row) = advertised().iter().find(|row| row.api_key == ApiKey::Produce as i16) {
        assert_eq!(row.min_version, 0);
    }
}

#[test]
fn every_row_of_the_table_is_advertised_once_in_key_order() {
    let keys: Vec<i16> = advertised().iter().map(|row| row.api_key).collect();
    assert_eq!(keys.len(), SERVED.len());
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
}

#[test]
fn software_names_follow_kip_511() {
    for good in ["apache-kafka-java", "4.3.1", "librdkafka", "a", "v2.0-rc.1"] {
        assert!(is_software_token(good), "{good}");
    }
    for bad in ["", "-java", "java-", "with space", "semi;colon", "über"] {
        assert!(!is_software_token(bad), "{bad}");
    }
}

#[test]
fn unknown_version_is_answered_with_our_ranges_and_error_35() {
    let answer = fallback();
    assert_eq!(answer.error_code, 35);
    assert_eq!(answer.api_keys.len(), SERVED.len());
}
