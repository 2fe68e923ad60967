// The published OFREP provider for Node.js, untouched. A task as JSON, and the details of one evaluation.
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";

const task = JSON.parse(process.argv[2]);
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: task.base, headers: Object.entries(task.headers) }));
const context = { targetingKey: task.visitor, ...task.context };
const found = await OpenFeature.getClient().getNumberDetails(task.flag, task.default, context);
const { value, variant, reason, errorCode, flagMetadata } = found;
console.log(JSON.stringify({ value, variant, reason, error: errorCode ?? null, metadata: flagMetadata }));
process.exit(0);
