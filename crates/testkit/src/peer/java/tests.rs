//! Claims about the version of a Java.

use super::*;

#[test]
fn version_is_read_in_the_old_and_the_new_style() {
    assert_eq!(parse_version("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
    assert_eq!(parse_version("java version \"1.8.0_402\""), Some(8));
    assert_eq!(parse_version("openjdk version \"25\" 2025-09-16"), Some(25));
    assert_eq!(parse_version("no such thing"), None);
}
