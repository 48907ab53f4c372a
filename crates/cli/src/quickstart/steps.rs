//! Ticks and times while things come up.
//!
//! On a terminal each running step is a spinner that becomes a tick; elsewhere a step is one plain line when it is done.
//! With `-o json` the lines go to stderr, so that stdout holds one JSON object and nothing else.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::OutputFormat;
use crate::output;

const SPIN_EVERY: Duration = Duration::from_millis(80);

pub(super) struct Steps {
    start: Instant,
    to: To,
}

enum To {
    Terminal(MultiProgress),
    Stdout,
    Stderr,
}

/// A step that runs; [`Step::done`] ticks it off. One that is dropped before stays unticked.
pub(super) struct Step<'a> {
    steps: &'a Steps,
    start: Instant,
    text: String,
    bar: Option<ProgressBar>,
}

impl Steps {
    pub(super) fn new(start: Instant, format: OutputFormat) -> Self {
        let to = match format {
            OutputFormat::Json | OutputFormat::Yaml | OutputFormat::Name => To::Stderr,
            _ if output::stdout_is_terminal() => {
                To::Terminal(MultiProgress::with_draw_target(ProgressDrawTarget::stdout()))
            }
            _ => To::Stdout,
        };
        Self { start, to }
    }

    /// Since this process started.
    pub(super) fn elapsed_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    pub(super) fn start(&self, text: impl Into<String>) -> Step<'_> {
        let text = text.into();
        let bar = match &self.to {
            To::Terminal(bars) => {
                let bar = bars.add(ProgressBar::new_spinner().with_message(text.clone()));
                bar.set_style(style("  {spinner} {msg}"));
                bar.enable_steady_tick(SPIN_EVERY);
                Some(bar)
            }
            To::Stdout | To::Stderr => None,
        };
        Step { steps: self, start: Instant::now(), text, bar }
    }

    /// Takes spinners that still turn off the screen; ticks stay.
    pub(super) fn clear(&self) {
        if let To::Terminal(bars) = &self.to {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

impl Step<'_> {
    pub(super) fn done(self) {
        let text = format!("{} ({:.2} s)", self.text, self.start.elapsed().as_secs_f64());
        match (&self.steps.to, &self.bar) {
            (To::Terminal(_), Some(bar)) => {
                bar.set_style(style("  ✓ {msg}"));
                bar.finish_with_message(text);
            }
            // A reader that left is noticed when the result is printed.
            (To::Stdout, _) => output::line(&format!("ok {text}")).unwrap_or(()),
            _ => output::talk(&format!("ok {text}")),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates of steps are valid")
}
