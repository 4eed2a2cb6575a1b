// Renders the chart's labels and tooltips in the selected time zone; the server renders them in UTC.
(() => {
  const setAttribute = (el, name, value) => { if (el.getAttribute(name) !== value) el.setAttribute(name, value); };
  const setText = (el, text) => { if (el.textContent !== text) el.textContent = text; };

  /** The points at round times in the selected zone, as [x, instant]. */
  function ticks({ first, count, seconds, every, left, step }) {
    const points = [];
    for (let i = 0, at = Date.parse(first) / 1000; i < +count; i += 1, at += +seconds) {
      const offset = jobTimes.isUtc() ? 0 : -new Date(at * 1000).getTimezoneOffset() * 60;
      // In zones with half-hour offsets: the first point at or after the round time.
      if ((at + offset) % +every < +seconds) points.push([+left + i * +step, new Date(at * 1000)]);
    }
    return points;
  }
  function drawSparks() {
    document.querySelectorAll(".spark title").forEach((title) => {
      setText(title, `${jobTimes.short(new Date(title.dataset.at), "day-minute")}${title.dataset.label}`);
    });
  }
  function draw() {
    drawSparks();
    const chart = document.querySelector("#chart");
    if (!chart) return;
    const points = ticks(chart.dataset);
    chart.querySelectorAll(".chart-tick").forEach((label, i) => {
      const [x, at] = points[i] || [];
      setAttribute(label, "x", (x ?? 0).toFixed(1));
      setText(label, at ? jobTimes.short(at, chart.dataset.format) : "");
    });
    const kind = chart.dataset.seconds === "60" ? "minute" : "day-minute";
    for (const title of chart.querySelectorAll("title")) {
      setText(title, `${jobTimes.short(new Date(title.dataset.at), kind)}${title.dataset.label}`);
    }
  }
  document.addEventListener("zone", draw);
  document.addEventListener("htmx:after:swap", draw);
  draw();
})();
