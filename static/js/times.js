// Told times keep ticking; the exact instant is in the title, in the zone the reader chose.
(() => {
  const skew = Date.now() - +document.body.dataset.now; // this clock less the server's
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const pad = (n, width = 2) => String(n).padStart(width, "0");
  const isUtc = () => document.querySelector("[name=zone][value=utc]")?.checked;

  // The twin of format.span and format.relative.
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
  const absolute = (at, utc) => { const p = parts(at, utc); return `${p.date} ${p.clock} ${p.zone}`; };

  function tell(el) {
    const at = new Date(el.dateTime), { kind } = el.dataset;
    const text = kind === "at" ? absolute(at, isUtc())
      : kind === "clock" ? `${parts(at, isUtc()).clock}.${parts(at, isUtc()).ms}` : relative(at, kind);
    if (el.textContent !== text) el.textContent = text;
  }
  const tellAll = () => document.querySelectorAll("time[data-kind]").forEach(tell);

  document.addEventListener("pointerover", (event) => {
    const el = event.target.closest?.("time[data-kind]");
    if (el) el.title = `${absolute(new Date(el.dateTime), isUtc())}\n${absolute(new Date(el.dateTime), !isUtc())}`;
  });
  document.addEventListener("change", (event) => {
    if (event.target.name !== "zone") return;
    try { localStorage.setItem("zone", event.target.value); } catch { /* private mode */ }
    tellAll();
  });
  try {
    const saved = document.querySelector(`[name=zone][value="${localStorage.getItem("zone") || "local"}"]`);
    if (saved) saved.checked = true;
  } catch { /* private mode */ }
  document.addEventListener("htmx:after:swap", tellAll);
  setInterval(() => { if (!document.hidden) tellAll(); }, 1000);
  tellAll();
})();
