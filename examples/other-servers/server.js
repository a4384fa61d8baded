// A plain Node server that listens where it is told, a path or a port:
//
//     tideover run --listen 127.0.0.1:8000 -- node server.js '{socket}'
//
// It is the small shop that the other examples serve: it answers with what it
// was asked.
const crypto = require("crypto");
const fs = require("fs");
const http = require("http");

const where = process.argv[2];
const generation = process.env.TIDEOVER_GENERATION || "-";
const requests = fs.openSync("requests.log", "a");
const release = (fs.readFileSync("release", "utf8").match(/^release=(\d+)$/m) || [])[1];

const server = http.createServer((request, response) => {
  const query = new URL(request.url, "http://shop").searchParams;
  const nonce = query.get("nonce") || "-";
  const digest = crypto.createHash("sha256");
  let length = 0;
  fs.writeSync(requests, `begin ${nonce} ${process.pid} ${generation} ${request.method}\n`);
  request.on("data", (part) => {
    digest.update(part);
    length += part.length;
  });
  request.on("end", () => {
    const answer = `nonce=${nonce} length=${length} sha256=${digest.digest("hex")} ` +
      `release=${release} pid=${process.pid} generation=${generation}\n`;
    setTimeout(() => response.end(answer), 1000 * Number(query.get("s") || 0));
  });
});

server.listen(/^\d+$/.test(where) ? { port: Number(where), host: "127.0.0.1" } : where);
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
