//! `twinstream completion` and `twinstream man`: both made from the command tree, so they know every flag that there is.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::arguments::{Arguments, Completion, Man};
use crate::failure::Failure;
use crate::output;

const NAME: &str = "twinstream";

pub(crate) fn completion(options: &Completion) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), NAME, &mut script);
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
