//! `twinstream format`: ties a broker's empty log directories to a cluster before its first start.

use std::process::ExitCode;

use serde_json::json;
use twinstream_broker::{BrokerOptions, IfFormatted};

use crate::arguments::{Format, OutputFormat};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(options: Format, format: OutputFormat) -> Result<ExitCode, Failure> {
    let broker = BrokerOptions { config: options.role.config, overrides: options.role.overrides };
    let if_formatted = if options.ignore_formatted { IfFormatted::PassOver } else { IfFormatted::Refuse };
    let formatted = twinstream_broker::format(&broker, &options.cluster_id, if_formatted)
        .map_err(|error| Failure::chain(&error).tried(format!("to format for cluster {}", options.cluster_id)))?;
    let state = |was_formatted: bool| if was_formatted { "was formatted" } else { "formatted" };
    match format {
        OutputFormat::Json | OutputFormat::Yaml => {
            let rows: Vec<_> = formatted
                .iter()
                .map(|directory| {
                    json!({
                        "path": directory.path,
                        "cluster_id": options.cluster_id,
                        "directory_id": directory.directory_id.as_str(),
                        "was_formatted": directory.was_formatted,
                    })
                })
                .collect();
            output::data(format, &rows)?;
        }
        _ => {
            let rows = formatted.iter().map(|directory| {
                [
                    directory.path.display().to_string(),
                    directory.directory_id.to_string(),
                    state(directory.was_formatted).to_owned(),
                ]
            });
            output::table(["directory", "directory id", "state"], rows.collect())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
