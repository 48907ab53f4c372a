//! How a connector is made known to the worker.
//!
//! The worker knows no connector: the binary gives it a list of plugins. A configuration selects one by
//! `connector.class`, which may be the class, one of its aliases, the simple name of either (after the last dot), or the
//! simple name without `Connector` at its end; this is how configurations written for Java find ours.

use std::fmt;
use std::sync::Arc;

use crate::{ConfigDef, Connector, SinkTask, SourceTask};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginKind {
    Source,
    Sink,
}

impl PluginKind {
    /// As REST answers print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}

/// Makes the parts of a plugin; each call gives a fresh, not started instance.
#[derive(Clone)]
pub enum PluginMake {
    Source { connector: Factory<dyn Connector>, task: Factory<dyn SourceTask> },
    Sink { connector: Factory<dyn Connector>, task: Factory<dyn SinkTask> },
}

pub type Factory<T> = Arc<dyn Fn() -> Box<T> + Send + Sync>;

/// A connector as the worker sees it.
#[derive(Clone)]
pub struct Plugin {
    /// The full class name that listings show, e.g. `org.apache.kafka.connect.mirror.MirrorSourceConnector`.
    pub class: String,
    /// Further full class names that select this plugin.
    pub aliases: Vec<String>,
    pub version: String,
    /// The connector's own keys; the worker adds those that every connector has.
    pub config_def: ConfigDef,
    /// Its records are bytes of a format of their own: without converters in its configuration it gets `ByteArrayConverter`,
    /// whatever the worker's are.
    pub bytes_only: bool,
    pub make: PluginMake,
}

impl Plugin {
    pub fn source<C, T>(
        class: &str,
        config_def: ConfigDef,
        connector: impl Fn() -> C + Send + Sync + 'static,
        task: impl Fn() -> T + Send + Sync + 'static,
    ) -> Self
    where
        C: Connector + 'static,
        T: SourceTask + 'static,
    {
        let make = PluginMake::Source {
            connector: Arc::new(move || Box::new(connector()) as Box<dyn Connector>),
            task: Arc::new(move || Box::new(task()) as Box<dyn SourceTask>),
        };
        Self::new(class, config_def, make)
    }

    pub fn sink<C, T>(
        class: &str,
        config_def: ConfigDef,
        connector: impl Fn() -> C + Send + Sync + 'static,
        task: impl Fn() -> T + Send + Sync + 'static,
    ) -> Self
    where
        C: Connector + 'static,
        T: SinkTask + 'static,
    {
        let make = PluginMake::Sink {
            connector: Arc::new(move || Box::new(connector()) as Box<dyn Connector>),
            task: Arc::new(move || Box::new(task()) as Box<dyn SinkTask>),
        };
        Self::new(class, config_def, make)
    }

    fn new(class: &str, config_def: ConfigDef, make: PluginMake) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { class: class.to_owned(), aliases: Vec::new(), version, config_def, bytes_only: false, make }
    }

    #[must_use]
    pub fn alias(mut self, class: &str) -> Self {
        self.aliases.push(class.to_owned());
        self
    }

    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// See [`Plugin::bytes_only`].
    #[must_use]
    pub fn writes_bytes(mut self) -> Self {
        self.bytes_only = true;
        self
    }

    pub fn kind(&self) -> PluginKind {
        match self.make {
            PluginMake::Source { .. } => PluginKind::Source,
            PluginMake::Sink { .. } => PluginKind::Sink,
        }
    }

    pub fn make_connector(&self) -> Box<dyn Connector> {
        match &self.make {
            PluginMake::Source { connector, .. } | PluginMake::Sink { connector, .. } => connector(),
        }
    }

    /// Whether `connector.class=name` selects this plugin.
    pub fn answers_to(&self, name: &str) -> bool {
        std::iter::once(&self.class).chain(&self.aliases).any(|class| {
            let simple = class.rsplit('.').next().unwrap_or(class);
            name == class || name == simple || Some(name) == simple.strip_suffix("Connector")
        })
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("class", &self.class).field("kind", &self.kind()).finish_non_exhaustive()
    }
}
