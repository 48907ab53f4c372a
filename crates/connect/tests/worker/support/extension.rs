//! An extension of the REST API that says what it was asked, and does to connectors what it is told.

use std::sync::Arc;

use serde_json::json;
use twinstream_connect_api::{ApiAnswer, ApiRefusal, ApiRequest, Extension, Method, Wanted, WorkerApi, async_trait};

pub(crate) struct Mirror;

#[async_trait]
impl Extension for Mirror {
    fn path(&self) -> &'static str {
        "mirror"
    }

    async fn answer(&self, worker: Arc<dyn WorkerApi>, request: ApiRequest) -> Result<ApiAnswer, ApiRefusal> {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match (request.method, path.as_slice()) {
            (Method::Get, ["connectors"]) => Ok(ApiAnswer::ok(json!(worker.connectors()))),
            (Method::Get, [name]) => Ok(ApiAnswer::ok(json!({
                "config": worker.shown_config(name),
                "wanted": worker.wanted(name).map(Wanted::name),
                "status": worker.status(name),
                "offsets": worker.offsets(name).len(),
                "loud": request.flag("loud"),
            }))),
            (Method::Put, [name]) => {
                let config = request.body.as_object().ok_or_else(|| ApiRefusal::bad_request("no object"))?;
                let config = config.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()));
                let is_new = worker.put(name, config.collect()).await?;
                Ok(if is_new { ApiAnswer::created(json!({})) } else { ApiAnswer::ok(json!({})) })
            }
            (Method::Post, [name, "pause"]) => {
                worker.want(name, Wanted::Paused).await?;
                Ok(ApiAnswer::accepted())
            }
            (Method::Delete, [name]) => {
                worker.delete(name).await?;
                Ok(ApiAnswer::no_content())
            }
            (Method::Patch, _) => panic!("as asked for"),
            _ => Err(ApiRefusal::not_found(format!("nothing at {path:?}"))),
        }
    }
}
