//! Paths that crates of connectors bring along; see `twinstream_connect_api::extension`.
//!
//! Every extension gets what comes below its first segment, but for its `pages`: the request is read here, bodies must be JSON, and the answer
//! has [`REQUEST_WITHIN`](super::REQUEST_WITHIN), beside what the request asks for by `?timeout=`. An extension that panics answers 500, and concerns nobody else.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{Method as HttpMethod, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use bytes::Bytes;
use futures::FutureExt as _;
use serde_json::Value as JsonValue;
use twinstream_connect_api::{
    ApiAnswer, ApiRefusal, ApiRequest, Extension, Method, OffsetMap, RawConfig, Wanted, WorkerApi, async_trait,
};

use super::error::ApiError;
use super::root::{method_not_allowed, ready};
use super::{App, REQUEST_WITHIN, SharedApp, connectors, pages};
use crate::herder::Request;
use crate::state::configs::TargetState;

/// The longest time that a request may ask for.
const ASKED_MAX: Duration = Duration::from_secs(3_600);
/// First segments that are Kafka Connect's, or the worker's own.
const TAKEN: [&str; 6] = ["", "admin", "connector-plugins", "connectors", "health", "metrics"];

/// Why these extensions cannot be served together.
pub(crate) fn problem(extensions: &[Arc<dyn Extension>]) -> Option<String> {
    let mut paths: Vec<&str> = TAKEN.to_vec();
    for extension in extensions {
        let path = extension.path();
        if path.contains(['/', '{', '}']) || paths.contains(&path) {
            return Some(format!("the path '/{path}' of an extension is taken, or is not one segment"));
        }
        paths.push(path);
        let mut pages: Vec<&str> = vec![""];
        for page in extension.pages() {
            if page.path.contains(['/', '{', '}']) || pages.contains(&page.path) {
                return Some(format!("the page '/{path}/{}' is there twice, or is not one segment", page.path));
            }
            pages.push(page.path);
        }
    }
    None
}

pub(super) fn routes(extensions: &[Arc<dyn Extension>]) -> Router<SharedApp> {
    let mut router = Router::new();
    for extension in extensions {
        let path = extension.path();
        let (at_root, below) = (Arc::clone(extension), Arc::clone(extension));
        let root = move |app, method, query, body| serve(at_root, app, method, Path(String::new()), query, body);
        let rest = move |app, method, path, query, body| serve(below, app, method, path, query, body);
        router = router.route(&format!("/{path}"), any(root)).route(&format!("/{path}/{{*rest}}"), any(rest));
        for page in extension.pages() {
            router = router.route(&format!("/{path}/{}", page.path), pages::route(page.html));
        }
    }
    router
}

async fn serve(
    extension: Arc<dyn Extension>,
    State(app): State<SharedApp>,
    method: HttpMethod,
    Path(rest): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    ready(&app)?;
    let Some(method) = known(&method) else { return Err(method_not_allowed().await) };
    let path = rest.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    let within = REQUEST_WITHIN + asked_for(&query);
    let request = ApiRequest { method, path, query: query.into_iter().collect::<BTreeMap<_, _>>(), body: json(&body)? };
    let answering = AssertUnwindSafe(extension.answer(Arc::new(Worker(app)), request)).catch_unwind();
    match tokio::time::timeout(within, answering).await {
        Ok(Ok(answer)) => Ok(response(answer?)),
        Ok(Err(_)) => Err(internal("the extension's code panicked, the log has the place")),
        Err(_) => Err(internal(format!("no answer within {} s", within.as_secs()))),
    }
}

/// The time that a request asks for by `?timeout=` seconds; whoever answers may need some more.
fn asked_for(query: &HashMap<String, String>) -> Duration {
    let seconds = query.get("timeout").and_then(|text| text.parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(ASKED_MAX)
}

fn internal(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

fn known(method: &HttpMethod) -> Option<Method> {
    match method.as_str() {
        "GET" => Some(Method::Get),
        "POST" => Some(Method::Post),
        "PUT" => Some(Method::Put),
        "PATCH" => Some(Method::Patch),
        "DELETE" => Some(Method::Delete),
        _ => None,
    }
}

fn json(body: &Bytes) -> Result<JsonValue, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(JsonValue::Null);
    }
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))
}

fn response(answer: ApiAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match answer.body {
        Some(body) => (status, Json(body)).into_response(),
        None => status.into_response(),
    }
}

/// The REST API as extensions see it.
struct Worker(SharedApp);

impl Worker {
    fn app(&self) -> Result<&App, ApiRefusal> {
        Ok(ready(&self.0)?)
    }
}

#[async_trait]
impl WorkerApi for Worker {
    fn connectors(&self) -> Vec<String> {
        self.0.get().map_or_else(Vec::new, |app| app.configs.state().connectors().map(str::to_owned).collect())
    }

    fn config(&self, connector: &str) -> Option<RawConfig> {
        self.0.get()?.configs.state().config(connector).cloned()
    }

