// Runs the guide's Destination Function as Segment does: a handler for each event, Segment's globals and no others.
import http from "node:http";
import vm from "node:vm";
import { readTask, report } from "./task.mjs";

const { code, settings, events, status, isRedirected } = readTask();
const sent = [];
const recordingFetch = async (url, options) => {
  sent.push({ url, method: options.method, headers: options.headers, body: options.body });
  if (status) return new Response("told to", { status });
  return fetch(url, options);
};

class EventNotSupported extends Error {}
class InvalidEventPayload extends Error {}
class ValidationError extends Error {}
class RetryError extends Error {}
const errors = { EventNotSupported, InvalidEventPayload, ValidationError, RetryError };
const segment = vm.createContext({ ...errors, fetch: recordingFetch, console });
vm.runInContext(code, segment);

// A host that sends everything elsewhere, where a GET without a body is welcome.
const elsewhere = http.createServer((request, response) => {
  if (request.method === "POST") response.writeHead(301, { location: "/elsewhere" }).end();
  else response.writeHead(200).end("{}");
});
if (isRedirected) {
  await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
  settings.host = `http://127.0.0.1:${elsewhere.address().port}`;
}

const outcomes = [];
for (const event of events) {
  const handler = segment[`on${event.type[0].toUpperCase()}${event.type.slice(1)}`];
  try {
    if (!handler) throw new EventNotSupported(event.type);
    await handler(event, settings);
    outcomes.push("delivered");
  } catch (error) {
    outcomes.push(`${error.constructor.name}: ${error.message}`);
  }
}
elsewhere.close();
elsewhere.closeAllConnections();
report({ outcomes, sent });
