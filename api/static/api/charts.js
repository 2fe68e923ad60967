// Charts: <figure><div class="gp-chart"><canvas data-chart='{"type": "bar", "labels": […], "series": [{"label": …, "values": […], "tone": "", "role": ""}], "stacked": true}'></canvas></div></figure>.
// Drawn with Chart.js (pages/chart_scripts.html). Series differ by pattern of line and by shade, not by colour alone. The compared period is a pale line, and the
// last step is dashed while it is not over. Arrow keys read the steps;
// a click or Enter follows the link of a step.
"use strict";

(() => {
  const drawn = new Map();
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0, roundingMode: "halfEven" });

  // As compare() of api/pages/change.py.
  const changeOf = (now, before) => {
    if (now === before) return "no change";
    const sign = now > before ? "▲" : "▼";
    if (!before && now > 0) return "new";
    if (before < 5) return `${sign} ${number.format(Math.abs(now - before))}`;
    const share = (Math.abs(now - before) / before) * 100;
    return `${sign} ${share < 1 ? "under 1" : whole.format(share)} %`;
  };
  const lineOf = (parts, at, place) => {
    const each = parts.series[at];
    const before = parts.series.find((other) => other.role === "before");
    const isRunning = parts.running && place === parts.labels.length - 1;
    const value = each.values[place];
    const said = `${each.label}: ${value === null ? "–" : number.format(value)}${each.rate && value !== null ? " %" : ""}`;
    if (at !== 0) return said;
    if (isRunning) return `${said} so far`;
    return before ? `${said} (${changeOf(each.values[place], before.values[place])})` : said;
  };
  const titleOf = (parts, place) => parts.titles[place] ?? parts.labels[place];
  const marksAt = (parts, place) => (parts.marks ?? []).filter((mark) => mark.at === place).map((mark) => mark.text);

  // Annotations: a dotted line at their step; and a level across the chart.
  const marking = (parts, colour) => ({
    id: "marks",
    afterDatasetsDraw({ ctx, chartArea, scales }) {
      ctx.save();
      ctx.strokeStyle = colour;
      ctx.setLineDash([2, 3]);
      for (const mark of parts.marks ?? []) {
        const x = scales.x.getPixelForValue(mark.at);
        ctx.beginPath();
        ctx.moveTo(x, chartArea.top);
        ctx.lineTo(x, chartArea.bottom);
        ctx.stroke();
      }
      const limit = parts.limit && scales.y.getPixelForValue(parts.limit.value);
      if (parts.limit && limit >= chartArea.top && limit <= chartArea.bottom) {
        ctx.setLineDash([8, 4]);
        ctx.beginPath();
        ctx.moveTo(chartArea.left, limit);
        ctx.lineTo(chartArea.right, limit);
        ctx.stroke();
        ctx.fillStyle = colour;
        ctx.font = "12px system-ui, sans-serif";
        ctx.fillText(parts.limit.label, chartArea.left + 4, limit > chartArea.top + 16 ? limit - 4 : limit + 14);
      }
      ctx.restore();
    },
  });

  const follow = (parts, at) => {
    if (parts.links?.[at]) location.assign(parts.links[at]);
  };

  const draw = (canvas) => {
    const parts = JSON.parse(canvas.dataset.chart);
    const { type, labels, series, stacked } = parts;
    parts.titles ??= [];
    const style = getComputedStyle(canvas.closest(".gp"));
    const of = (name) => style.getPropertyValue(name).trim();
    const shades = [of("--accent"), of("--series-2"), of("--series-3"), of("--quiet"), of("--series-4")];
    const isLine = type === "line";
    const dashes = [[], [6, 3], [2, 2], [10, 3, 2, 3], [1, 4]];
    let place = -1; // of the shades of series that have one of their own
    const looks = series.map((each) => {
      if (each.role === "before") return { colour: of("--quiet"), dash: [], width: 1.5 };
      place += 1;
      return { colour: each.tone ? of(`--${each.tone}`) : shades[place % shades.length], dash: isLine ? dashes[place % dashes.length] : [], width: 2 };
    });
    const last = labels.length - 1;
    // Chart.js shows a line's colour alone; a line is known by its dashes too.
    const legend = {
      color: of("--text"),
      usePointStyle: true,
      pointStyle: isLine ? "line" : "rect",
      pointStyleWidth: isLine ? 32 : undefined,
      sort: (one, other) => one.datasetIndex - other.datasetIndex,
      generateLabels: (chart) =>
        Chart.defaults.plugins.legend.labels.generateLabels(chart).map((each) => ({ ...each, lineDash: looks[each.datasetIndex].dash, lineWidth: looks[each.datasetIndex].width })),
    };
    drawn.get(canvas)?.destroy();
    drawn.set(
      canvas,
      new Chart(canvas, {
        type,
        data: {
          labels,
          datasets: series.map((each, at) => ({
            label: each.label,
            data: each.values,
            yAxisID: each.rate ? "rate" : "y",
            hidden: each.role === "further",
            borderColor: looks[at].colour,
            backgroundColor: looks[at].colour,
            borderDash: looks[at].dash,
            borderWidth: isLine ? looks[at].width : 0,
            segment: isLine && parts.running && each.role !== "before" ? { borderDash: (step) => (step.p1DataIndex === last ? [3, 4] : undefined) } : undefined,
            pointRadius: labels.length === 1 ? 4 : labels.length > 60 || each.role === "before" ? 0 : 2,
            tension: 0,
            order: isLine ? (each.role === "before" ? 9 : -at) : 0, // a dashed line over the one it covers
          })),
        },
        options: {
          animation: false,
          maintainAspectRatio: false,
          interaction: { mode: "index", intersect: false },
          onClick: (_, found) => follow(parts, found[0]?.index),
          onHover: (event, found) => (event.native.target.style.cursor = found.length && parts.links?.length ? "pointer" : ""),
          plugins: {
            legend: { display: series.length > 1, labels: legend },
            tooltip: {
              itemSort: (one, other) => one.datasetIndex - other.datasetIndex,
              callbacks: {
                title: ([first]) => (first ? titleOf(parts, first.dataIndex) : ""),
                label: (item) => ` ${lineOf(parts, item.datasetIndex, item.dataIndex)}`,
                footer: ([first]) => (first ? marksAt(parts, first.dataIndex) : []),
              },
            },
          },
          scales: {
            // One tick for steps of one label, at the first: a day of hours is named once.
            x: { stacked, grid: { display: false }, afterBuildTicks: (axis) => { axis.ticks = axis.ticks.filter(({ value }) => labels[value] !== labels[value - 1]); }, ticks: { color: of("--quiet"), maxRotation: 0, autoSkipPadding: 12 } },
            ...(series.some((each) => each.rate)
              ? { rate: { position: "right", display: "auto", beginAtZero: true, grid: { display: false }, ticks: { color: of("--quiet"), callback: (value) => `${number.format(value)} %` } } }
              : {}),
            y: { stacked, beginAtZero: true, suggestedMax: parts.limit?.value, grid: { color: of("--line") }, ticks: { color: of("--quiet"), precision: 0 } },
          },
        },
        plugins: [marking(parts, of("--warn"))],
      }),
    );
  };

  // Left and right go from step to step, Home and End to the first and last; Escape closes the tooltip.
  const read = (event) => {
    const canvas = event.target.closest?.("canvas[data-chart]");
    const chart = drawn.get(canvas);
    const last = (chart?.data.labels.length ?? 0) - 1;
    if (last < 0) return;
    const now = chart.getActiveElements()[0]?.index;
    if (event.key === "Enter") return follow(JSON.parse(canvas.dataset.chart), now);
    const next = { ArrowRight: now === undefined ? 0 : now + 1, ArrowLeft: now === undefined ? last : now - 1, Home: 0, End: last, Escape: -1 }[event.key];
    if (next === undefined) return;
    const at = Math.min(last, Math.max(next, event.key === "Escape" ? -1 : 0));
    const shown = chart.data.datasets.flatMap((_, datasetIndex) => (at >= 0 && chart.isDatasetVisible(datasetIndex) ? [{ datasetIndex, index: at }] : []));
    chart.setActiveElements(shown);
    chart.tooltip.setActiveElements(shown, shown.length ? chart.getDatasetMeta(shown[0].datasetIndex).data[at] : { x: 0, y: 0 });
    chart.update();
    const parts = JSON.parse(canvas.dataset.chart);
    const said = canvas.parentElement.querySelector("[aria-live]");
    if (said) said.textContent = at < 0 ? "" : [titleOf({ titles: [], ...parts }, at), ...shown.map((each) => lineOf(parts, each.datasetIndex, at)), ...marksAt(parts, at)].join(". ");
    event.preventDefault();
  };

  // A picture has the page's ground behind the lines: a transparent one is unreadable on a dark slide.
  const save = (button) => {
    const figure = button.closest("figure");
    const canvas = figure.querySelector("canvas");
    const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    const ink = copy.getContext("2d");
    ink.fillStyle = getComputedStyle(document.body).backgroundColor;
    ink.fillRect(0, 0, copy.width, copy.height);
    ink.drawImage(canvas, 0, 0);
    const link = document.createElement("a");
    link.download = `${figure.querySelector("h2").textContent}.png`;
    link.href = copy.toDataURL("image/png");
    link.click();
  };

  const drawAll = () => {
    for (const [canvas, chart] of drawn) {
      if (canvas.isConnected) continue;
      chart.destroy();
      drawn.delete(canvas);
    }
    document.querySelectorAll("canvas[data-chart]").forEach(draw);
    document.querySelectorAll("[data-picture]").forEach((button) => (button.hidden = false));
  };
  addEventListener("DOMContentLoaded", () => {
    drawAll();
    new MutationObserver(drawAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  });
  document.addEventListener("gp:renewed", drawAll); // refresh.js
  document.addEventListener("htmx:afterSettle", drawAll);
  addEventListener("keydown", read);
  addEventListener("click", (event) => {
    const button = event.target.closest("[data-picture]");
    if (button) save(button);
  });
})();
