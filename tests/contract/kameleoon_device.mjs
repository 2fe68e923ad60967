// Kameleoon's JavaScript core, untouched, with the externals that a Node.js server gives it. A command a line, as
// kameleoon_device.py.
import readline from "node:readline";
import * as sdk from "@kameleoon/javascript-sdk-core";
import { makeCommands, obey } from "./kameleoon_commands.mjs";

const task = JSON.parse(process.argv[2]);
const stored = new Map();
const externals = {
  externalStorage: {
    read: (key) => (stored.has(key) ? JSON.parse(stored.get(key)) : null),
    write: (key, value) => stored.set(key, JSON.stringify(value)),
  },
  externalRequester: { sendRequest: ({ url, parameters }) => fetch(url, parameters) },
  externalEventSource: { open: () => {}, close: () => {}, onError: () => {} },
  externalVisitorCodeManager: new sdk.VisitorCodeManager(),
  externalPackageInfo: { type: sdk.SdkLanguageType.NODEJS, version: "5.17.1", isServer: true },
  externalPRNG: { getRandomNumber: () => Math.random() },
  externalLogger: { log: () => {} },
};
const makeClient = () =>
  new sdk.KameleoonCore({
    siteCode: task.sitecode,
    configuration: { networkDomain: task.domain, environment: task.environment, trackingInterval: 100 },
    internalConfiguration: { externals, settings: { useAbortController: true } },
  });
const commands = makeCommands(sdk, makeClient, stored);
for await (const line of readline.createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await obey(commands, JSON.parse(line))));
}
process.exit(0);