    fn shown_config(&self, connector: &str) -> Option<RawConfig> {
        let config = self.config(connector)?;
        Some(self.0.get()?.shown(&config, &config))
    }

    fn wanted(&self, connector: &str) -> Option<Wanted> {
        let state = self.0.get()?.configs.state();
        state.contains(connector).then(|| match state.target(connector) {
            TargetState::Started => Wanted::Running,
            TargetState::Paused => Wanted::Paused,
            TargetState::Stopped => Wanted::Stopped,
        })
    }

    fn status(&self, connector: &str) -> Option<JsonValue> {
        self.0.get()?.status_json(connector)
    }

    fn producer_servers(&self) -> Option<String> {
        self.0.get()?.settings.producer_servers().map(str::to_owned)
    }

    fn offsets(&self, connector: &str) -> Vec<(OffsetMap, OffsetMap)> {
        let Some(app) = self.0.get() else { return Vec::new() };
        let state = app.offsets.state();
        state.all(connector).map(|(partition, offset)| (partition.clone(), offset.clone())).collect()
    }

    async fn check(&self, config: &RawConfig) -> Result<(), ApiRefusal> {
        Ok(connectors::check(self.app()?, config).await?)
    }

    async fn put(&self, connector: &str, config: RawConfig) -> Result<bool, ApiRefusal> {
        let app = self.app()?;
        Ok(connectors::store(app, connector, app.unmask(connector, config)).await?)
    }

    async fn delete(&self, connector: &str) -> Result<(), ApiRefusal> {
        self.app()?.herd(Request::Delete { name: connector.to_owned() }).await?;
        Ok(())
    }

    async fn want(&self, connector: &str, wanted: Wanted) -> Result<(), ApiRefusal> {
        let target = match wanted {
            Wanted::Running => TargetState::Started,
            Wanted::Paused => TargetState::Paused,
            Wanted::Stopped => TargetState::Stopped,
        };
        self.app()?.herd(Request::Target { name: connector.to_owned(), target }).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;
    use twinstream_connect_api::Page;
    use twinstream_telemetry::Metrics;

    use super::*;

    struct At(&'static str, &'static [Page]);

    #[async_trait]
    impl Extension for At {
        fn path(&self) -> &'static str {
            self.0
        }

        fn pages(&self) -> &'static [Page] {
            self.1
        }

        async fn answer(&self, _: Arc<dyn WorkerApi>, _: ApiRequest) -> Result<ApiAnswer, ApiRefusal> {
            Ok(ApiAnswer::no_content())
        }
    }

    fn problem_of(paths: &[&'static str]) -> Option<String> {
        let extensions: Vec<Arc<dyn Extension>> = paths.iter().map(|path| Arc::new(At(path, &[])) as _).collect();
        problem(&extensions)
    }

    const UI: Page = Page { path: "ui", html: "<p>links</p>" };

    #[test]
    fn path_of_connect_or_of_another_extension_is_refused() {
        assert_eq!(problem_of(&["links", "schemas"]), None);
        for paths in [&["connectors"][..], &["links", "links"], &["a/b"], &["{x}"], &[""]] {
            assert!(problem_of(paths).is_some(), "{paths:?}");
        }
    }

    #[test]
    fn page_that_is_there_twice_or_no_segment_is_refused() {
        let problem_of = |pages| problem(&[Arc::new(At("links", pages)) as _]);
        assert_eq!(problem_of(&[UI]), None);
        assert!(problem_of(&[UI, UI]).is_some_and(|why| why.contains("'/links/ui'")));
        assert!(problem_of(&[Page { path: "a/b", html: "" }]).is_some());
        assert!(problem_of(&[Page { path: "", html: "" }]).is_some());
    }

    /// The answer as it travels, of a worker that still starts.
    async fn asked(method: &str, path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            let extensions: [Arc<dyn Extension>; 1] = [Arc::new(At("links", &[UI]))];
            crate::rest::serve(listener, SharedApp::default(), &extensions, &Metrics::new(), stopped).await
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer
    }

    #[tokio::test]
    async fn page_is_served_to_get_and_head_alone_also_while_the_worker_starts() {
        for path in ["/links/ui", "/links/ui/"] {
            let page = asked("GET", path).await;
            assert!(page.starts_with("HTTP/1.1 200") && page.ends_with(UI.html), "{page}");
            assert!(page.contains("content-type: text/html; charset=utf-8\r\n"), "{page}");
            assert!(page.contains("content-security-policy: default-src 'none'; script-src 'nonce-"), "{page}");
        }
        let head = asked("HEAD", "/links/ui").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-security-policy: "), "{head}");
        assert!(!head.contains(UI.html), "{head}");
        for method in ["PUT", "POST", "DELETE", "PATCH"] {
            let refused = asked(method, "/links/ui").await;
            assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("\"error_code\":405"), "{refused}");
        }
        let other = asked("GET", "/links/east:west").await;
        assert!(other.starts_with("HTTP/1.1 503"), "only pages are there that early: {other}");
    }
}
