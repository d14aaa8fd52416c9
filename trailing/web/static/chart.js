// Draws the chart of one position with uPlot: price, entry, the stop as a step line, its moves, unprotected stretches in red.
"use strict";

const Chart = (() => {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // One row for each moment at which something is known: [time, price, entry, stop].
  function columns(data, now) {
    const stops = data.stops;
    const times = new Set(data.times);
    for (const [at] of stops) times.add(at);
    times.add(now);
    const xs = [...times].sort((a, b) => a - b);
    const prices = new Map(data.times.map((at, index) => [at, data.prices[index]]));
    const entry = data.entry === "" ? null : Number(data.entry);
    let next = 0;
    let stop = null;
    const column = { price: [], entry: [], stop: [] };
    for (const at of xs) {
      while (next < stops.length && stops[next][0] <= at) stop = stops[next++][1];
      column.price.push(prices.get(at) ?? undefined);
      column.entry.push(entry);
      column.stop.push(stop);
    }
    return [xs, column.price, column.entry, column.stop];
  }

  // The stretches without a live stop, as red areas over the whole height.
  function shade(stretches, now) {
    return (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.fillStyle = color("--bad");
      ctx.globalAlpha = 0.3;
      for (const [since, until] of stretches()) {
        const left = plot.valToPos(since, "x", true);
        const right = plot.valToPos(until ?? now(), "x", true);
        ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
      }
      ctx.restore();
    };
  }

  // Create the chart in an element. Returns an object with `update(data, now)`, `isSeen()` and `close()`.
  function open(element) {
    let stretches = [];
    let present = 0;
    const axis = () => ({
      stroke: () => color("--dim"),
      grid: { stroke: () => color("--line"), width: 1 },
      ticks: { stroke: () => color("--line"), width: 1 },
    });
    const plot = new uPlot(
      {
        width: Math.max(200, element.clientWidth),
        height: 240,
        legend: { show: false },
        cursor: { drag: { x: true, y: false } },
        hooks: { drawClear: [shade(() => stretches, () => present)] },
        axes: [axis(), { ...axis(), size: 70 }],
        series: [
          {},
          { stroke: () => color("--price"), width: 1.5, spanGaps: true, points: { show: false } },
          { stroke: () => color("--entry"), width: 1, dash: [6, 4], points: { show: false } },
          {
            stroke: () => color("--stop"),
            width: 2,
            paths: uPlot.paths.stepped({ align: 1 }),
            points: { show: true, size: 5, fill: () => color("--stop"), filter: (self) => moves(self) },
          },
        ],
      },
      [[], [], [], []],
      element,
    );
    // The indexes at which the stop changed.
    function moves(self) {
      const stop = self.data[3];
      return stop.flatMap((value, index) => (value !== null && value !== stop[index - 1] ? [index] : []));
    }
    const resized = new ResizeObserver(() => plot.setSize({ width: Math.max(200, element.clientWidth), height: 240 }));
    resized.observe(element);
    const themed = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => plot.redraw();
    themed.addEventListener("change", redraw);
    return {
      update(data, now) {
        stretches = data.unprotected;
        present = now;
        plot.setData(columns(data, now));
      },
      // Whether it is in the window, or near it.
      isSeen: () => element.checkVisibility?.({ contentVisibilityAuto: true }) ?? true,
      close() {
        resized.disconnect();
        themed.removeEventListener("change", redraw);
        plot.destroy();
      },
    };
  }

  return { open };
})();
