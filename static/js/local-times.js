// Keeps relative times current. The title shows the exact time in the selected zone.
(() => {
  const skew = Date.now() - +document.body.dataset.now; // this clock minus the server's clock
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const pad = (n, width = 2) => String(n).padStart(width, "0");
  const isUtc = () => document.querySelector("[name=zone][value=utc]")?.checked;

  // The counterpart of span and relative in app/dashboard/present/format.py.
  function relative(at, kind) {
    const seconds = (Date.now() - skew - at) / 1000;
    const whole = Math.floor(Math.abs(seconds));
    const [size, unit] = UNITS.find(([n]) => whole >= n) || [];
    const text = unit && `${Math.floor(whole / size)} ${unit}`;
    if (kind === "for") return text || "0 s";
    if (!text || (kind === "in" && seconds > 0)) return kind === "in" ? "due" : "now";
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  }
  function parts(at, utc) {
    const d = utc ? at : new Date(at.getTime() - at.getTimezoneOffset() * 60000);
    const clock = [d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds()].map((n) => pad(n)).join(":");
    return { clock, date: `${d.getUTCFullYear()}-${pad(d.getUTCMonth() + 1)}-${pad(d.getUTCDate())}`,
      ms: pad(d.getUTCMilliseconds(), 3), zone: utc ? "UTC" : zone(at) };
  }
  const zone = (at) => new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(at)
    .find((part) => part.type === "timeZoneName").value;
  const weekday = (at, utc) => new Intl.DateTimeFormat("en", { weekday: "short", timeZone: utc ? "UTC" : undefined }).format(at);
  const absolute = (at, utc) => { const p = parts(at, utc); return `${p.date} ${p.clock} ${p.zone}`; };

  /** "10:01", "Mon", or "Mon 10:01" with the zone name, in the selected zone. */
  function short(at, kind) {
    const utc = isUtc(), { clock, zone } = parts(at, utc), time = clock.slice(0, 5);
    return { time, day: weekday(at, utc), minute: `${time} ${zone}`, "day-minute": `${weekday(at, utc)} ${time} ${zone}` }[kind];
  }
  function show(el) {
    const at = new Date(el.dateTime), { kind } = el.dataset, utc = isUtc();
    const text = kind === "at" ? absolute(at, utc) : kind === "clock" ? `${parts(at, utc).clock}.${parts(at, utc).ms}`
      : short(at, kind) || relative(at, kind);
    if (el.textContent !== text) el.textContent = text;
  }
  const showAll = () => document.querySelectorAll("time[data-kind]").forEach(show);

  document.addEventListener("pointerover", (event) => {
    const el = event.target.closest?.("time[data-kind]");
    if (!el) return;
    // A schedule's time is also shown in the zone of the schedule.
    const lines = [el.dataset.zoned, absolute(new Date(el.dateTime), isUtc()), absolute(new Date(el.dateTime), !isUtc())];
    el.title = [...new Set(lines.filter(Boolean))].join("\n");
  });
  document.addEventListener("change", (event) => {
    if (event.target.name !== "zone") return;
    try { localStorage.setItem("zone", event.target.value); } catch { /* private mode */ }
    showAll();
    document.dispatchEvent(new CustomEvent("zone"));
  });
  try {
    const saved = document.querySelector(`[name=zone][value="${localStorage.getItem("zone") || "local"}"]`);
    if (saved) saved.checked = true;
  } catch { /* private mode */ }
  document.addEventListener("htmx:after:swap", showAll);
  // Also used by chart.js.
  Object.assign(globalThis, { jobTimes: { isUtc, short } });
  setInterval(() => { if (!document.hidden) showAll(); }, 1000);
  showAll();
})();
