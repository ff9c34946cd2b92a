/* What the browser does alone: theme and language of the document, charts as tables and CSV,
   choices into the address, rows as lists on a narrow screen. No other host is ever asked. */
(function () {
  "use strict";

  /* The address holds the view. What it leaves open is taken from the last visit, then from
     the browser, before Dash reads the address. */
  function completeAddress() {
    const url = new URL(window.location.href);
    const saved = (name) => { try { return localStorage.getItem("verdigrid-" + name); } catch { return null; } };
    if (!url.searchParams.get("lang")) {
      const chinese = (navigator.language || "").toLowerCase().startsWith("zh");
      url.searchParams.set("lang", saved("lang") || (chinese ? "zh" : "en"));
    }
    if (!url.searchParams.get("theme")) {
      const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
      url.searchParams.set("theme", saved("theme") || (dark ? "dark" : "light"));
    }
    window.history.replaceState(window.history.state, "", url);
    applyDocument(url.search);
  }

  function applyDocument(search) {
    const query = new URLSearchParams(search);
    const theme = query.get("theme") === "dark" ? "dark" : "light";
    const lang = query.get("lang") === "zh" ? "zh" : "en";
    const root = document.documentElement;
    root.setAttribute("data-theme", theme);
    root.setAttribute("data-mantine-color-scheme", theme);
    root.setAttribute("lang", lang === "zh" ? "zh-CN" : "en");
    if (document.body) document.body.setAttribute("data-ag-theme-mode", theme);
    try {
      localStorage.setItem("verdigrid-lang", lang);
      localStorage.setItem("verdigrid-theme", theme);
    } catch { /* a private window keeps nothing */ }
    return theme;
  }

  completeAddress();
  document.addEventListener("DOMContentLoaded", () => applyDocument(window.location.search));

  /* ---- charts as data ---- */

  function drawn(name) {
    for (const holder of document.querySelectorAll("[id*='\"role\":\"chart\"']")) {
      const id = JSON.parse(holder.id);
      if (id.chart === name) return holder.querySelector(".js-plotly-plot") || holder;
    }
    return null;
  }

  function rowsOf(name) {
    const plot = drawn(name);
    const traces = (plot && plot._fullData || []).filter((t) => t.visible === true && t.name && t.x && t.x.length);
    const label = (t) => t.name;
    const rows = new Map();
    const horizontal = traces.some((t) => t.orientation === "h");
    for (const trace of traces) {
      const keys = horizontal ? trace.y : trace.x, values = horizontal ? trace.x : trace.y;
      for (let i = 0; i < keys.length; i++) {
        if (keys[i] === null || values[i] === null || Number.isNaN(values[i])) continue;
        let key = keys[i];
        if (typeof key === "number" && trace.xaxis && plot._fullLayout.xaxis.type === "date")
          key = new Date(key).toISOString().slice(0, 16).replace("T", " ");
        key = String(key).replace("T", " ").replace(/:00(\.0+)?$/, "");
        if (!rows.has(key)) rows.set(key, {});
        rows.get(key)[label(trace)] = values[i];
      }
    }
    const columns = [...new Set(traces.map(label))];
    const ordered = horizontal ? [...rows] : [...rows].sort((a, b) => a[0] < b[0] ? -1 : 1);
    return { columns, rows: ordered };
  }

  const element = (type, props) => ({ type, namespace: "dash_html_components", props });
  const written = (v) => v === undefined ? "" : typeof v === "number" ? String(Math.round(v * 1e4) / 1e4) : String(v);

  function tableOf(name) {
    const data = rowsOf(name);
    const head = element("Tr", { children: ["", ...data.columns].map((c) => element("Th", { children: c, scope: "col" })) });
    const body = data.rows.map(([key, row]) => element("Tr", {
      children: [element("Th", { children: key, scope: "row" }),
                 ...data.columns.map((c) => element("Td", { children: written(row[c]), className: "number" }))]
    }));
    return element("Table", { className: "data", children: [element("Thead", { children: head }), element("Tbody", { children: body })] });
  }

  function csvOf(name) {
    const data = rowsOf(name);
    const cell = (v) => /[",\n]/.test(v) ? '"' + v.replaceAll('"', '""') + '"' : v;
    const lines = [["", ...data.columns], ...data.rows.map(([key, row]) => [key, ...data.columns.map((c) => written(row[c]))])];
    return "\ufeff" + lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  function triggered() {
    const context = window.dash_clientside.callback_context;
    if (!context.triggered.length || !context.triggered[0].value) return null;
    return JSON.parse(context.triggered[0].prop_id.replace(/\.[^.]*$/, ""));
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    verdigrid: {
      applyView: () => applyDocument(window.location.search),
      setTitle: (title) => { if (title) document.title = title; return title; },
      openDialog: (clicks) => Boolean(clicks),
      nothingSelected: (rows) => !(rows && rows.length),
      chartTable: (clicks, shown) => {
        const id = triggered();
        if (!id) return window.dash_clientside.no_update;
        const full = Array.isArray(shown) ? shown.length : shown;
        return full ? null : tableOf(id.chart);
      },
      chartCsv: () => {
        const id = triggered();
        if (!id) return window.dash_clientside.no_update;
        return { content: csvOf(id.chart), filename: "verdigrid-" + id.chart + ".csv", type: "text/csv" };
      },
      gridCsv: () => {
        const id = triggered();
        if (id) window.dash_ag_grid.getApi(id.grid).exportDataAsCsv({
          fileName: "verdigrid-" + id.grid + ".csv", skipColumnHeaders: false,
          columnKeys: window.dash_ag_grid.getApi(id.grid).getColumns().map((c) => c.getColId()).filter((c) => c !== "stacked" && !c.startsWith("ag-Grid"))
        });
        return window.dash_clientside.no_update;
      },
      pick: (values) => {
        const context = window.dash_clientside.callback_context;
        if (!context.triggered.length) return window.dash_clientside.no_update;
        const id = JSON.parse(context.triggered[0].prop_id.replace(/\.[^.]*$/, ""));
        const query = new URLSearchParams(window.location.search);
        const value = context.triggered[0].value;
        const wanted = value && value !== "-" ? value : null;
        if (query.get(id.parameter) === wanted) return window.dash_clientside.no_update;
        if (wanted) query.set(id.parameter, wanted); else query.delete(id.parameter);
        return window.location.pathname + "?" + query.toString();
      }
    }
  });

  /* ---- navigation drawer on a narrow screen, the account menu ---- */

  document.addEventListener("click", (event) => {
    const frame = document.querySelector(".frame");
    if (!frame) return;
    if (event.target.closest("#burger")) frame.classList.toggle("open");
    else if (!event.target.closest(".navigation") || event.target.closest(".desk")) frame.classList.remove("open");
    for (const menu of document.querySelectorAll("details.account-box[open]"))
      if (!menu.contains(event.target)) menu.removeAttribute("open");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelector(".frame.open")?.classList.remove("open");
    document.querySelector("details.account-box[open]")?.removeAttribute("open");
  });

  /* ---- AG Grid ---- */

  const functions = window.dashAgGridFunctions = window.dashAgGridFunctions || {};
  functions.verdigridTheme = (quartz) => quartz.withParams({
    fontFamily: "inherit", fontSize: 13, headerFontSize: 12, headerFontWeight: 600, rowHeight: 40, headerHeight: 38,
    wrapperBorder: false, wrapperBorderRadius: 0, cellHorizontalPadding: 12, columnBorder: false,
    accentColor: "var(--accent)", backgroundColor: "var(--panel)", foregroundColor: "var(--ink)",
    headerBackgroundColor: "var(--panel)", headerTextColor: "var(--muted)", borderColor: "var(--line)",
    rowHoverColor: "var(--hover)", chromeBackgroundColor: "var(--panel)", oddRowBackgroundColor: "var(--panel)",
    headerColumnResizeHandleDisplay: "none"
  });
  function fitGrids() {
    for (const root of document.querySelectorAll(".ag-root-wrapper")) {
      const holder = root.closest("[data-grid]") || root.closest("div[id]");
      let api = null;
      try { api = window.dash_ag_grid.getApi(holder.id); } catch { /* not ready yet */ }
      const stacked = api && !api.isDestroyed() && api.getColumn("stacked");
      const narrow = root.clientWidth < 560;
      if (!stacked || !root.clientWidth || stacked.isVisible() === narrow) continue;
      const others = api.getColumns().map((c) => c.getColId()).filter((id) => id !== "stacked" && !id.startsWith("ag-Grid"));
      api.setColumnsVisible(others, !narrow);
      api.setColumnsVisible(["stacked"], narrow);
      api.setGridOption("headerHeight", narrow ? 0 : 38);
    }
  }
  let fitting = 0;
  const fitSoon = () => { cancelAnimationFrame(fitting); fitting = requestAnimationFrame(fitGrids); };
  window.addEventListener("resize", fitSoon);

  const components = window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {};
  const h = (...args) => window.React.createElement(...args);
  const marked = (kind, name, text) => h("span", { className: "state state-" + kind }, h("span", { className: "icon icon-" + name }), text);
  const severityIcon = { notice: "info", warning: "warning", critical: "critical" };
  const runIcon = { optimal: "check", feasible: "check", running: "play", requested: "clock", failed: "critical", infeasible: "critical" };
  components.Severity = (props) => marked(props.data.severity, severityIcon[props.data.severity] || "info", props.value);
  components.RunState = (props) => marked("run-" + props.data.state, runIcon[props.data.state] || "info", props.value);
  components.Proof = (props) => marked(props.data.proof === "intact" ? "good" : "critical", props.data.proof === "intact" ? "check" : "critical", props.value);
  components.StackedRow = (props) => h("dl", { className: "stacked" },
    ...props.api.getColumns().filter((c) => c.getColDef().field && props.data[c.getColDef().field]).map((c) => {
      const field = c.getColDef().field, renderer = components[c.getColDef().cellRenderer];
      const value = props.data[field];
      return h("div", { key: field }, h("dt", null, c.getColDef().headerName), h("dd", null, renderer ? renderer({ data: props.data, value }) : value));
    }));

  /* ---- sparklines, and charts out of the tab order ---- */

  function spark(node) {
    const text = node.dataset.values || "";
    if (node.dataset.drawn === text) return;
    node.dataset.drawn = text;
    const values = text.split(",").filter(Boolean).map(Number);
    if (values.length < 2) { node.replaceChildren(); return; }
    const low = Math.min(...values), span = Math.max(...values) - low || 1, step = 96 / (values.length - 1);
    const points = values.map((v, i) => (i * step + 2).toFixed(1) + "," + (20 - (v - low) / span * 16).toFixed(1));
    const last = points[points.length - 1].split(",");
    node.innerHTML = `<svg viewBox="0 0 100 24" width="100" height="24"><polyline points="${points.join(" ")}" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/><circle cx="${last[0]}" cy="${last[1]}" r="2" fill="currentColor"/></svg>`;
  }

  new MutationObserver(() => {
    document.querySelectorAll(".spark").forEach(spark);
    fitSoon();
    document.querySelectorAll(".modebar-btn:not([tabindex='-1'])").forEach((b) => b.setAttribute("tabindex", "-1"));
  }).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-values"] });
})();
