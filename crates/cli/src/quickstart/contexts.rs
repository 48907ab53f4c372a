//! Contexts of the quick start: as long as it runs, the next command needs no flags.
//!
//! `quickstart` is the upstream site and becomes the current context, `quickstart-downstream` is the other one. When the quick
//! start ends, the context that was current before is current again; both stay in the file, for the next start.
//! A file that cannot be written is told and nothing more: the commands are shown with flags then.

use super::plan::{Plan, Site};
use crate::arguments::{BOOTSTRAP_VARIABLE, REGISTRY_VARIABLE, WORKER_VARIABLE};
use crate::context::file::{Context, Contexts};
use crate::context::reach::CONTEXT_VARIABLE;
use crate::output;

pub(super) const UPSTREAM: &str = "quickstart";
pub(super) const DOWNSTREAM: &str = "quickstart-downstream";

/// Contexts that were made; they step back when this is dropped.
pub(super) struct Active {
    before: Option<String>,
}

impl Active {
    pub(super) fn make(plan: &Plan) -> Option<Self> {
        let mut before = None;
        let made = Contexts::change(|contexts| {
            before = contexts.current.clone().filter(|name| name != UPSTREAM);
            for (name, site) in [(UPSTREAM, &plan.upstream), (DOWNSTREAM, &plan.downstream)] {
                contexts.contexts.insert(name.to_owned(), context(plan, site));
            }
            contexts.current = Some(UPSTREAM.to_owned());
            Ok(())
        });
        match made {
            Ok(()) => Some(Self { before }),
            Err(failure) => {
                output::talk(&format!("no contexts were made for it\n{}", failure.text()));
                None
            }
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let stepped_back = Contexts::change(|contexts| {
            // Somebody may have chosen another one meanwhile.
            if contexts.current.as_deref() == Some(UPSTREAM) {
                contexts.current = self.before.take().filter(|name| contexts.contexts.contains_key(name));
            }
            Ok(())
        });
        if let Err(failure) = stepped_back {
            output::talk(&failure.text());
        }
    }
}

fn context(plan: &Plan, site: &Site) -> Context {
    Context {
        bootstrap_servers: Some(site.bootstrap.clone()),
        worker: Some(plan.worker.url.clone()),
        registry: Some(plan.registry.url.clone()),
        ..Context::default()
    }
}

/// Whether commands of this shell go where the contexts say.
pub(super) fn are_followed() -> bool {
    let variables = [BOOTSTRAP_VARIABLE, REGISTRY_VARIABLE, WORKER_VARIABLE, CONTEXT_VARIABLE];
    variables.into_iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty()))
}
