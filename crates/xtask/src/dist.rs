//! `cargo xtask dist`: a `.deb` and a tarball of a release build.
//!
//! Picture: a folder is laid out as it is to lie on a machine; `dpkg-deb` and `tar` wrap it. What the binary knows of itself
//! (completions, manual pages) it writes itself; what the distribution knows (which libraries, which architecture) its tools say.
//! Invariants: the same tree gives the same names and contents of files; nothing is taken from outside the tree and the build.
//! Not here: images of containers, repositories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command;

const NAME: &str = "twinstream";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const MAINTAINER: &str = "The Twinstream maintainers <maintainers@twinstream.invalid>";
const SUMMARY: &str = "Kafka-compatible brokers, mirrors, schema registry and search sink";
const DESCRIPTION: &str = " One binary with all roles of a pair of sites: brokers that speak Kafka's
 protocol, a worker that runs Kafka Connect's configurations, links that mirror
 topics from site to site and fail over, and a schema registry.
 .
 Each role is an instance of the unit twinstream@.service with its settings in
 /etc/twinstream/ROLE.properties.
";
/// Where a file of `crates/xtask/dist` goes.
const PLACED: [(&str, &str); 2] = [
    ("twinstream@.service", "lib/systemd/system/twinstream@.service"),
    ("sysusers.conf", "usr/lib/sysusers.d/twinstream.conf"),
];
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/twinstream"),
    ("zsh", "usr/share/zsh/vendor-completions/_twinstream"),
    ("fish", "usr/share/fish/vendor_completions.d/twinstream.fish"),
];
const MANUAL: &str = "usr/share/man/man1";
const DOCUMENTS: &str = "usr/share/doc/twinstream";

#[derive(Args)]
pub(crate) struct Dist {
    /// Let lintian judge the package; an error or a warning is a failure.
    #[arg(long)]
    lint: bool,

    /// Wrap this binary and build none.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// Where both go, instead of target/dist.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,

    /// Make the package alone, packed less: for machines of a test.
    #[arg(long)]
    quick: bool,
}

impl Dist {
    pub(crate) fn run(&self, root: &Path) -> Result<bool> {
        let binary = match &self.binary {
            Some(binary) => binary.canonicalize().with_context(|| format!("find {}", binary.display()))?,
            None if command::cargo(root, &["build", "--release", "-p", NAME]).status()?.success() => {
                root.join("target/release").join(NAME)
            }
            None => return Ok(false),
        };
        let out = self.out.clone().unwrap_or_else(|| root.join("target/dist"));
        let package = Package { binary, sources: root.join("crates/xtask/dist"), quick: self.quick };
        let tree = out.join("tree");
        package.lay_out(&tree)?;
        if !self.quick {
            eprintln!("{}", tar(&tree, &out)?.display());
        }
        let deb = package.deb(&tree, &out)?;
        eprintln!("{}", deb.display());
        if !self.lint {
            return Ok(true);
        }
        // What it tells as information is about libraries that are linked in.
        let judged = Command::new("lintian").args(["--fail-on", "error,warning"]).arg(&deb).status();
        Ok(judged.context("run lintian (Debian: apt-get install lintian)")?.success())
    }
}

struct Package {
    binary: PathBuf,
    sources: PathBuf,
    quick: bool,
}

impl Package {
    /// Everything but what Debian alone needs.
    fn lay_out(&self, tree: &Path) -> Result<()> {
        if tree.exists() {
            fs::remove_dir_all(tree)?;
        }
        let binary = tree.join("usr/bin").join(NAME);
        place(&binary, &fs::read(&self.binary)?, 0o755)?;
        run(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(&binary))?;
        for (file, at) in PLACED {
            place(&tree.join(at), &fs::read(self.sources.join(file))?, 0o644)?;
        }
        for (shell, at) in COMPLETIONS {
            place(&tree.join(at), &said(Command::new(&self.binary).args(["completion", shell]))?, 0o644)?;
        }
        let manual = tree.join(MANUAL);
        run(Command::new(&self.binary).arg("man").arg(&manual).stdout(Stdio::null()))?;
        for page in fs::read_dir(&manual)? {
            zip(&page?.path())?;
        }
        let documents = tree.join(DOCUMENTS);
        place(&documents.join("copyright"), &fs::read(self.sources.join("copyright"))?, 0o644)?;
        for example in fs::read_dir(self.sources.join("examples"))? {
            let example = example?;
            place(&documents.join("examples").join(example.file_name()), &fs::read(example.path())?, 0o644)?;
        }
        Ok(())
    }

