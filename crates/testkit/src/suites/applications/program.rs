//! One process of an application: started, killed, started again with the same settings and the same folder.
//!
//! Invariant: it runs until it is killed or stopped. One that ended by itself, or said that it gives up though its process
//! lives on, is the end of the judge: whoever takes over for it would hide that.

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
    /// What it says when it gives up without ending.
    gives_up: Option<&'static str>,
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
        Self { name, class, kafka, folder, settings: file, process: None, gives_up: None }
    }

    /// It gives up with these words in its log, while its process lives on.
    pub(super) fn gives_up_with(self, words: &'static str) -> Self {
        Self { gives_up: Some(words), ..self }
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
        self.assert_works();
        eprintln!("killing {}", self.name);
        self.process().kill();
        self.process = None;
    }

    /// SIGTERM, and waits for the end.
    pub(super) async fn stop(&mut self) {
        self.assert_works();
        self.process().stop().await;
        self.process = None;
    }

    /// It has neither ended nor given up, in none of its lives.
    fn assert_works(&mut self) {
        let (name, words) = (self.name.clone(), self.gives_up);
        let process = self.process();
        assert!(process.is_running(), "{name} ended by itself; its last log lines:\n{}", process.log_tail());
        let log = std::fs::read(process.log()).unwrap_or_default();
        let said = words.filter(|words| String::from_utf8_lossy(&log).contains(words));
        assert_eq!(said, None, "{name} gave up, see {}", process.log().display());
    }

    fn process(&mut self) -> &mut Process {
        let name = &self.name;
        self.process.as_mut().unwrap_or_else(|| panic!("{name} is not running"))
    }
}
