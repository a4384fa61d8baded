package httpgen

import "fmt"

func curl(d *draft) {
	d.hostFirst = true
	d.method = pick(d, "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS")
	d.maybe("Authorization", pick(d, "Basic dXNlcjpwYXNzd29yZA==", "Bearer "+d.word(40, urlSafe), `Digest username="a", realm="r, s", nonce="x", uri="/", response="y"`))
	d.add("User-Agent", "curl/8.11.0")
	d.add("Accept", "*/*")
	d.maybe("X-Empty", "") // curl -H 'X-Empty;'
	if d.method == "POST" {
		d.add("Content-Type", "application/x-www-form-urlencoded")
		d.setBody([]byte(d.lowercase(200)))
	}
}

func curlUpload(d *draft) {
	d.hostFirst = true
	d.method = pick(d, "PUT", "POST", "PATCH")
	d.add("User-Agent", "curl/8.11.0")
	d.add("Accept", "*/*")
	d.setBody(d.octets(d.upTo(d.source.Body)))
	d.expect, d.chunked = d.oneIn(2), d.oneIn(2)
}

// curlUpgrade is what curl --http2 sends without TLS.
func curlUpgrade(d *draft) {
	d.hostFirst = true
	d.add("User-Agent", "curl/8.11.0")
	d.add("Accept", "*/*")
	d.add("Connection", "Upgrade, HTTP2-Settings")
	d.add("Upgrade", "h2c")
	d.add("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
}

func wget(d *draft) {
	d.hostFirst = true
	d.add("User-Agent", "Wget/1.24.5")
	d.add("Accept", "*/*")
	d.add("Accept-Encoding", "identity")
	d.add("Connection", "Keep-Alive")
}

func apacheBench(d *draft) {
	d.version = "1.0"
	d.method = pick(d, "GET", "GET", "HEAD", "POST")
	d.maybe("Connection", "Keep-Alive")
	d.add("User-Agent", "ApacheBench/2.3")
	d.add("Accept", "*/*")
	if d.method == "POST" {
		d.setBody(d.octets(d.upTo(2000)))
	}
}

func pythonRequests(d *draft) {
	d.hostFirst = true
	d.method = pick(d, "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
	d.add("User-Agent", pick(d, "python-requests/2.32.3", "python-httpx/0.28.0", "Python/3.12 aiohttp/3.11.7"))
	d.add("Accept-Encoding", "gzip, deflate, br")
	d.add("Accept", "*/*")
	d.add("Connection", "keep-alive")
	switch d.method {
	case "POST", "PUT", "PATCH", "DELETE":
		d.json(d.upTo(4000))
		d.add("Content-Type", "application/json")
		d.chunked = d.oneIn(3)
	case "OPTIONS":
		if d.oneIn(2) {
			d.setBody(nil)
		}
	}
}

func goClient(d *draft) {
	d.hostFirst = true
	d.method = pick(d, "GET", "POST", "PUT")
	d.add("User-Agent", "Go-http-client/1.1")
	if d.method != "GET" {
		d.setBody(d.octets(d.upTo(d.source.Body)))
		d.chunked = d.oneIn(2)
		if d.chunked && d.oneIn(2) {
			d.add("Trailer", "Digest")
		}
	}
	d.add("Accept-Encoding", "gzip")
}

func okHTTP(d *draft) {
	d.method = pick(d, "GET", "POST", "PATCH", "DELETE")
	d.add("Authorization", "Bearer "+d.jwt(400))
	d.add("X-Device-Id", d.uuid())
	d.add("X-App-Version", "7.31.0 (73100)")
	d.add("User-Agent", "okhttp/4.12.0")
	d.add("Accept-Language", "tr-TR")
	d.add("Connection", "Keep-Alive")
	d.add("Accept-Encoding", "gzip")
	switch {
	case d.method == "DELETE":
		d.setBody(nil) // Content-Length: 0
	case d.method != "GET":
		d.add("Content-Type", "application/json; charset=utf-8")
		d.json(d.upTo(3000))
	}
}

func javaClient(d *draft) {
	d.method = pick(d, "GET", "POST")
	d.add("User-Agent", pick(d, "Java/17.0.2", "Apache-HttpClient/5.4 (Java/21)"))
	d.add("Accept", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2")
	d.add("Connection", pick(d, "keep-alive", "Keep-Alive", "close"))
	if d.method == "POST" {
		d.add("Content-type", "application/x-www-form-urlencoded")
		d.setBody([]byte("a=" + d.lowercase(40)))
		d.expect = d.oneIn(3)
	}
}

func nodeFetch(d *draft) {
	d.hostFirst = true
	d.method = pick(d, "GET", "POST", "PUT")
	d.add("connection", "keep-alive")
	d.add("accept", "*/*")
	d.add("accept-language", "*")
	d.add("sec-fetch-mode", "cors")
	d.add("user-agent", "node")
	d.add("accept-encoding", "gzip, deflate")
	if d.method != "GET" {
		d.json(d.upTo(8000))
		d.chunked = d.oneIn(2)
	}
}

func webhook(d *draft) {
	d.hostFirst = true
	d.method = "POST"
	switch d.IntN(3) {
	case 0:
		d.add("User-Agent", "GitHub-Hookshot/044aadd")
		d.add("X-GitHub-Delivery", d.uuid())
		d.add("X-GitHub-Event", "push")
		d.add("X-Hub-Signature-256", "sha256="+d.word(64, hex))
	case 1:
		d.add("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
		d.add("Stripe-Signature", "t=1732291234,v1="+d.word(64, hex)+",v0="+d.word(64, hex))
		d.add("Idempotency-Key", `"`+d.uuid()+`"`)
	default:
		d.add("User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
		d.add("X-Slack-Request-Timestamp", "1732291234")
		d.add("X-Slack-Signature", "v0="+d.word(64, hex))
	}
	d.add("Accept", "*/*")
	d.add("content-type", "application/json")
	d.json(d.upTo(40 << 10))
}

func sigV4(d *draft) {
	d.method = pick(d, "GET", "PUT", "DELETE", "HEAD", "POST")
	d.add("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261122/eu-central-1/s3/aws4_request, "+
		"SignedHeaders=host;range;x-amz-date, Signature="+d.word(64, hex))
	d.add("x-amz-content-sha256", pick(d, "UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", d.word(64, hex)))
	d.add("x-amz-date", "20261122T120000Z")
	d.add("amz-sdk-invocation-id", d.uuid())
	d.add("amz-sdk-request", "attempt=1; max=3")
	d.maybe("x-amz-meta-note", "caf\xc3\xa9")
	if d.method == "PUT" || d.method == "POST" {
		d.setBody(d.octets(d.upTo(d.source.Body)))
		d.expect = d.oneIn(2)
	}
}

func webdav(d *draft) {
	d.method = pick(d, "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "MKCALENDAR", "VERSION-CONTROL")
	d.add("User-Agent", pick(d, "davfs2/1.7.0 neon/0.33.0", "Microsoft-WebDAV-MiniRedir/10.0.22631", "iOS/18.1 (22B83) dataaccessd/1.0"))
	d.add("Depth", pick(d, "0", "1", "infinity"))
	switch d.method {
	case "COPY", "MOVE":
		d.add("Destination", "https://"+d.source.Host+d.path())
		d.add("Overwrite", pick(d, "T", "F"))
	case "UNLOCK":
		d.add("Lock-Token", "<urn:uuid:"+d.uuid()+">")
	case "MKCOL":
	default:
		d.maybe("If", `(<urn:uuid:`+d.uuid()+`> ["etag"]) (Not <DAV:no-lock>)`)
		d.maybe("Timeout", "Infinite, Second-4100000000")
		d.add("Content-Type", `text/xml; charset="utf-8"`)
		d.setBody([]byte(`<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`))
	}
}

func soap(d *draft) {
	d.method = "POST"
	d.add("SOAPAction", pick(d, `""`, `"urn:example#do"`, ""))
	d.add("Content-Type", pick(d, "text/xml; charset=utf-8", `multipart/related; type="application/xop+xml"; start="<a@b>"; boundary="uuid:`+d.uuid()+`"`))
	d.add("User-Agent", "Apache-CXF/3.5.5")
	d.setBody([]byte("<soap:Envelope/>"))
	d.chunked = d.oneIn(2)
}

func grpcWeb(d *draft) {
	d.method, d.target = "POST", "/pkg.v1.Service/Do"
	d.add("content-type", "application/grpc-web+proto")
	d.add("x-grpc-web", "1")
	d.add("grpc-timeout", "1S")
	d.add("te", "trailers")
	d.setBody(d.octets(5 + d.IntN(200)))
}

func crawler(d *draft) {
	d.add("Connection", "keep-alive")
	d.add("Accept", "text/html,application/xhtml+xml,application/signed-exchange;v=b3,application/xml;q=0.9,*/*;q=0.8")
	d.add("From", "googlebot(at)googlebot.com")
	d.add("User-Agent", pick(d, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"))
	d.add("Accept-Encoding", "gzip, deflate, br")
}

func probe(d *draft) {
	d.method, d.target = pick(d, "GET", "HEAD", "OPTIONS"), pick(d, "/", "/healthz", "/-/ready?verbose", "")
	d.add("User-Agent", pick(d, "kube-probe/1.31", "ELB-HealthChecker/2.0", "Prometheus/2.55.0", "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)"))
	d.add("Connection", "close")
	d.maybe("X-Prometheus-Scrape-Timeout-Seconds", "10")
}

// bare has no field besides Host, and perhaps a body.
func bare(d *draft) {
	d.method = pick(d, "GET", "HEAD", "POST", "OPTIONS", "PUT")
	if d.method == "POST" {
		d.setBody([]byte(pick(d, "", "x", fmt.Sprint(d.IntN(100)))))
		d.chunked = d.oneIn(3)
	}
}
