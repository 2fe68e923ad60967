// Zoom of charts with days: <canvas data-chart='{…, "days": [["2026-11-21", "2026-11-21"], …]}'>. A mouse or pen that is
// dragged over steps sets the range of the page to their days. Shift with the arrow keys chooses steps, too, Enter shows
// them, and Escape forgets them. A finger scrolls the page instead. The range is in the address, so that Back zooms out.
"use strict";

(() => {
  const FAR = 8; // pixels; less is a click
  const daysOf = (canvas) => (canvas?.dataset.chart ? (JSON.parse(canvas.dataset.chart).days ?? []) : []);
  const canvasOf = (event) => event.target.closest?.("canvas[data-chart]");
  const ends = (chosen) => [Math.min(chosen.from, chosen.to), Math.max(chosen.from, chosen.to)];
  let drag = null;
  let wasDragged = false;

  Chart.register({
    id: "zoom",
    afterDatasetsDraw(chart) {
      if (!chart.$chosen) return;
      const { ctx, chartArea, scales } = chart;
      const [first, last] = ends(chart.$chosen).map((at) => scales.x.getPixelForValue(at));
      const half = chart.data.labels.length > 1 ? (scales.x.getPixelForValue(1) - scales.x.getPixelForValue(0)) / 2 : chartArea.width / 2;
      const left = Math.max(chartArea.left, first - half);
      ctx.save();
      ctx.globalAlpha = 0.18;
      ctx.fillStyle = getComputedStyle(chart.canvas.closest(".gp")).getPropertyValue("--accent").trim();
      ctx.fillRect(left, chartArea.top, Math.min(chartArea.right, last + half) - left, chartArea.height);
      ctx.restore();
    },
  });

  const choose = (chart, chosen) => {
    chart.$chosen = chosen;
    chart.draw();
  };
  const zoom = (canvas, chosen) => {
    const days = daysOf(canvas);
    const [first, last] = ends(chosen);
    const address = new URL(location.href);
    for (const name of ["step", "before", "after", "id", "place"]) address.searchParams.delete(name);
    address.searchParams.set("range", "custom");
    address.searchParams.set("from", days[first][0]);
    address.searchParams.set("to", days[last][1]);
    location.assign(address);
  };
  const stepAt = (chart, x) => Math.max(0, Math.min(chart.data.labels.length - 1, Math.round(chart.scales.x.getValueForPixel(x))));
  const xOf = (event, canvas) => event.clientX - canvas.getBoundingClientRect().left;

  addEventListener("pointerdown", (event) => {
    const canvas = canvasOf(event);
    wasDragged = false;
    if (event.button !== 0 || event.pointerType === "touch" || !daysOf(canvas).length) return;
    drag = { canvas, chart: Chart.getChart(canvas), x: xOf(event, canvas) };
    drag.from = stepAt(drag.chart, drag.x);
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    const x = xOf(event, drag.canvas);
    if (Math.abs(x - drag.x) >= FAR) wasDragged = true;
    if (wasDragged) choose(drag.chart, { from: drag.from, to: stepAt(drag.chart, x) });
  });
  addEventListener("pointerup", () => {
    const { canvas, chart } = drag ?? {};
    drag = null;
    if (canvas && wasDragged) zoom(canvas, chart.$chosen);
  });
  addEventListener("pointercancel", () => {
    if (drag) choose(drag.chart, null);
    drag = null;
  });
  // After a drag the browser clicks, which would follow the link of a step (charts.js).
  addEventListener("click", (event) => wasDragged && canvasOf(event) && event.stopPropagation(), true);

  // charts.js moves the step that is read after this.
  addEventListener(
    "keydown",
    (event) => {
      const canvas = canvasOf(event);
      const chart = canvas && Chart.getChart(canvas);
      if (!chart || !daysOf(canvas).length) return;
      const at = chart.getActiveElements()[0]?.index;
      if (event.key === "Enter" && chart.$chosen) {
        event.stopPropagation();
        zoom(canvas, chart.$chosen);
      } else if (event.shiftKey && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
        const from = chart.$chosen?.from ?? at ?? (event.key === "ArrowRight" ? 0 : chart.data.labels.length - 1);
        setTimeout(() => say(canvas, chart, { from, to: chart.getActiveElements()[0]?.index ?? from }));
      } else if (event.key !== "Shift" && chart.$chosen) choose(chart, null);
    },
    true,
  );
  const say = (canvas, chart, chosen) => {
    choose(chart, chosen);
    const days = daysOf(canvas);
    const [first, last] = ends(chosen);
    canvas.parentElement.querySelector("[aria-live]").textContent = `${days[first][0]} to ${days[last][1]}. Enter shows these days.`;
  };
})();
