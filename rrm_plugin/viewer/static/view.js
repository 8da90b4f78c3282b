// Curves, keys, and what a run adds while one looks. Texts are only ever taken from pages that the server escaped.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  // -- curves ------------------------------------------------------------------------------------------------------
  let plots = [];
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const short = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size >= 1e6) return `${(value / 1e6).toPrecision(3)}M`;
    if (size >= 1e4) return `${(value / 1e3).toPrecision(3)}k`;
    return String(Number(value.toPrecision(3))).replace("-", "\u2212");
  };
  const tick = (metric, value) =>
    value === null || value === undefined ? "–" : metric.share ? `${Number((100 * value).toPrecision(3))}%` : short(value);
  // The value of a card, as the table below has it: no digit of a whole number is left out.
  const shown = (metric, value) =>
    metric.share || !(Math.abs(value) >= 100) ? tick(metric, value) : Math.round(value).toLocaleString("en-US").replace("-", "\u2212");

  function draw() {
    for (const plot of plots) plot.destroy();
    plots = [];
    const data = byId("curves-data");
    if (!data || !window.uPlot) return;
    const curves = JSON.parse(data.textContent);
    for (const figure of document.querySelectorAll(".curve")) drawOne(figure, curves);
  }

  function drawOne(figure, curves) {
    const metric = curves.metrics[Number(figure.dataset.metric)];
    const place = figure.querySelector(".plot");
    const told = figure.querySelector(".curve-value");
    const known = metric.values.filter((value) => value !== null);
    place.replaceChildren();
    told.textContent = shown(metric, known.at(-1));
    if (!known.length) return;
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const room = (high - low || Math.abs(high) || 1) * 0.12;
    const range = metric.share
      ? [Math.max(0, low - room), Math.min(1, high + room) || 1]
      : [low - room < 0 && low >= 0 ? 0 : low - room, high + room];
    const axis = { stroke: colour("--muted"), font: "11px system-ui", grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const plot = new uPlot(
      {
        width: place.clientWidth,
        height: place.clientHeight,
        padding: [6, 8, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: "steps" }, y: false, points: { size: 7 } },
        scales: { x: { time: false }, y: { range } },
        axes: [
          { ...axis, size: 22, space: 60, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5] },
          { ...axis, size: 44, space: 34, values: (_, ticks) => ticks.map((value) => tick(metric, value)) },
        ],
        series: [{}, { stroke: colour("--accent"), width: 2, points: { show: known.length < 40, size: 5, fill: colour("--accent") }, spanGaps: true }],
        hooks: {
          setCursor: [
            (one) => {
              const at = one.cursor.idx;
              const over = at !== null && at !== undefined && one.cursor.left >= 0;
              told.textContent = over
                ? `${curves.axis} ${curves.x[at]}: ${shown(metric, metric.values[at])}`
                : shown(metric, known.at(-1));
            },
          ],
        },
      },
      [curves.x, metric.values],
      place,
    );
    plot.over.addEventListener("click", () => {
      const link = curves.links[plot.cursor.idx];
      if (link) location.href = link;
    });
    plots.push(plot);
  }

  let waiting = 0;
  const redraw = () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 80);
  };
  window.addEventListener("resize", redraw);
  new MutationObserver(redraw).observe(root, { attributes: true, attributeFilter: ["data-bs-theme"] });

  // -- live --------------------------------------------------------------------------------------------------------
  const state = { groups: Number(document.body.dataset.groups), calls: Number(document.body.dataset.calls) };
  let quiet = 0;

  async function look() {
    if (document.hidden) return;
    let now;
    try {
      const answer = await fetch("/live", { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      now = await answer.json();
    } catch {
      byId("live").hidden = true;
      return;
    }
    const changed = now.groups !== state.groups || now.calls !== state.calls;
    quiet = changed ? 0 : quiet + 1;
    byId("live").hidden = quiet > 15 || (quiet > 0 && byId("live").hidden);
    if (!changed) return;
    Object.assign(state, now);
    await renew();
  }

  // Takes the parts of the page that a run changes from the page as it is now.
  async function renew() {
    const parts = [...document.querySelectorAll("[data-refresh]")];
    if (!parts.length && !document.querySelector(".empty")) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!parts.length) {
      if (fresh.querySelector("[data-refresh]")) location.reload();
      return;
    }
    const focused = document.activeElement?.getAttribute?.("href");
    const within = document.activeElement?.closest?.("[data-refresh]");
    for (const part of parts) {
      const other = fresh.getElementById(part.id);
      if (other) part.replaceWith(document.adoptNode(other));
    }
    if (focused && within) {
      [...document.querySelectorAll(`#${within.id} a`)].find((link) => link.getAttribute("href") === focused)?.focus();
    }
    draw();
  }

  // -- a search goes on ----------------------------------------------------------------------------------------------
  async function goOn() {
    const told = byId("search-state");
    let next = told?.dataset.next;
    let read = Number(told?.dataset.read ?? 0);
    const newest = told?.dataset.newest;
    const list = byId("hits");
    while (next && list.children.length < 200) {
      const answer = await fetch(next);
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const more = page.getElementById("search-state");
      for (const hit of [...page.getElementById("hits").children]) list.append(document.adoptNode(hit));
      read += Number(more.dataset.read);
      next = more.dataset.next;
      told.textContent = `${read.toLocaleString("en")} of ${Number(newest).toLocaleString("en")} groups read, newest first${next ? "…" : "; all is read."}`;
    }
    if (next) {
      const link = document.createElement("a");
      link.href = next;
      link.textContent = " Go on with older ones";
      told.append(link);
    } else if (told && !list.children.length) {
      told.append(" Nothing found.");
    }
  }

  // -- keys ----------------------------------------------------------------------------------------------------------
  const visible = (element) => element.getClientRects().length > 0;
  const find = (selector) => [...document.querySelectorAll(selector)].find(visible);
  const follow = (selector) => {
    const link = find(selector);
    if (link) link.click();
    return Boolean(link);
  };

  function walk(step) {
    const rows = [...document.querySelectorAll("[data-row]")].filter(visible);
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1);
    rows[next].querySelector("a")?.focus();
    rows[next].scrollIntoView({ block: "nearest" });
  }

  function marks() {
    const button = find("[data-marks]");
    if (!button) return;
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    button.closest("section").querySelector(".sides").classList.toggle("marked", on);
  }

  const keys = {
    "/": () => find("#q")?.focus(),
    j: () => walk(1),
    k: () => walk(-1),
    n: () => follow("[rel~=next]"),
    p: () => follow("[rel~=prev]"),
    u: () => follow("[data-up]"),
    o: () => follow("[data-other]"),
    d: marks,
    g: () => follow('.bar-links a[href="/groups"]'),
    h: () => follow(".brand"),
    t: () => window.rrmTheme(),
    "?": () => byId("help").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const field = event.target.closest?.("input, select, textarea");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-marks]")) marks();
    if (event.target.closest("#theme")) window.rrmTheme();
    if (event.target.closest("#keys")) byId("help").showModal();
  });

  // -- an exported file: one section at a time -----------------------------------------------------------------------
  function section() {
    const sections = [...document.querySelectorAll(".section")];
    if (!sections.length) return;
    const wanted = sections.find((one) => one.id === location.hash.slice(1)) ?? sections[0];
    for (const one of sections) one.hidden = one !== wanted;
    window.scrollTo(0, 0);
    document.title = wanted.dataset.title;
    draw();
  }
  window.addEventListener("hashchange", section);

  section();
  draw();
  if (document.body.dataset.groups !== undefined && location.protocol !== "file:") {
    goOn();
    if (!document.body.hasAttribute("data-exported")) setInterval(look, 2000);
  }
})();
