// Commands of the tests to Kameleoon's JavaScript SDKs, in Node.js and in a browser.
// `stored` has the texts that the SDK keeps, as localStorage or a Map.
export const makeCommands = (sdk, makeClient, stored) => {
  let client = makeClient();
  const { CustomData, PageView, UserAgent, UniqueIdentifier, Device, Browser, GeolocationData } = sdk;
  const kinds = {
    customData: (index, ...values) => new CustomData(index, ...values),
    page: (urlAddress, title) => new PageView({ urlAddress, title }),
    userAgent: (value) => new UserAgent(value),
    device: (name) => new Device(name),
    browser: (name) => new Browser(name),
    geolocation: (country, region, city) => new GeolocationData({ country, region, city }),
  };
  const describe = (found) => {
    const data = found.data;
    if (found instanceof sdk.Conversion) return ["conversion", data.goalId];
    if (found instanceof CustomData) return ["customData", [data.index, [...data.value].sort()]];
    if (found instanceof PageView) return ["page", data.urlAddress];
    if (found instanceof GeolocationData) return ["geolocation", data.city];
    return null;
  };
  const filters = { previousVisitAmount: 25, currentVisit: true, customData: true, pageViews: true };
  return {
    initialize: () => client.initialize(),
    // Start again two hours later, with what was kept.
    restart: () => {
      const past = new Date(Date.now() - 7_200_000).toISOString();
      for (const [key, text] of stored.entries()) {
        stored.set(key, text.replace(/"lastUpdate":"[^"]+"/, `"lastUpdate":"${past}"`));
      }
      client = makeClient();
      return client.initialize();
    },
    code: () => client.getVisitorCode(),
    add: (visitor, kind, ...values) => client.addData(visitor, kinds[kind](...values)) ?? null,
    convert: (visitorCode, goalId, revenue, negative, metadata) => {
      const made = metadata.map(([index, values]) => new CustomData(index, ...values));
      const rest = made.length ? { metadata: made } : {};
      return client.trackConversion({ visitorCode, goalId, revenue, negative, ...rest }) ?? null;
    },
    flush: (visitorCode) => client.flush({ visitorCode, instant: true }) ?? null,
    variation: (visitorCode, featureKey) => client.getVariation({ visitorCode, featureKey }).key,
    consent: (visitorCode, answer) => {
      const consent = answer === "given";
      // The core leaves the public name to the SDKs around it.
      if (client.setLegalConsent) return client.setLegalConsent(visitorCode, consent) ?? null;
      return client.setUserConsent({ visitorCode, consent, setData: () => {} }) ?? null;
    },
    identify: (visitor) => client.addData(visitor, new UniqueIdentifier(true)) ?? null,
    remote: (key) => client.getRemoteData(key),
    read: async (visitorCode) => {
      const all = { ...filters, geolocation: true, conversions: true, experiments: true };
      const found = await client.getRemoteVisitorData({ visitorCode, filters: all });
      return found.map(describe).filter(Boolean).sort();
    },
  };
};

// Return `{ok: result}` or `{error: words}` of a command, `[name, …arguments]`.
export const obey = async (commands, [name, ...given]) => {
  try {
    return { ok: await commands[name](...given) };
  } catch (error) {
    return { error: `${error.type ?? error.name}: ${error.message}` };
  }
};
