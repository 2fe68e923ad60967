// Exchange of every script with its test: one JSON object in, one out.
import { readFileSync } from "node:fs";

export const readTask = () => JSON.parse(readFileSync(0, "utf8"));
export const report = (result) => process.stdout.write(`\n${JSON.stringify(result)}\n`);
