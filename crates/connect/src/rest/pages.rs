//! Pages for browsers that extensions bring along.
//!
//! A page is one document. Its own style and script run because they carry the nonce of this very answer; nothing else does, so
//! that a name which somebody gave to a topic or a connector is never code. It may ask this worker, and nobody else, and no other
//! site may put it into a frame. It is there while the worker still starts, and says itself what the worker answers.

use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use uuid::Uuid;

use super::SharedApp;

/// Where a page has the nonce.
const NONCE: &str = "{nonce}";

/// Answers GET and HEAD with the page.
pub(super) fn route(html: &'static str) -> MethodRouter<SharedApp> {
    get(move || async move { page(html) })
}

fn page(html: &str) -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    (headers(&nonce), Html(html.replace(NONCE, &nonce))).into_response()
}

fn headers(nonce: &str) -> [(HeaderName, String); 4] {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        // The nonce is for one answer.
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: &str = "<style nonce=\"{nonce}\"></style><script nonce=\"{nonce}\"></script>";

    async fn answered() -> (String, String) {
        let answer = page(HTML);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
        (policy, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn own_script_runs_by_a_nonce_of_each_answer_and_nothing_else_does() {
        let (policy, body) = answered().await;
        let nonce = policy.split_once("script-src 'nonce-").unwrap().1.split_once('\'').unwrap().0;
        assert_eq!(body, HTML.replace(NONCE, nonce));
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("connect-src 'self'"), "{policy}");
        assert_ne!(answered().await.0, policy, "another answer has another nonce");
    }
}
