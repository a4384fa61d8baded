package metrics

import "github.com/prometheus/client_golang/prometheus"

// kind is the type of a family.
type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
	summary   kind = "summary" // without quantiles: a count and a sum
)

// family is a family of series.
type family struct {
	name   string
	kind   kind
	help   string
	labels []string
	panel  panel
	desc   *prometheus.Desc
}

// panel is how the dashboard shows a family; without a query it does not.
type panel struct {
	title string
	unit  string // of Grafana
	query string // of Prometheus; $app is the chosen apps
	names string // legend
}

// families are all of them, in the order of the table.
var families []*family

func declare(name string, k kind, help string, labels []string, p panel) *family {
	f := &family{name: name, kind: k, help: help, labels: labels, panel: p, desc: prometheus.NewDesc(name, help, labels, nil)}
	families = append(families, f)
	return f
}

var (
	ofApp  = []string{"app"}
	byApp  = "{{app}}"
	noneOf []string
)

// What the clients of an app see.
var (
	requests = declare("tideover_app_requests_total", counter,
		"Requests that have ended, by ending (answered, expired, overflowed, client_left, cut, bad_request, bad_gateway, timed_out, refused) and by the status code that the client got (empty: none).",
		[]string{"app", "ending", "code"},
		panel{"Requests by ending", "reqps", `sum by (app, ending) (rate(tideover_app_requests_total{app=~"$app"}[$__rate_interval]))`, "{{app}} {{ending}}"})
	requestDuration = declare("tideover_app_request_duration_seconds", histogram,
		"Time from the first byte of a request to the end of its response, as the client sees it, held time included.", ofApp,
		panel{"Duration for the client, p95", "s", `histogram_quantile(0.95, sum by (app, le) (rate(tideover_app_request_duration_seconds_bucket{app=~"$app"}[$__rate_interval])))`, byApp})
	upstreamDuration = declare("tideover_app_upstream_duration_seconds", histogram,
		"Time from the moment a request is sent to the app to the last byte of the app's response: the app alone, with its own backlog.", ofApp,
		panel{"Duration of the app alone, p95", "s", `histogram_quantile(0.95, sum by (app, le) (rate(tideover_app_upstream_duration_seconds_bucket{app=~"$app"}[$__rate_interval])))`, byApp})
	holdDuration = declare("tideover_app_hold_duration_seconds", histogram,
		"Time that requests were held, of those that were held and have ended.", ofApp,
		panel{"Held requests, by how long", "reqps", `sum by (app) (rate(tideover_app_hold_duration_seconds_count{app=~"$app"}[$__rate_interval]))`, byApp})
	resent = declare("tideover_app_requests_resent_total", counter,
		"Requests that were sent to the app a second time, after a process that had the first died.", ofApp, panel{})
	streamed = declare("tideover_app_requests_streamed_total", counter,
		"Requests that took a worker before their body was complete, although bodies are buffered.", ofApp, panel{})
	blocked = declare("tideover_app_responses_blocked_total", counter,
		"Responses that kept a worker waiting for their client, although responses are buffered: neither memory nor the spool had room.", ofApp, panel{})
	evicted = declare("tideover_app_clients_evicted_total", counter,
		"Clients that were disconnected because they read too slowly while the spool was full.", ofApp, panel{})
	accepted = declare("tideover_app_accepted_connections_total", counter, "Connections of clients that were accepted.", ofApp, panel{})
	opened   = declare("tideover_app_opened_tunnels_total", counter, "Requests that were answered with 101.", ofApp, panel{})
)

// What an app is in the middle of.
var (
	capacity = declare("tideover_app_capacity", gauge, "Requests that the workers of the app handle at once (workers times threads); absent where it is not known.", ofApp, panel{})
	inFlight = declare("tideover_app_in_flight", gauge, "Requests that the generation that serves has, tunnels not among them.", ofApp,
		panel{"In flight, of capacity", "percentunit", `tideover_app_in_flight{app=~"$app"} / tideover_app_capacity`, byApp})
	waiting = declare("tideover_app_waiting", gauge, "Requests in flight beyond the capacity: they wait in the app's own backlog.", ofApp,
		panel{"Waiting in the app's backlog", "short", `tideover_app_waiting{app=~"$app"}`, byApp})
	held       = declare("tideover_app_held", gauge, "Requests that are held.", ofApp, panel{"Held", "short", `tideover_app_held{app=~"$app"}`, byApp})
	heldOldest = declare("tideover_app_held_oldest_seconds", gauge, "How long the oldest held request has been held; 0 when none is.", ofApp,
		panel{"Oldest held request", "s", `tideover_app_held_oldest_seconds{app=~"$app"}`, byApp})
	holdLimit   = declare("tideover_app_hold_limit", gauge, "Requests that may be held (hold.limit).", ofApp, panel{})
	holds       = declare("tideover_app_holds", gauge, "Holds in force that an operator has asked for.", ofApp, panel{})
	drained     = declare("tideover_app_drained", gauge, "1 while load balancers are told to send no new request to the app here (tideover drain), else 0.", ofApp, panel{})
	connections = declare("tideover_app_connections", gauge, "Connections of clients that are open.", ofApp,
		panel{"Connections of clients", "short", `tideover_app_connections{app=~"$app"}`, byApp})
	tunnels = declare("tideover_app_tunnels", gauge, "Tunnels (after a 101) of the generation that serves.", ofApp, panel{})
	sending = declare("tideover_app_sending", gauge, "Responses that are sent from memory or the spool, after the app has finished them.", ofApp, panel{})
)

