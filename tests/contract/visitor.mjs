// Runs the guide's function for pages.
import vm from "node:vm";
import { readTask, report } from "./task.mjs";

const { code, sitecode, host, ids } = readTask();
const page = vm.createContext({ fetch });
vm.runInContext(code, page);

const results = {};
for (const id of ids) results[id] = await page.readVisitor(sitecode, id, host);
report(results);
