// Says when a page should ask for news: live.follow(ask, { every, least }) returns a function that ends it. It calls `ask` after an event of
// the site's stream, at most once in `least` seconds. A stream may be refused, cut or held back by a proxy. Then it calls `ask` once in
// `every` seconds. If `ask` returns false, it is called again. A hidden tab has no stream and asks for nothing.
"use strict";

const live = (() => {
  const SILENCE = 20_000; // the server sends something every 15 seconds
  const FIRST_PAUSE = 2_000;
  const LONGEST_PAUSE = 60_000;
  const address = document.currentScript.dataset.stream;
  const news = new Set(); // functions to call at an event
  let source, silence, reopening;
  let isLive = false;
  let pause = FIRST_PAUSE;

  const close = () => {
    source?.close();
    source = undefined;
    isLive = false;
    clearTimeout(silence);
    clearTimeout(reopening);
  };
  const fail = () => {
    close();
    reopening = setTimeout(open, pause * (1 + Math.random())); // not all pages at once after a restart of the server
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  };
  const hear = () => {
    isLive = true;
    pause = FIRST_PAUSE;
    clearTimeout(silence);
    silence = setTimeout(fail, SILENCE);
  };
  const open = () => {
    close();
    if (document.hidden || !news.size) return;
    source = new EventSource(address);
    source.onmessage = () => {
      hear();
      for (const each of news) each();
    };
    source.addEventListener("quiet", hear);
    source.onerror = fail;
    silence = setTimeout(fail, SILENCE);
  };
  document.addEventListener("visibilitychange", open);
  addEventListener("pageshow", (shown) => shown.persisted && open());
  addEventListener("pagehide", close);

  const follow = (ask, { every, least }) => {
    let isWanted = false;
    let isAsking = false;
    let lastAt = performance.now();
    const turn = async () => {
      const passed = (performance.now() - lastAt) / 1000;
      if (!isLive && passed >= every) isWanted = true;
      if (!isWanted || isAsking || document.hidden || passed < least) return;
      isAsking = true;
      isWanted = false;
      lastAt = performance.now();
      if ((await ask()) === false) isWanted = true;
      isAsking = false;
    };
    const hearNews = () => {
      isWanted = true;
      turn();
    };
    const ticks = setInterval(turn, 200);
    news.add(hearNews);
    if (!source) open();
    return () => {
      clearInterval(ticks);
      news.delete(hearNews);
      if (!news.size) close();
    };
  };
  return { follow };
})();
