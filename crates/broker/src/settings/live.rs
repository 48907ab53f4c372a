//! What topics inherit from the broker: its settings, with what was altered while it runs on top.
//!
//! Picture: a topic config asks for its broker twin. The answer is, strongest first, what was set on this broker, what
//! was set on the default of all brokers, what the settings file says; the default of the config itself comes after
//! all of them and is not known here.

use twinstream_metadata::configs::{BrokerDefaults, Source};
use twinstream_metadata::{ConfigResource, Image};

use super::Settings;

/// The settings of this broker as they are with an image.
pub(crate) struct LiveSettings<'a> {
    settings: &'a Settings,
    image: &'a Image,
}

impl<'a> LiveSettings<'a> {
    pub(crate) fn new(settings: &'a Settings, image: &'a Image) -> Self {
        Self { settings, image }
    }
}

impl BrokerDefaults for LiveSettings<'_> {
    fn given(&self, name: &str) -> Option<(String, Source)> {
        let own = ConfigResource::Broker(self.settings.node.id);
        let dynamic = |resource: &ConfigResource| self.image.config(resource, name).map(str::to_owned);
        if let Some(value) = dynamic(&own) {
            return Some((value, Source::DynamicBroker));
        }
        if let Some(value) = dynamic(&ConfigResource::BrokerDefault) {
            return Some((value, Source::DynamicDefaultBroker));
        }
        let given = self.settings.text(name).filter(|_| self.settings.is_given(name));
        given.map(|value| (value.to_owned(), Source::StaticBroker))
    }
}
