// Sends events one after another as node-fetch does inside Segment's destination: `connection: close` on each.
import http from "node:http";
import { readTask, report } from "./task.mjs";

const { url, headers, agent: kind, count } = readTask();
const agents = {
  default: undefined,
  keepAlive: new http.Agent({ keepAlive: true, maxSockets: 1 }),
  closing: new http.Agent({ keepAlive: false }),
};

const send = (number) =>
  new Promise((resolve, reject) => {
    const body = JSON.stringify({ type: "track", event: "Sent by Node", userId: "user-1", messageId: `node-${number}` });
    const length = { "content-length": Buffer.byteLength(body), connection: "close" };
    const options = { method: "POST", headers: { ...headers, ...length }, agent: agents[kind] };
    const request = http.request(`${url}/segmentio`, options, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });

const statuses = {};
const errors = [];
for (let number = 0; number < count; number += 1) {
  try {
    const status = await send(number);
    statuses[status] = (statuses[status] ?? 0) + 1;
  } catch (error) {
    errors.push(String(error));
  }
}
report({ statuses, errors });