    fn deb(&self, tree: &Path, out: &Path) -> Result<PathBuf> {
        let architecture =
            String::from_utf8(said(Command::new("dpkg").arg("--print-architecture"))?)?.trim().to_owned();
        let changes = tree.join(DOCUMENTS).join("changelog");
        place(&changes, changelog().as_bytes(), 0o644)?;
        zip(&changes)?;
        let control = tree.join("DEBIAN");
        for script in SCRIPTS {
            place(&control.join(script), &fs::read(self.sources.join(script))?, 0o755)?;
        }
        let text = format!(
            "Package: {NAME}\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\nSection: net\nPriority: optional\n\
             Depends: {}, systemd | systemd-standalone-sysusers\nInstalled-Size: {}\nDescription: {SUMMARY}\n{DESCRIPTION}",
            libraries(&tree.join("usr/bin").join(NAME), out)?,
            kilobytes(tree)?
        );
        place(&control.join("control"), text.as_bytes(), 0o644)?;
        let listed = ["-c", "find . -path ./DEBIAN -prune -o -type f -printf '%P\\0' | sort -z | xargs -0 md5sum"];
        place(&control.join("md5sums"), &said(Command::new("sh").args(listed).current_dir(tree))?, 0o644)?;
        let deb = out.join(format!("{NAME}_{VERSION}_{architecture}.deb"));
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", if self.quick { "-Zgzip" } else { "-Zxz" }, "--build"])
            .arg(tree)
            .arg(&deb)
            .stdout(Stdio::null()))?;
        Ok(deb)
    }
}

/// Debian's own word on the libraries that a binary needs. It asks for a source package, so it gets the outline of one.
fn libraries(binary: &Path, out: &Path) -> Result<String> {
    let source = out.join("source");
    place(
        &source.join("debian/control"),
        format!("Source: {NAME}\n\nPackage: {NAME}\nArchitecture: any\n").as_bytes(),
        0o644,
    )?;
    let told = said(Command::new("dpkg-shlibdeps").arg("-O").arg("-e").arg(binary).current_dir(&source))?;
    let told = String::from_utf8(told)?;
    match told.trim().strip_prefix("shlibs:Depends=") {
        Some(libraries) => Ok(libraries.to_owned()),
        None => bail!("dpkg-shlibdeps says {told:?}"),
    }
}

fn changelog() -> String {
    format!(
        "{NAME} ({VERSION}) unstable; urgency=medium\n\n  * See the history of the project.\n\n -- {MAINTAINER}  Mon, 02 Nov 2026 12:00:00 +0000\n"
    )
}

fn tar(tree: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("{NAME}-{VERSION}-{}-linux", std::env::consts::ARCH);
    let tarball = out.join(format!("{name}.tar.gz"));
    let sorted = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"];
    run(Command::new("tar")
        .args(sorted)
        .arg(format!("--transform=s,^\\.,{name},"))
        .arg("-czf")
        .arg(&tarball)
        .arg("-C")
        .arg(tree)
        .arg("."))?;
    Ok(tarball)
}

fn place(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let failed = || format!("write {}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(failed)?;
    fs::write(path, content).with_context(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(failed)
}

/// In the place of the file, as Debian wants documents.
fn zip(path: &Path) -> Result<()> {
    run(Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(path))
}

fn kilobytes(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        total += match entry.file_type()?.is_dir() {
            true => kilobytes(&entry.path())?,
            false => entry.metadata()?.len().div_ceil(1024),
        };
    }
    Ok(total)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?}: {status}") }
}

fn said(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("start {command:?}"))?;
    if output.status.success() { Ok(output.stdout) } else { bail!("{command:?}: {}", output.status) }
}
