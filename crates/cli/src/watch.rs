//! `--watch`: a command that looks, again and again.
//!
//! On a terminal each look replaces the one before; elsewhere looks follow each other, so a script reads one document after
//! the other. A look that fails after the first one is told and tried again: a broker that starts anew is no reason to stop
//! watching. Ctrl-C ends it, and so does a reader that goes away.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::failure::Failure;
use crate::output;

const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Watch {
    /// Look again every so many seconds, 2 if none are given, until Ctrl-C.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    watch: Option<u64>,
}

impl Watch {
    /// Looks once, or for ever.
    pub(crate) async fn run(self, look: impl AsyncFn() -> Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
        let Some(seconds) = self.watch else { return look().await };
        let is_terminal = output::stdout_is_terminal();
        let mut has_succeeded = false;
        loop {
            if is_terminal {
                output::raw(CLEAR)?;
            }
            match look().await {
                Ok(_) => has_succeeded = true,
                Err(failure) if !has_succeeded || failure.is_reader_gone() => return Err(failure),
                Err(failure) => output::talk(&failure.text()),
            }
            output::flush()?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }
}
