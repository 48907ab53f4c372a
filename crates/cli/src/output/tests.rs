//! Claims about tables.

use super::*;

#[test]
fn columns_are_aligned_without_frames() {
    let text = table_text(["name", "n"], vec![["a".into(), "10".into()], ["long-name".into(), "2".into()]]);
    assert_eq!(text, "NAME       N\na          10\nlong-name  2");
}
