//! Which metrics the files of `monitoring/` yield and use.

use std::collections::BTreeSet;

/// Of the exporter's queries: a query's name and a column's, of the columns that are no labels. Reads the layout of our own
/// file; the exporter, which reads it as YAML, has to come to the same.
pub fn yielded(queries: &str) -> BTreeSet<String> {
    let (mut query, mut column, mut metrics) = ("", "", BTreeSet::new());
    for line in queries.lines().filter(|line| !line.starts_with('#')) {
        let text = line.trim();
        if let Some(name) = text.strip_suffix(':') {
            match name.strip_prefix("- ") {
                Some(name) => column = name,
                None if !line.starts_with(' ') => query = name,
                None => {}
            }
        } else if text.starts_with("usage:") && !text.contains("LABEL") {
            metrics.insert(format!("{query}_{column}"));
        }
    }
    metrics
}

/// The queries of a dashboard's panels.
pub fn expressions(dashboard: &serde_json::Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.filter_map(|target| target["expr"].as_str()).collect()
}

/// Samples of a scrape: name, labels, value.
pub fn samples(scrape: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    scrape.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some((name, labels, value.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    fn read(path: &str) -> String {
        std::fs::read_to_string(project::path(path)).unwrap()
    }

    /// Metrics of orgscope that a text names.
    fn named(text: &str) -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("orgscope_")).map(str::to_owned).collect()
    }

    #[test]
    fn the_dashboard_and_the_alerts_name_metrics_that_there_are() {
        let yielded = yielded(&read("monitoring/postgres_exporter.yml"));
        let dashboard = serde_json::from_str(&read("monitoring/grafana.json")).unwrap();
        let expressions = expressions(&dashboard);
        assert!(expressions.len() > 10 && expressions.iter().all(|e| !named(e).is_empty()), "{expressions:#?}");
        let shown = named(&expressions.join("\n"));
        assert_eq!(shown, yielded, "the dashboard shows all there is");
        let variables = named(&dashboard["templating"].to_string());
        let alerts = named(&read("monitoring/alerts.yml"));
        assert!(alerts.len() > 5 && !variables.is_empty());
        assert!(alerts.union(&variables).all(|name| yielded.contains(name)), "{alerts:#?} {variables:#?}");
        let described = named(&read("docs/monitoring.md"));
        assert!(yielded.is_subset(&described), "not described: {:#?}", yielded.difference(&described));
    }

    #[test]
    fn a_label_is_no_metric() {
        let queries = "# a: comment\nq:\n  query: \"SELECT 1\"\n  metrics:\n    - a:\n        usage: \"LABEL\"\n    - b:\n        usage: \"GAUGE\"\n";
        assert_eq!(yielded(queries).into_iter().collect::<Vec<_>>(), ["q_b"]);
    }

    #[test]
    fn a_scrape_has_names_labels_and_values() {
        let scrape = "# HELP a b c\na{x=\"y z\"} 1.5\nb 2e+06\n";
        assert_eq!(samples(scrape).collect::<Vec<_>>(), [("a", "x=\"y z\"}", 1.5), ("b", "", 2e6)]);
    }
}
