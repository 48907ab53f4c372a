//! The page of links: what `GET /links` and `GET /links/A->B` tell, for eyes.
//!
//! One document with style and script in it, which asks for the JSON every two seconds and shows it as text. Nothing is computed
//! here or there that the JSON does not say. Not here: how it is served, and what the browser may do (the worker's REST).

use twinstream_connect_api::Page;

pub(super) const PAGES: [Page; 1] = [Page { path: "ui", html: include_str!("page/links.html") }];

#[cfg(test)]
mod tests;
