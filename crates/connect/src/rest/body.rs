//! Request bodies: configurations as Jackson would read them.
//!
//! Scalars in a configuration become texts (`5` is "5", `true` is "true"); `null` leaves a key out, or removes it in a patch.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value as Json;
use twinstream_connect_api::RawConfig;

use super::error::ApiError;
use crate::state::configs::TargetState;

/// Body of `POST /connectors`.
pub(super) struct Create {
    pub(super) name: Option<String>,
    pub(super) config: RawConfig,
    pub(super) initial_state: Option<TargetState>,
}

pub(super) fn create(body: &Bytes) -> Result<Create, ApiError> {
    const KNOWN: [&str; 3] = ["name", "config", "initial_state"];
    let mut members = object(body)?;
    if let Some(unknown) = members.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(ApiError::bad_request(format!(
            "Unrecognized field \"{unknown}\", the body has the fields \"name\", \"config\" and \"initial_state\""
        )));
    }
    let name = match members.remove("name") {
        None | Some(Json::Null) => None,
        Some(name) => Some(scalar("name", &name)?.trim().to_owned()),
    };
    let initial_state = match members.remove("initial_state") {
        None | Some(Json::Null) => None,
        Some(Json::String(state)) => Some(initial_state(&state)?),
        Some(_) => return Err(ApiError::bad_request("initial_state must be a text")),
    };
    let config = match members.remove("config") {
        Some(Json::Object(entries)) => texts(entries)?,
        _ => {
            return Err(ApiError::bad_request(
                "the body lacks \"config\", an object with the connector's configuration",
            ));
        }
    };
    let config = config.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
    Ok(Create { name, config, initial_state })
}

fn initial_state(text: &str) -> Result<TargetState, ApiError> {
    match text.to_ascii_uppercase().as_str() {
        "RUNNING" => Ok(TargetState::Started),
        "PAUSED" => Ok(TargetState::Paused),
        "STOPPED" => Ok(TargetState::Stopped),
        _ => Err(ApiError::bad_request(format!("initial_state '{text}' must be RUNNING, PAUSED or STOPPED"))),
    }
}

/// A configuration; `null` values are left out.
pub(super) fn config(body: &Bytes) -> Result<RawConfig, ApiError> {
    Ok(patch(body)?.into_iter().filter_map(|(k, v)| Some((k, v?))).collect())
}

/// A patch: `None` removes the key.
pub(super) fn patch(body: &Bytes) -> Result<BTreeMap<String, Option<String>>, ApiError> {
    texts(object(body)?)
}

fn object(body: &Bytes) -> Result<serde_json::Map<String, Json>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("the request has no body, a JSON object is needed"));
    }
    match serde_json::from_slice(body) {
        Ok(Json::Object(members)) => Ok(members),
        Ok(_) => Err(ApiError::bad_request("the body is not a JSON object")),
        Err(error) => Err(ApiError::bad_request(format!("the body is not JSON: {error}"))),
    }
}

fn texts(members: serde_json::Map<String, Json>) -> Result<BTreeMap<String, Option<String>>, ApiError> {
    let text = |(name, value): (String, Json)| match value {
        Json::Null => Ok((name, None)),
        value => {
            let text = scalar(&name, &value)?;
            Ok((name, Some(text)))
        }
    };
    members.into_iter().map(text).collect()
}

fn scalar(name: &str, value: &Json) -> Result<String, ApiError> {
    match value {
        Json::String(text) => Ok(text.clone()),
        Json::Number(number) => Ok(number.to_string()),
        Json::Bool(flag) => Ok(flag.to_string()),
        _ => Err(ApiError::bad_request(format!("value of '{name}' must be a text, a number or a boolean"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<RawConfig> {
        config(&Bytes::from(body.to_owned())).ok()
    }

    #[test]
    fn scalars_become_texts_and_nulls_are_left_out() {
        let read = read(r#"{"a":5,"b":true,"c":"x","d":null,"e":1.5}"#).unwrap();
        let expected = [("a", "5"), ("b", "true"), ("c", "x"), ("e", "1.5")];
        assert_eq!(read, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn bodies_that_are_no_configuration_are_refused() {
        for body in ["", "  ", "[]", "7", "{", r#"{"a":{}}"#, r#"{"a":[1]}"#] {
            assert!(read(body).is_none(), "{body}");
        }
    }

    #[test]
    fn create_knows_its_fields() {
        let create = |body: &str| create(&Bytes::from(body.to_owned()));
        let made = create(r#"{"name":" n ","config":{"a":1},"initial_state":"paused"}"#).ok().unwrap();
        assert_eq!(made.name.as_deref(), Some("n"));
        assert_eq!(made.initial_state, Some(TargetState::Paused));
        assert!(create(r#"{"name":"n","config":{},"foo":1}"#).is_err());
        assert!(create(r#"{"name":"n"}"#).is_err());
        assert!(create(r#"{"name":"n","config":{},"initial_state":"FOO"}"#).is_err());
    }
}
