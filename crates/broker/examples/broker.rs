//! A broker alone, for experiments: `cargo run -p twinstream-broker --example broker -- server.properties k=v ...`.
//! The product is the `broker` command of the binary `twinstream`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use twinstream_broker::BrokerOptions;
use twinstream_telemetry::{LogOptions, logging};

#[tokio::main]
async fn main() -> ExitCode {
    let mut options = BrokerOptions::default();
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some((name, value)) => options.overrides.push((name.to_owned(), value.to_owned())),
            None => options.config = Some(argument.into()),
        }
    }
    logging::init(&LogOptions::default()).expect("logging is set up once");
    let (stop, told) = watch::channel(false);
    let mut terminated = signal(SignalKind::terminate()).expect("signals can be awaited");
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stop.send(true).ok();
    });
    match twinstream_broker::run(options, told).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "broker failed");
            ExitCode::FAILURE
        }
    }
}
