// Does what Kameleoon's guide has a page do: the same keys, the same way to read the answers.
import { readTask, report } from "./task.mjs";

const { url, sitecode, users, bulk } = readTask();
const ORIGIN = "https://shop.example";

// A browser shows a page of another origin nothing without this header.
const readable = (response) => {
  const allowed = response.headers.get("access-control-allow-origin");
  if (allowed !== "*" && allowed !== ORIGIN) throw new Error(`a browser would refuse ${response.url}`);
  return response;
};
const get = async (path) => readable(await fetch(`${url}${path}`, { headers: { origin: ORIGIN } }));

// The web engine: what is not 200 becomes an empty object; 200 is parsed with nothing to catch a failure.
const retrieve = async (key) => {
  const response = await get(`/map/map?siteCode=${sitecode}&key=${encodeURIComponent(key)}`);
  return response.status === 200 ? JSON.parse(await response.text()) : {};
};

const readPersonas = async (user) => {
  const cohorts = await retrieve(`COHORTS_${user}`);
  return cohorts && cohorts !== "{}" ? Object.keys(cohorts).filter((key) => cohorts[key]) : [];
};

// The guide's own template literal ends in a line break.
const readProfile = async (user) => {
  const stored = await retrieve(`IDENTIFY_${user}
`);
  return {
    plan: (stored && stored.traits && stored.traits.plan) || null,
    groupId: (stored && stored.groupId) || null,
    traits: stored.traits ?? null,
  };
};

// The list of the condition's editor, which blocks the page until it has come.
const listPersonas = async () => {
  const text = await (await get(`/map/map?siteCode=${sitecode}&key=common`)).text();
  const common = JSON.parse(text);
  return common && common.cohorts ? common.cohorts.map((persona) => ({ value: persona, label: persona })) : null;
};

const preflight = async (path, method, headers) => {
  const asked = { "access-control-request-method": method, "access-control-request-headers": headers };
  const response = readable(await fetch(`${url}${path}`, { method: "OPTIONS", headers: { origin: ORIGIN, ...asked } }));
  const list = (name) => (response.headers.get(name) ?? "").toLowerCase().split(/\s*,\s*/);
  const missing = headers.split(",").filter((name) => !list("access-control-allow-headers").includes(name));
  return response.ok && list("access-control-allow-methods").includes(method.toLowerCase()) && missing.length === 0;
};

const results = { users: {}, common: await listPersonas() };
for (const user of users) {
  results.users[user] = { personas: await readPersonas(user), ...(await readProfile(user)) };
}
const several = await get(`/map/maps?siteCode=${sitecode}&keys=${encodeURIComponent(JSON.stringify(bulk))}`);
results.bulk = await several.json();
results.preflights = [
  await preflight("/map/map", "GET", "authorization,x-kameleoon-sdk-type,x-kameleoon-sdk-version"),
  await preflight("/map/maps", "GET", "authorization"),
];
const refused = await get("/map/map?siteCode=nosuchsite&key=common");
results.refused = [refused.status, await refused.text()];
report(results);
