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

#[test]
fn features_that_begin_at_zero_are_kept_from_old_clients() {
    for (version, zero_is_shown) in [(3, false), (4, true)] {
        let answer = with_features(answer(ErrorCode::None), version, &Image::default(), 7);
        let shown: Vec<&str> = answer.supported_features.iter().map(|feature| feature.name.as_str()).collect();
        let expected = features::served().filter(|feature| zero_is_shown || feature.min > 0);
        assert_eq!(shown, expected.map(|feature| feature.name).collect::<Vec<_>>());
        assert!(answer.finalized_features.is_empty(), "nothing is final before the metadata is known");
        assert_eq!(answer.finalized_features_epoch, NO_EPOCH);
    }
}

#[test]
fn finalized_levels_are_those_of_the_cluster() {
    let mut image = Image::default();
    let cluster_id = twinstream_model::ClusterId::from("c1");
    image.apply(&twinstream_metadata::Record::ClusterId { cluster_id }).unwrap();
    let answer = with_features(answer(ErrorCode::None), 4, &image, 7);
    assert_eq!(answer.finalized_features_epoch, 7);
    let newest = features::find(features::METADATA_VERSION).unwrap().max;
    let found = answer.finalized_features.iter().find(|feature| feature.name.as_str() == features::METADATA_VERSION);
    assert_eq!(found.map(|feature| (feature.min_version_level, feature.max_version_level)), Some((newest, newest)));
    assert!(answer.finalized_features.iter().all(|feature| feature.max_version_level > 0));
}
