//! `cargo xtask fuzz`: libFuzzer on the targets of `crates/fuzz`, with the stable compiler.
//!
//! Picture: one program with all targets is built in `target/fuzz`, with LLVM's coverage and the address sanitizer;
//! `RUSTC_BOOTSTRAP=1` lets the stable compiler take the one flag of it that is not stable. Then each target runs for
//! its minutes, from the committed corpus and what earlier runs found on this machine. An input that breaks a target is
//! printed as a line for its corpus, and the task fails.
//!
//! Not here: what the targets are, and what CI does with the corpora (`crates/fuzz`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::{cargo, say};

const MINUTES: f64 = 2.0;
/// Seconds that one input may take; a decoder that needs more hangs.
const INPUT_SECONDS_MAX: u32 = 20;
/// One allocation beyond this is a length that was believed.
const ALLOCATION_MIB_MAX: u32 = 256;
const MEMORY_MIB_MAX: u32 = 2048;
const INSTRUMENTATION: [&str; 11] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address", // what needs the bootstrap variable
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
    "-Ccodegen-units=16",
    "-Cdebuginfo=line-tables-only",
];

#[derive(Args)]
pub(crate) struct Fuzz {
    /// Only these targets; all if none is named.
    targets: Vec<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = MINUTES)]
    minutes: f64,
    /// Adds what was found, minimised by coverage, to the committed corpora.
    #[arg(long)]
    keep: bool,
}

struct Target {
    name: String,
    len_max: String,
}

struct Workshop {
    program: PathBuf,
    /// The program that knows the corpora.
    corpus: PathBuf,
    folder: PathBuf,
}

impl Fuzz {
    pub(crate) fn run(&self, root: &Path) -> Result<bool> {
        let workshop = Workshop::build(root)?;
        let mut broken = Vec::new();
        for target in self.select(workshop.targets()?)? {
            if !workshop.run(&target, (self.minutes * 60.0).ceil() as u64)? {
                broken.push(target.name.clone());
            }
            if self.keep {
                workshop.keep(&target)?;
            }
        }
        match broken.is_empty() {
            true => say("no input breaks a target"),
            false => say(format!("broken: {}", broken.join(", "))),
        }
        Ok(broken.is_empty())
    }

    fn select(&self, all: Vec<Target>) -> Result<Vec<Target>> {
        if let Some(unknown) = self.targets.iter().find(|name| all.iter().all(|target| target.name != **name)) {
            let known: Vec<&str> = all.iter().map(|target| target.name.as_str()).collect();
            bail!("no target is called {unknown}; there are {}", known.join(", "));
        }
        let wanted = |target: &Target| self.targets.is_empty() || self.targets.contains(&target.name);
        Ok(all.into_iter().filter(wanted).collect())
    }
}

impl Workshop {
    fn build(root: &Path) -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = target.join("fuzz");
        let host = host()?;
        let arguments = ["build", "--release", "-p", "twinstream-fuzz", "--features", "libfuzzer", "--bins"];
        let mut build = cargo(root, &arguments);
        // Servers are large and their decoders small: what optimising them whole would cost is better spent on runs.
        for server in ["broker", "client", "connect", "registry"] {
            build.arg("--config").arg(format!("profile.release.package.twinstream-{server}.opt-level=1"));
        }
        // With a target named, build scripts and macros stay as they are.
        build.args(["--target", &host]).arg("--target-dir").arg(&folder);
        build.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f"));
        // C libraries would inherit the sanitizer, and librdkafka's configure could not link them any more.
        build.env("CFLAGS", "-fno-sanitize=address").env("CXXFLAGS", "-fno-sanitize=address");
        if !build.status()?.success() {
            bail!("the fuzz targets do not build");
        }
        let programs = folder.join(host).join("release");
        Ok(Self { program: programs.join("fuzz"), corpus: programs.join("corpus"), folder })
    }

    fn targets(&self) -> Result<Vec<Target>> {
        let text = output(Command::new(&self.corpus).arg("list"))?;
        let rows = text.lines().filter_map(|line| line.split_once(' '));
        Ok(rows.map(|(name, len_max)| Target { name: name.to_owned(), len_max: len_max.to_owned() }).collect())
    }

    /// Whether nothing broke.
    fn run(&self, target: &Target, seconds: u64) -> Result<bool> {
        let (corpus, artifacts) = (self.corpus_folder(target), self.folder.join("found").join(&target.name));
        fs::create_dir_all(&artifacts).with_context(|| format!("create {}", artifacts.display()))?;
        output(Command::new(&self.corpus).args(["unpack", &target.name]).arg(&corpus))?;
        let log = self.folder.join(format!("{}.log", target.name));
        let out = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut command = self.fuzzer(target);
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.args(["-print_final_stats=1", "-reload=0"]).arg(&corpus);
        let status = command.stdout(out.try_clone()?).stderr(out).status().context("start the fuzzer")?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let figure = |name: &str| text.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim();
        say(format!(
            "{} {}: {} runs, {} a second, {} MiB at most",
            if status.success() { "ok    " } else { "BROKEN" },
            target.name,
            figure("stat::number_of_executed_units:"),
            figure("stat::average_exec_per_sec:"),
            figure("stat::peak_rss_mb:"),
        ));
        if !status.success() {
            self.tell(&text, &artifacts, &log)?;
        }
        Ok(status.success())
    }

    /// What broke and with which input, as a line for a corpus.
    fn tell(&self, text: &str, artifacts: &Path, log: &Path) -> Result<()> {
        let about = ["panicked at", "SUMMARY: ", "ERROR: "];
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| about.iter().any(|word| line.contains(word))) {
            say(format!("    {line}"));
            if line.contains("panicked at") {
                lines.get(at + 1).into_iter().for_each(|message| say(format!("    {message}")));
            }
        }
        for entry in fs::read_dir(artifacts)? {
            let path = entry?.path();
            let hex: String = fs::read(&path)?.iter().map(|byte| format!("{byte:02x}")).collect();
            say(format!("    {}: {hex}", path.display()));
        }
        say(format!("    the whole story: {}", log.display()));
        Ok(())
    }

    /// The smallest set of inputs with the coverage of all, into the committed corpus.
    fn keep(&self, target: &Target) -> Result<()> {
        let minimal = self.folder.join("minimal").join(&target.name);
        if minimal.exists() {
            fs::remove_dir_all(&minimal).with_context(|| format!("remove {}", minimal.display()))?;
        }
        fs::create_dir_all(&minimal).with_context(|| format!("create {}", minimal.display()))?;
        let mut merge = self.fuzzer(target);
        merge.arg("-merge=1").arg(&minimal).arg(self.corpus_folder(target));
        if !merge.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            bail!("the corpus of {} cannot be minimised; run without --keep to see why", target.name);
        }
        say(format!("       {}", output(Command::new(&self.corpus).args(["add", &target.name]).arg(&minimal))?.trim()));
        Ok(())
    }

    fn fuzzer(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.program);
        command.env("TWINSTREAM_FUZZ_TARGET", &target.name);
        // Leaks are told at the end of each run and are none where a static holds the memory.
        command.env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=0");
        command.arg(format!("-max_len={}", target.len_max)).arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        command.arg(format!("-malloc_limit_mb={ALLOCATION_MIB_MAX}")).arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        command
    }

    fn corpus_folder(&self, target: &Target) -> PathBuf {
        self.folder.join("corpus").join(&target.name)
    }
}

/// The machine that the compiler runs on, in its own words.
fn host() -> Result<String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let text = output(Command::new(rustc).arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    Ok(host.to_owned())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
