// What every script here shares with the test that runs it: one JSON object in, one out.
import { readFileSync } from "node:fs";

export const readTask = () => JSON.parse(readFileSync(0, "utf8"));
export const report = (result) => process.stdout.write(`\n${JSON.stringify(result)}\n`);
