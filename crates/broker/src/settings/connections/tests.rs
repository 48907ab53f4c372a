use super::*;

#[test]
fn overrides_per_address_are_read() {
    let read = parse_overrides("10.0.0.1:5, [::1]:7,[::ffff:10.0.0.2]:9").unwrap();
    let limit = |address: &str| read[&address.parse::<IpAddr>().unwrap()];
    assert_eq!((limit("10.0.0.1"), limit("::1"), limit("10.0.0.2")), (5, 7, 9));
    assert!(parse_overrides("").unwrap().is_empty());
    for malformed in ["10.0.0.1", "somewhere:5", "10.0.0.1:many", "10.0.0.1:-1"] {
        assert!(parse_overrides(malformed).is_err(), "{malformed}");
    }
}
