//! JSON over HTTP, as a test wants it: no error handling, the status beside the body.

use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Rest {
    base: String,
    http: reqwest::Client,
}

/// Status and body; a body that is no JSON is a JSON string.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a good answer; panics with status and body of any other.
    pub fn good(self) -> Value {
        assert!(self.is_good(), "HTTP {}: {}", self.status, self.body);
        self.body
    }
}

impl Rest {
    pub fn new(base: impl Into<String>) -> Self {
        // A judge on this machine must be reached directly, whatever proxy the environment names.
        let http = reqwest::Client::builder().no_proxy().build().expect("HTTP client");
        Self { base: base.into().trim_end_matches('/').to_owned(), http }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(reqwest::Method::GET, path, None).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(reqwest::Method::PUT, path, Some(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(reqwest::Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(reqwest::Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(reqwest::Method::DELETE, path, None).await
    }

    /// Like [`Rest::get`], but a server that is not there yet is `None`.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        self.try_send(reqwest::Method::GET, path, None).await.ok()
    }

    /// Like [`Rest::put`], but a server that is not there, or dies before it has answered, is `None`.
    pub async fn try_put(&self, path: &str, body: &Value) -> Option<Answer> {
        self.try_send(reqwest::Method::PUT, path, Some(body)).await.ok()
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Answer {
        let what = format!("{method} {}{path}", self.base);
        self.try_send(method, path, body).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    async fn try_send(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }
}
