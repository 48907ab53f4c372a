//! The file of contexts: read, checked, and replaced as a whole.
//!
//! ```text
//! current: east
//! contexts:
//!   east:
//!     bootstrap_servers: kafka01:9092,kafka02:9092
//!     worker: http://worker:8083
//!     registry: http://registry:8081
//!     properties: {client.id: ops}
//! ```
//!
//! Place: `TWINSTREAM_CONTEXTS`, else `twinstream/contexts.yaml` in `$XDG_CONFIG_HOME` or `~/.config`.
//! Invariants: a reader sees the old file or the new one, never half of one; two commands that change it at the same time
//! both take effect (a lock beside it); a key that this release does not know is an error, not lost at the next change.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use twinstream_client::{ClientSettings, settings};

use crate::failure::Failure;

/// Another file than the usual one.
pub(crate) const FILE_VARIABLE: &str = "TWINSTREAM_CONTEXTS";
/// Only its owner reads the file: properties may be secrets.
const MODE: u32 = 0o600;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Context {
    /// What is wrong with the values, in one sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(servers) = &self.bootstrap_servers {
            ClientSettings::new(servers).map_err(|error| error.to_string())?;
        }
        for (name, url) in [("worker", &self.worker), ("registry", &self.registry)] {
            if let Some(url) = url
                && !url.split(',').all(|url| url.starts_with("http://") || url.starts_with("https://"))
            {
                return Err(format!("{name} `{url}` is not an http:// or https:// address"));
            }
        }
        if self.properties.contains_key("bootstrap.servers") {
            return Err("bootstrap.servers is a value of its own; give it with -b".to_owned());
        }
        self.properties.iter().try_for_each(|(name, value)| settings::check(name, value).map_err(|e| e.to_string()))
    }

    pub(crate) fn unset(&mut self, value: &str) -> Result<(), Failure> {
        let was_there = match value {
            "bootstrap" | "bootstrap.servers" | "bootstrap-server" => self.bootstrap_servers.take().is_some(),
            "worker" => self.worker.take().is_some(),
            "registry" => self.registry.take().is_some(),
            property => self.properties.remove(property).is_some(),
        };
        let nothing = || {
            let known = ["bootstrap", "worker", "registry"].into_iter().map(str::to_owned);
            Failure::not_found(format!("the context holds no {value}"))
                .did_you_mean(value, known.chain(self.properties.keys().cloned()))
        };
        if was_there { Ok(()) } else { Err(nothing()) }
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    match !name.is_empty() && !name.starts_with('-') && name.chars().all(is_good) {
        true => Ok(()),
        false => Err(format!("`{name}` is no name for a context: use letters, digits and . _ - @")),
    }
}

impl Contexts {
    pub(crate) fn path() -> PathBuf {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set(FILE_VARIABLE).unwrap_or_else(|| {
            let home = || set("HOME").unwrap_or_default().join(".config");
            // A relative one is to be ignored, says the specification of XDG.
            let folder = set("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute()).unwrap_or_else(home);
            folder.join("twinstream").join("contexts.yaml")
        })
    }

    /// No file is no contexts.
    pub(crate) fn read() -> Result<Self, Failure> {
        Self::read_from(&Self::path())
    }

    pub(crate) fn read_from(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::usage(format!("the file of contexts is of no use: {why}"))
                .tried(format!("to read {}", path.display()))
                .next(format!("correct it, or move it away: mv {0} {0}.bad", path.display()))
        };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(|error| wrong(error.to_string()))?,
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let contexts: Self = serde_yaml_ng::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        for (name, context) in &contexts.contexts {
            check_name(name).and_then(|()| context.check()).map_err(|why| wrong(format!("context {name}: {why}")))?;
        }
        Ok(contexts)
    }

    /// Reads, changes and replaces the file, while no other command does.
    pub(crate) fn change(change: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        Self::change_in(&Self::path(), change)
    }

    pub(crate) fn change_in(path: &Path, change: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(format!("cannot write the file of contexts: {error}"))
                .tried(path.display())
                .next(format!("make its folder writable, or name another file with {FILE_VARIABLE}"))
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(beside(".lock"));
        let lock = lock.map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let mut contexts = Self::read_from(path)?;
        let before = contexts.clone();
        change(&mut contexts)?;
        if contexts == before && path.exists() {
            return Ok(());
        }
        let text = serde_yaml_ng::to_string(&contexts).map_err(|error| failed(std::io::Error::other(error)))?;
        let fresh = beside(".new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&fresh).map_err(failed)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.and_then(|()| fs::rename(&fresh, path)).map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            Failure::not_found(format!("context {name} does not exist"))
                .did_you_mean(name, self.contexts.keys())
                .tried(Self::path().display())
                .next("`twinstream context list`, or `twinstream context add`")
        })
    }

    /// The one of this name, else that of the environment, else the current one.
    pub(crate) fn chosen<'a>(&'a self, named: Option<&str>) -> Result<Option<(&'a str, &'a Context)>, Failure> {
        let variable = std::env::var(super::reach::CONTEXT_VARIABLE).ok().filter(|name| !name.is_empty());
        let Some(name) = named.or(variable.as_deref()).or(self.current.as_deref()) else { return Ok(None) };
        self.get(name)?;
        Ok(self.contexts.get_key_value(name).map(|(name, context)| (name.as_str(), context)))
    }
}
