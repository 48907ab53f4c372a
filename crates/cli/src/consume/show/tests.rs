//! Claims about records as JSON.

use super::*;

fn shown(decoded: Option<Value>, bytes: Option<&[u8]>) -> Value {
    let mut line = Map::new();
    insert(&mut line, "value", decoded, bytes);
    Value::Object(line)
}

#[test]
fn null_text_bytes_and_decoded_values_are_told_apart() {
    assert_eq!(shown(None, None), json!({"value": null}));
    assert_eq!(shown(None, Some(b"abc")), json!({"value": "abc"}));
    assert_eq!(shown(None, Some(&[0xff, 0])), json!({"value_base64": "/wA="}));
    assert_eq!(shown(Some(json!({"a": 1})), Some(b"\0....")), json!({"value": {"a": 1}}));
}
