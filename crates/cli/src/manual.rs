//! `twinstream completion` and `twinstream man`: the pages are made from the command tree, and the scripts ask
//! it at each Tab, so they know every flag that there is.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::env::Shells;

use crate::arguments::{Arguments, Completion, Man};
use crate::complete;
use crate::failure::Failure;
use crate::output;

const NAME: &str = "twinstream";

/// A script that asks this binary at each Tab, so that it knows the names of topics too. Elvish and PowerShell get theirs alike.
pub(crate) fn completion(options: &Completion) -> Result<ExitCode, Failure> {
    let shell = options.shell.to_string();
    let shells = Shells::builtins();
    let found = shells.completer(&shell);
    let shell = found.ok_or_else(|| Failure::usage(format!("no completion is known for {shell}")))?;
    let mut script = Vec::new();
    let written = shell.write_registration(complete::VARIABLE, NAME, NAME, NAME, &mut script);
    written.map_err(|error| Failure::new(format!("cannot write the script: {error}")))?;
    output::raw(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(options: &Man) -> Result<ExitCode, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot write manual pages: {error}"));
    match &options.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(failed)?;
            clap_mangen::generate_to(Arguments::command(), dir).map_err(failed)?;
            output::line(&dir.display().to_string())?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(failed)?;
            output::raw(&page)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
