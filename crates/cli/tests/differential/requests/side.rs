//! One broker, and what it answered.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use twinstream_client::raw::kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use twinstream_client::raw::kafka_protocol::protocol::{Request, StrBytes};

use crate::requests::normal;
use crate::requests::wire::Wire;
use crate::verdict::Exchange;

const SETTLES_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// The lowest and the highest version by API key.
pub(crate) type Versions = BTreeMap<i16, (i16, i16)>;

pub(crate) struct Side {
    wire: Wire,
    versions: Versions,
    pub(crate) transcript: Vec<Exchange>,
}

impl Side {
    pub(crate) fn connect(address: &str) -> Self {
        let mut wire = Wire::new(address);
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("differential"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        let frame = wire.encode(&request, 3).expect("a request for versions");
        let answer = wire.ask::<ApiVersionsRequest>(&frame, 3).expect("versions of a broker");
        let versions = answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Self { wire, versions, transcript: Vec::new() }
    }

    /// What the broker says that it serves.
    pub(crate) fn versions(&self) -> &Versions {
        &self.versions
    }

    /// What both sides serve.
    pub(crate) fn versions_with(&self, other: &Self) -> Versions {
        let both = self.versions.iter().filter_map(|(key, (min, max))| {
            let (other_min, other_max) = other.versions.get(key)?;
            Some((*key, (*min.max(other_min), *max.min(other_max))))
        });
        both.filter(|(_, (min, max))| min <= max).collect()
    }

    pub(crate) fn serve_only(&mut self, versions: &Versions) {
        self.versions.clone_from(versions);
    }

    /// The versions of a request that both sides and the codec know; empty when one side does not serve it.
    pub(crate) fn versions_of<R: Request>(&self) -> RangeInclusive<i16> {
        let (min, max) = self.versions.get(&R::KEY).copied().unwrap_or((1, 0));
        min.max(R::VERSIONS.min)..=max.min(R::VERSIONS.max)
    }

    /// Asks in every version that can carry the request, and notes the answers.
    pub(crate) fn ask<R: Request<Response: Debug>>(&mut self, label: &str, request: &R) {
        let versions = self.versions_of::<R>();
        let asked = versions.clone().filter(|version| self.ask_in(*version, label, request).is_some()).count();
        assert!(asked > 0 || versions.is_empty(), "{label}: no version in {versions:?} carries it");
    }

    /// Asks in the highest version only, and returns the answer for what comes next.
    pub(crate) fn ask_once<R: Request<Response: Debug>>(&mut self, label: &str, request: &R) -> Option<R::Response> {
        let versions = self.versions_of::<R>();
        if versions.is_empty() { None } else { self.ask_in(*versions.end(), label, request)?.ok() }
    }

    /// Asks in one version and notes the answer; `None` when that version cannot carry the request.
    pub(crate) fn ask_in<R: Request<Response: Debug>>(
        &mut self,
        version: i16,
        label: &str,
        request: &R,
    ) -> Option<Result<R::Response, String>> {
        let frame = self.wire.encode(request, version)?;
        let answer = self.wire.ask::<R>(&frame, version);
        let text = match &answer {
            Ok(answer) => normal::text(answer),
            Err(reason) => reason.clone(),
        };
        self.note(format!("{}: {label} v{version}", api_name(R::KEY)), text);
        Some(answer)
    }

    /// Asks in one version and notes only what `code` takes from the answer.
    pub(crate) fn ask_code<R: Request<Response: Debug>>(
        &mut self,
        version: i16,
        label: &str,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) {
        let Some(frame) = self.wire.encode(request, version) else { return };
        let answer = self.wire.ask::<R>(&frame, version);
        let text = answer.map_or_else(|reason| reason, |answer| format!("error_code: {}", code(&answer)));
        self.note(format!("{}: {label} v{version}", api_name(R::KEY)), text);
    }

    /// Sends a frame that is no request of the codec, and notes the answer.
    pub(crate) fn ask_raw(&mut self, label: &str, frame: &[u8]) {
        let text = match self.wire.exchange(frame) {
            Ok(answer) => format!("{:02x?}", answer.as_ref()),
            Err(reason) => reason,
        };
        self.note(format!("raw: {label}"), text);
    }

    /// The same, and notes only the correlation id and the code behind it.
    pub(crate) fn ask_raw_code(&mut self, label: &str, frame: &[u8]) {
        let text = match self.wire.exchange(frame) {
            Ok(answer) => format!("{:02x?}", &answer[..answer.len().min(6)]),
            Err(reason) => reason,
        };
        self.note(format!("raw: {label}"), text);
    }

    /// Asks in the highest version until the answer is as wanted, and notes nothing: the ground that scripts stand on.
    pub(crate) fn settle<R: Request<Response: Debug>>(
        &mut self,
        what: &str,
        request: &R,
        is: impl Fn(&R::Response) -> bool,
    ) -> Option<R::Response> {
        let version = *self.versions_of::<R>().end();
        if self.versions_of::<R>().is_empty() {
            return None;
        }
        let began = Instant::now();
        loop {
            let frame = self.wire.encode(request, version).expect("a request in its highest version");
            let answer = self.wire.ask::<R>(&frame, version);
            match answer {
                Ok(answer) if is(&answer) => return Some(answer),
                answer => assert!(began.elapsed() < SETTLES_WITHIN, "{what}: {answer:#?}"),
            }
            std::thread::park_timeout(POLL);
        }
    }

    fn note(&mut self, label: String, answer: String) {
        self.transcript.push(Exchange { label, answer });
    }
}

pub(crate) fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("key {key}"), |api| format!("{api:?}"))
}
