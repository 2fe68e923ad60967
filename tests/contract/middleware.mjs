// Runs the guide's source middleware on events, as analytics.js would.
import vm from "node:vm";
import { readTask, report } from "./task.mjs";

const { code, cookie, events } = readTask();
const middlewares = [];
const page = vm.createContext({
  document: { cookie },
  analytics: { addSourceMiddleware: (middleware) => middlewares.push(middleware) },
});
vm.runInContext(code, page);

const passed = [];
for (const obj of events) middlewares[0]({ payload: { obj }, next: (payload) => passed.push(payload.obj) });
report(passed);
