// Runs the README's Destination Function as Segment does: a handler for each event, Segment's globals and no others.
import vm from "node:vm";
import { readTask, report } from "./task.mjs";

const { code, settings, events, status } = readTask();
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
report({ outcomes, sent });
