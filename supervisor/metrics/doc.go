// Package metrics writes what a daemon counts in the text format of Prometheus.
//
// table.go lists the series: it is the source of the collector, of the Grafana dashboard in
// examples/prometheus and of the list in the README. Nothing is counted here: a Snapshot has numbers
// that others have counted, and each scrape makes constant metrics of it (prometheus.NewConstMetric).
package metrics
