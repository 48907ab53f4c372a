//! Claims about reading a connector's status.

use super::*;

#[test]
fn failed_task_is_found_with_its_trace() {
    let status = json!({
        "connector": { "state": "RUNNING" },
        "tasks": [{ "id": 0, "state": "RUNNING" }, { "id": 1, "state": "FAILED", "trace": "no such index" }],
    });
    assert_eq!(failed_part(&status), Some("no such index"));
}

#[test]
fn running_and_unassigned_parts_are_no_failure() {
    let status = json!({ "connector": { "state": "RUNNING" }, "tasks": [{ "id": 0, "state": "UNASSIGNED" }] });
    assert_eq!(failed_part(&status), None);
    assert_eq!(failed_part(&json!({})), None);
}
