//! One process of an application: started, killed, started again with the same settings and the same folder.

use std::path::PathBuf;

use crate::folder::Folder;
use crate::peer::Kafka;
use crate::process::Process;

pub(super) struct Program {
    name: String,
    class: &'static str,
    kafka: Kafka,
    folder: Folder,
    settings: PathBuf,
    process: Option<Process>,
}

impl Program {
    /// A class whose only argument is a file of settings.
    pub(super) fn new(
        kafka: &Kafka,
        folder: &Folder,
        name: &str,
        class: &'static str,
        settings: &[(&str, &str)],
    ) -> Self {
        let file = folder.path().join(format!("{name}.properties"));
        let text: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        let (name, kafka, folder) = (name.to_owned(), kafka.clone(), folder.clone());
        Self { name, class, kafka, folder, settings: file, process: None }
    }

    pub(super) fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let temporary = self.folder.sub(&format!("{}-temporary", self.name));
        let command = self.kafka.application(&temporary, self.class, &[&self.settings.display().to_string()]);
        let log = self.folder.path().join(format!("{}.log", self.name));
        self.process = Some(Process::spawn(&self.name, command, &log));
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        eprintln!("killing {}", self.name);
        self.process().kill();
        self.process = None;
    }

    /// SIGTERM, and waits for the end.
    pub(super) async fn stop(&mut self) {
        self.process().stop().await;
        self.process = None;
    }

    fn process(&mut self) -> &mut Process {
        let name = &self.name;
        self.process.as_mut().unwrap_or_else(|| panic!("{name} is not running"))
    }
}