// Generations and operations.
var (
	state = declare("tideover_app_state", gauge, "1 for the state that the app is in, 0 for the others.", []string{"app", "state"},
		panel{"State", "short", `tideover_app_state{app=~"$app"} == 1`, "{{app}} {{state}}"})
	generation     = declare("tideover_app_generation_info", gauge, "1 for the generation that serves, with its number, the revision that it runs (empty: unknown) and the directory it was started in.", []string{"app", "generation", "revision", "directory"}, panel{})
	generationTime = declare("tideover_app_generation_ready_timestamp_seconds", gauge, "When the generation that serves was ready.", ofApp, panel{})
	draining       = declare("tideover_app_draining_generations", gauge, "Generations that finish what they have, or are being stopped.", ofApp, panel{})
	starts         = declare("tideover_app_starts_total", counter, "Generations that became ready since the daemon started.", ofApp, panel{})
	startsFailed   = declare("tideover_app_start_failures_total", counter, "Generations that did not become ready since the daemon started.", ofApp,
		panel{"Failed starts", "short", `increase(tideover_app_start_failures_total{app=~"$app"}[$__rate_interval])`, byApp})
	crashes = declare("tideover_app_crashes_total", counter, "Generations that served and ended, or were found dead, without an operation, since the daemon started.", ofApp,
		panel{"Crashes", "short", `increase(tideover_app_crashes_total{app=~"$app"}[$__rate_interval])`, byApp})
	operations = declare("tideover_app_operations_total", counter, "Operations that have ended, by verb and result (ok, kept_old, down, failed, ...), since the daemon started.", []string{"app", "verb", "result"},
		panel{"Operations", "short", `sum by (app, verb, result) (increase(tideover_app_operations_total{app=~"$app"}[$__rate_interval]))`, "{{app}} {{verb}} {{result}}"})
	phases = declare("tideover_app_operation_phase_duration_seconds", summary, "Time that phases of operations took (queue, hook, start, ready, swap, drain, ...), since the daemon started.", []string{"app", "verb", "phase"}, panel{})
	lastOK = declare("tideover_app_last_reload_success", gauge, "1 if the last reload or restart has put new code into service, else 0; absent before the first one.", ofApp, panel{})
	lastAt = declare("tideover_app_last_reload_timestamp_seconds", gauge, "When the last reload or restart has ended; absent before the first one.", ofApp, panel{})
)

// What the processes of an app use.
var (
	memory = declare("tideover_app_memory_bytes", gauge, "Proportional set size of the main process of the generation that serves and of all its descendants.", ofApp,
		panel{"Memory", "bytes", `tideover_app_memory_bytes{app=~"$app"}`, byApp})
	memoryMax = declare("tideover_app_memory_max_bytes", gauge, "The size at which the generation is replaced (memory.max); absent where there is none.", ofApp, panel{})
	cpu       = declare("tideover_app_cpu_seconds_total", counter, "CPU time of the same processes, with that of their children that have ended. It begins at 0 with each generation.", ofApp,
		panel{"CPU", "percentunit", `rate(tideover_app_cpu_seconds_total{app=~"$app"}[$__rate_interval])`, byApp})
	processes    = declare("tideover_app_processes", gauge, "How many processes these are.", ofApp, panel{})
	linesDropped = declare("tideover_app_log_lines_dropped_total", counter, "Lines of the app's output, or of its access log, that no file or reader has: it was too slow.", ofApp, panel{})
)

// The daemon.
var (
	build         = declare("tideover_build_info", gauge, "1, with the version of tideover and of Go.", []string{"version", "goversion"}, panel{})
	began         = declare("tideover_start_time_seconds", gauge, "When the daemon, or after an upgrade the present program of it, was started.", noneOf, panel{})
	configChanged = declare("tideover_config_changed", gauge, "1 if the configuration on disk is not the one that was applied.", noneOf, panel{})
	clients       = declare("tideover_connections", gauge, "Connections of clients that are open, of all apps.", noneOf, panel{})
	clientsLimit  = declare("tideover_connection_limit", gauge, "Connections of clients that there may be; 0: without bound.", noneOf, panel{})
	ofProcess     = []string{"process"}
	ownCPU        = declare("tideover_process_cpu_seconds_total", counter, "CPU time of a process of tideover itself (supervisor, relay, admin).", ofProcess,
		panel{"CPU of tideover", "percentunit", `rate(tideover_process_cpu_seconds_total[$__rate_interval])`, "{{process}}"})
	ownMemory = declare("tideover_process_resident_memory_bytes", gauge, "Resident set size of a process of tideover itself.", ofProcess,
		panel{"Memory of tideover", "bytes", `tideover_process_resident_memory_bytes`, "{{process}}"})
	ownFiles = declare("tideover_process_open_fds", gauge, "Descriptors that a process of tideover itself has open.", ofProcess, panel{})
	ownBegan = declare("tideover_process_start_time_seconds", gauge, "When a process of tideover itself was started.", ofProcess, panel{})
)
