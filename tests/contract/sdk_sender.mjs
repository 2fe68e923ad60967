// Sends calls with a published JavaScript SDK for servers, and waits until it has delivered them or has given up.
import { createRequire } from "node:module";
import { readTask, report } from "./task.mjs";

const require = createRequire(import.meta.url);
const { package: name, url, write_key: writeKey, gzip, batch_size: batchSize, calls } = readTask();
const errors = [];

const segment = async () => {
  const { Analytics } = require(name);
  const client = new Analytics({ writeKey, host: url, maxEventsInBatch: batchSize });
  client.on("error", (error) => errors.push(String(error.reason ?? error)));
  for (const { type, ...call } of calls) client[type](call);
  await client.closeAndFlush({ timeout: 120_000 });
};

const rudder = async () => {
  const Rudder = require(name);
  // Its timer sends what is left over after the last full batch.
  const client = new Rudder(writeKey, { dataPlaneUrl: url, gzip, flushAt: batchSize, flushInterval: 200, errorHandler: () => {} });
  const delivered = ({ type, ...call }) =>
    new Promise((resolve) => {
      client[type](call, (error) => {
        if (error) errors.push(String(error));
        resolve();
      });
    });
  await Promise.all(calls.map(delivered));
};

await (name.startsWith("@segment/") ? segment() : rudder());
report({ version: require(`./node_modules/${name}/package.json`).version, errors });
