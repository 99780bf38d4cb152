// Calls a unary method thrice with @grpc/grpc-js: `node grpc_js.cjs ADDRESS METHOD FILE COMPRESSION`.
const grpc = require("@grpc/grpc-js");
const { readFileSync } = require("node:fs");

const [address, method, file, compression] = process.argv.slice(2);
const client = new grpc.Client(address, grpc.credentials.createInsecure(), {
  "grpc.default_compression_algorithm": Number(compression),
  "grpc.keepalive_time_ms": 1000,
  "grpc.keepalive_permit_without_calls": 1,
});
const same = (bytes) => bytes;
const call = (left) =>
  client.makeUnaryRequest(method, same, same, readFileSync(file), (error, answer) => {
    if (error) throw error;
    if (left > 1) return call(left - 1);
    process.stdout.write(answer);
    client.close();
  });
call(3);
