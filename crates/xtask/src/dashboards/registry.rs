//! The registry of schemas: does it answer, how fast, does it hear of what the others write.

use crate::dashboards::board::{Board, Panel, Unit, Variable};

pub(super) fn board() -> Board {
    Board {
        name: "registry",
        title: "Twinstream / Registry",
        description: "The registry of schemas: does it answer, how fast, what is in it, does it hear of what others write.",
        selection: r#"site=~"$site",instance=~"$instance""#,
        variables: vec![Variable::site(r#"up{job="registry"}"#), Variable::instance(r#"up{job="registry"}"#)],
        rows: Vec::new(),
    }
    .row("Is all well?", well())
    .row("Requests", requests())
    .row("Schemas", schemas())
    .row("Process", process())
}

fn well() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Registries not scraped",
            Unit::Count,
            r#"sum(up{job="registry",@} == bool 0)"#,
            "Registries that Prometheus knows and cannot reach.",
        )
        .zero_is_good(),
        Panel::stat(
            "Answers of failure",
            Unit::Count,
            r#"sum(increase(twinstream_registry_http_requests_total{@,status=~"5.."}[$__range])) or on() vector(0)"#,
            "Status 5xx in the range of time shown: the registry did not reach its cluster, or has a fault.",
        )
        .zero_is_good(),
        Panel::stat(
            "Slowest of a hundred",
            Unit::Seconds,
            "histogram_quantile(0.99, sum by (le) (rate(twinstream_registry_http_request_seconds_bucket{@}[$__rate_interval])))",
            "The 99th percentile of the time to answer.",
        )
        .rising(0.5, 2.0),
        Panel::stat(
            "Instances apart",
            Unit::Count,
            "max(max by (site) (twinstream_registry_store_offset{@}) - min by (site) (twinstream_registry_store_offset{@}))",
            "Entries of the topic of schemas that the slowest instance of a site has yet to read.",
        )
        .zero_is_usual(),
        Panel::stat("Subjects", Unit::Count, "max(twinstream_registry_subjects{@})", "With a version that is not deleted."),
        Panel::stat("Versions", Unit::Count, "max(twinstream_registry_versions{@})", "Not deleted, of all subjects."),
    ]
}

fn requests() -> Vec<Panel> {
    vec![
        Panel::stack("Requests by method", Unit::RequestsPerSecond, "Clients keep schemas: many GETs mean clients that do not.")
            .line("{{method}}", "sum by (method) (rate(twinstream_registry_http_requests_total{@}[$__rate_interval]))"),
        Panel::stack("Requests by status", Unit::RequestsPerSecond, "404 of a lookup is usual, 409 is a schema that is not compatible.")
            .line("{{status}}", "sum by (status) (rate(twinstream_registry_http_requests_total{@}[$__rate_interval]))"),
        Panel::graph("Time to answer", Unit::Seconds, "Half of the requests, and all but one of a hundred, take less.")
            .line("half", "histogram_quantile(0.5, sum by (le) (rate(twinstream_registry_http_request_seconds_bucket{@}[$__rate_interval])))")
            .line("99 of a hundred", "histogram_quantile(0.99, sum by (le) (rate(twinstream_registry_http_request_seconds_bucket{@}[$__rate_interval])))"),
    ]
}

fn schemas() -> Vec<Panel> {
    vec![
        Panel::graph("Subjects and versions", Unit::Count, "As each instance knows them.")
            .line("{{instance}} subjects", "twinstream_registry_subjects{@}")
            .line("{{instance}} versions", "twinstream_registry_versions{@}"),
        Panel::graph(
            "Place in the topic of schemas",
            Unit::Count,
            "An instance below the others does not hear of what they write.",
        )
        .line("{{instance}}", "twinstream_registry_store_offset{@}"),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::graph("Processors", Unit::Count, "Processors that the registry keeps busy.")
            .line("{{instance}}", r#"rate(process_cpu_seconds_total{job="registry",@}[$__rate_interval])"#),
        Panel::graph("Memory", Unit::Bytes, "Memory held in RAM; all schemas are.")
            .line("{{instance}}", r#"process_resident_memory_bytes{job="registry",@}"#),
        Panel::graph("Open files", Unit::Count, "Mostly connections.")
            .line("{{instance}}", r#"process_open_fds{job="registry",@}"#),
    ]
}
