//! `twinstream quickstart`: the whole product on one machine, with real data, in one command.
//!
//! Picture: [`plan`] says what runs where, as data. [`children`] are processes of this same binary. `run` brings them up,
//! both sites at once, then lets [`flow`] produce, mirror and index, reads everything back ([`count`]), and shows it
//! ([`summary`]). Then it waits for a signal or for the death of a child; that of a broker that the others can do without
//! is only told.
//!
//! Invariants: a child never outlives this process, whatever kills it; everything is found again in the data directory,
//! so a second start goes on and produces nothing twice; counts are read back from where the data ended up, never
//! remembered; what a person reads on a terminal and what a script reads as JSON come from the same report.

mod children; // processes that die with us
mod contexts; // names for both sites
mod count; // reading back
mod dataset; // the bundled events and their schema
mod flow; // produce, mirror, index
mod plan; // ports, folders, settings files
mod ports; // who holds a port
mod steps; // ticks and times
mod summary; // what is shown at the end

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use twinstream_client::{Admin, ClientSettings};
use twinstream_connector_mirror::counted;

use crate::arguments::{OutputFormat, Quickstart};
use crate::bootstrap::block_on;
use crate::failure::Failure;
use crate::http::Http;
use crate::output;
use crate::roles::StopSignals;

use children::Children;
use plan::{Plan, Server, Service, Site};
use steps::Steps;
use summary::Report;

/// A debug build on a busy machine may take its time.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

pub(crate) fn run(options: Quickstart, format: OutputFormat) -> Result<ExitCode, Failure> {
    let start = Instant::now();
    let plan = Plan::new(&options)?;
    ports::check(&plan)?;
    let _lock = plan.prepare()?;
    // The whole command is one future on the main thread, which therefore is the parent of all children: their death
    // signal is tied to the thread that forked them.
    block_on(async {
        let mut signals = StopSignals::new()?;
        let children = Children::default();
        let steps = Steps::new(start, format);
        let mut active = None;
        let done = tokio::select! {
            done = work(&plan, &options, &children, &steps, &mut active, format) => done,
            died = children.next_death() => Err(died.failure),
            () = signals.next() => Err(Failure::new("interrupted before everything was shown")),
        };
        steps.clear();
        let ended = match done {
            Ok(code) if options.once => Ok(code),
            Ok(_) => stay(&children, &mut signals).await,
            Err(failure) => Err(failure),
        };
        drop(active);
        children.stop().await;
        ended
    })
}

/// A REST server on this machine answers faster, or hangs.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

async fn work(
    plan: &Plan,
    options: &Quickstart,
    children: &Children,
    steps: &Steps,
    active: &mut Option<contexts::Active>,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let http = Http::new(REQUEST_TIME_MAX)?;
    bring_up(plan, children, &http, steps).await?;
    let ready_ms = steps.elapsed_ms();
    let flow = flow::run(plan, &http, steps).await?;
    let report = Report { ready_ms, flow };
    if !options.once {
        *active = contexts::Active::make(plan);
    }
    summary::show(plan, &report, options.once, active.is_some() && contexts::are_followed(), format)?;
    let good = report.is_complete() || !options.once;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Until a signal (a success) or the death of a child that the others need (a failure).
async fn stay(children: &Children, signals: &mut StopSignals) -> Result<ExitCode, Failure> {
    loop {
        let death = tokio::select! {
            () = signals.next() => {
                output::talk("stopping");
                return Ok(ExitCode::SUCCESS);
            }
            death = children.next_death() => death,
        };
        let Some((what, arguments)) = death.spare else { return Err(death.failure) };
        output::talk(&format!(
            "{what}; the other brokers of its site serve its partitions. Start it again, in a terminal of its own, with\n  {} {}",
            summary::program(),
            arguments.join(" ")
        ));
    }
}

/// Starts all servers, in parallel as far as one does not need the other.
async fn bring_up(plan: &Plan, children: &Children, http: &Http, steps: &Steps) -> Result<(), Failure> {
    for broker in plan.upstream.brokers.iter().chain(&plan.downstream.brokers) {
        children.spawn(broker)?;
    }
    let registry = async {
        site_ready(&plan.upstream, steps).await?;
        service_ready("schema registry", &plan.registry, "/subjects", children, http, steps).await
    };
    let search = async {
        match &plan.search.embedded {
            Some(index) => service_ready("search index", index, "/", children, http, steps).await,
            None => search_answers(plan, http, steps).await,
        }
    };
    tokio::try_join!(registry, site_ready(&plan.downstream, steps), search)?;
    // On data of an earlier run the worker starts its connectors at once, and one that finds a server away has failed.
    service_ready("worker", &plan.worker, "/connectors", children, http, steps).await
}

/// Every broker of the site answers and tells of all its brokers.
async fn site_ready(site: &Site, steps: &Steps) -> Result<(), Failure> {
    let brokers = counted(site.brokers.len(), "broker");
    let step = steps.start(format!("{}: {brokers} on {}", site.name, site.bootstrap));
    for broker in &site.brokers {
        let address = broker.address();
        let settings = ClientSettings::new(&address).map_err(Failure::new)?;
        until(broker, async || {
            let Ok(admin) = Admin::connect(&settings).await else { return false };
            admin.brokers().await.is_ok_and(|known| known.len() == site.brokers.len())
        })
        .await?;
    }
    step.done();
    Ok(())
}

async fn service_ready(
    name: &str,
    service: &Service,
    path: &str,
    children: &Children,
    http: &Http,
    steps: &Steps,
) -> Result<(), Failure> {
    let step = steps.start(format!("{name} on {}", service.url));
    children.spawn(&service.server)?;
    let url = format!("{}{path}", service.url);
    until(&service.server, async || http.get(&url).await.is_ok()).await?;
    step.done();
    Ok(())
}

/// Polls until the server answers as it should. Its death is noticed elsewhere, by [`Children::next_death`].
async fn until(server: &Server, ready: impl AsyncFn() -> bool) -> Result<(), Failure> {
    let start = Instant::now();
    while TcpStream::connect(server.address()).await.is_err() || !ready().await {
        if start.elapsed() > START_TIME_MAX {
            let seconds = START_TIME_MAX.as_secs();
            return Err(server.failure(&format!("does not answer at {} after {seconds} s", server.address())));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// The user's own search server must be there before anything depends on it.
async fn search_answers(plan: &Plan, http: &Http, steps: &Steps) -> Result<(), Failure> {
    let step = steps.start(format!("search server at {}", plan.search.url));
    http.get(&plan.search.request_url()).await.map_err(|error| {
        Failure::new(format!("the search server does not answer: {error}"))
            .tried(format!("GET {}", plan.search.url))
            .next("correct --search URL, or leave it out to use the embedded index")
    })?;
    step.done();
    Ok(())
}
