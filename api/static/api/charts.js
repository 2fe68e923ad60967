// Charts: <div class="gp-chart"><canvas data-chart='{"type": "bar", "labels": […], "series": [{"label": …, "values": […], "tone": ""}], "stacked": true}'></canvas></div>
// Drawn with Chart.js (pages/chart_scripts.html). Series differ by pattern of line and by shade, not by colour alone.
"use strict";

(() => {
  const drawn = new Map();
  const draw = (canvas) => {
    const { type, labels, series, stacked } = JSON.parse(canvas.dataset.chart);
    const style = getComputedStyle(canvas.closest(".gp"));
    const of = (name) => style.getPropertyValue(name).trim();
    const shades = [of("--accent"), of("--series-2"), of("--series-3"), of("--quiet"), of("--series-4")];
    const shade = (tone, at) => (tone ? of(`--${tone}`) : shades[at % shades.length]);
    const dashes = [[], [6, 3], [2, 2], [10, 3, 2, 3], [1, 4]];
    // Chart.js shows a line's colour alone; a line is known by its dashes too.
    const legend = {
      color: of("--text"),
      usePointStyle: true,
      pointStyle: type === "line" ? "line" : "rect",
      pointStyleWidth: type === "line" ? 32 : undefined,
      sort: (one, other) => one.datasetIndex - other.datasetIndex,
      generateLabels: (chart) =>
        Chart.defaults.plugins.legend.labels.generateLabels(chart).map((each) => ({ ...each, lineDash: type === "line" ? dashes[each.datasetIndex % dashes.length] : [] })),
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
            borderColor: shade(each.tone, at),
            backgroundColor: shade(each.tone, at),
            borderDash: type === "line" ? dashes[at % dashes.length] : [],
            borderWidth: type === "line" ? 2 : 0,
            pointRadius: labels.length > 60 ? 0 : 2,
            tension: 0,
            order: type === "line" ? -at : 0, // a dashed line over the one it covers
          })),
        },
        options: {
          animation: false,
          maintainAspectRatio: false,
          interaction: { mode: "index", intersect: false },
          plugins: { legend: { display: series.length > 1, labels: legend }, tooltip: { itemSort: (one, other) => one.datasetIndex - other.datasetIndex } },
          scales: {
            x: { stacked, grid: { display: false }, ticks: { color: of("--quiet"), maxRotation: 0, autoSkipPadding: 12 } },
            y: { stacked, beginAtZero: true, grid: { color: of("--line") }, ticks: { color: of("--quiet"), precision: 0 } },
          },
        },
      }),
    );
  };
  const drawAll = () => document.querySelectorAll("canvas[data-chart]").forEach(draw);
  addEventListener("DOMContentLoaded", () => {
    drawAll();
    new MutationObserver(drawAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  });
})();
