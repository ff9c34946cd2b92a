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
    const told = plot && plot.layout && plot.layout.meta && plot.layout.meta.rows;
    if (told) return { columns: plot.layout.meta.columns, rows: told };
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

  /* ---- the network at a step of a plan: drawn here, from what figures/gridmap.py sends ---- */

  let chosenStep = null; // the label of a step that somebody chose; it is kept when a new plan comes

  const known = (v) => v !== null && v !== undefined;
  const over = (value, limit) => known(limit) && value > limit + 0.1;

  function loadingClass(data, value, limit) {
    if (over(value, limit)) return data.loadings.length - 1;
    let found = 0;
    data.loadings.forEach((c, i) => { if (known(c.from) && value >= c.from) found = i; });
    return found;
  }

  function voltageClass(buses, i, vm) {
    const low = buses.low[i] > 0 ? buses.low[i] : null, high = buses.high[i];
    if (known(low) && vm < low - 1e-4) return 0;
    if (known(high) && vm > high + 1e-4) return 4;
    if (!known(low) || !known(high)) return 2;
    const near = buses.near * (high - low);
    return vm < low + near ? 1 : vm > high - near ? 3 : 2;
  }

  function networkFigure(data, step) {
    const w = data.words, traces = [], rows = [];
    const percent = (v) => v.toFixed(0) + " %", middle = (pair) => (pair[0] + pair[1]) / 2;
    const lines = data.lines, loading = lines.loading[step] || [];
    const told = (name, v, limit) => name + ": " + percent(v) + " (" + w.limit + " " + percent(limit) + ")";
    data.loadings.forEach((c, k) => {
      const x = [], y = [];
      loading.forEach((v, i) => {
        if (!known(v) || loadingClass(data, v, lines.limit[i]) !== k) return;
        x.push(...lines.x[i], null); y.push(...lines.y[i], null);
      });
      if (k === data.loadings.length - 1 && !x.length) return;
      traces.push({ type: "scatter", mode: "lines", x: x.length ? x : [null], y: y.length ? y : [null], name: c.name, hoverinfo: "skip", line: { color: c.colour, width: c.width } });
    });
    traces.push({ type: "scatter", mode: "markers", showlegend: false, hovertemplate: "%{text}<extra></extra>", marker: { size: 14, opacity: 0 },
      x: lines.x.map(middle), y: lines.y.map(middle), text: loading.map((v, i) => known(v) ? told(lines.name[i], v, lines.limit[i]) : lines.name[i]) });
    const buses = data.buses, vm = buses.vm[step] || [];
    data.voltages.forEach((c, k) => {
      const mine = vm.map((v, i) => i).filter((i) => known(vm[i]) && voltageClass(buses, i, vm[i]) === k);
      if (!mine.length && k !== 2) return;
      traces.push({ type: "scatter", mode: "markers", name: c.name, hovertemplate: "%{text}<extra></extra>",
        x: mine.length ? mine.map((i) => buses.x[i]) : [null], y: mine.length ? mine.map((i) => buses.y[i]) : [null],
        text: mine.map((i) => buses.name[i] + ": " + vm[i].toFixed(3) + " pu" + (known(buses.high[i]) ? " (" + buses.low[i].toFixed(2) + "\u2013" + buses.high[i].toFixed(2) + ")" : "")),
        marker: { size: k === 2 ? 7 : 10, color: c.colour, line: { color: data.edge, width: 1 } } });
    });
    const trafos = data.trafos, trafoLoading = trafos.loading[step] || [];
    if (trafoLoading.some(known)) traces.push({ type: "scatter", mode: "markers", name: w.trafo, hovertemplate: "%{text}<extra></extra>",
      x: trafos.x.map(middle), y: trafos.y.map(middle),
      text: trafoLoading.map((v, i) => known(v) ? told(trafos.name[i], v, trafos.limit[i]) : trafos.name[i]),
      marker: { symbol: "square", size: 13, line: { color: data.edge, width: 1.5 },
        color: trafoLoading.map((v, i) => known(v) ? data.loadings[loadingClass(data, v, trafos.limit[i])].colour : data.voltages[2].colour) } });
    const broken = (v, limit) => over(v, limit) ? w.broken : "";
    loading.forEach((v, i) => known(v) && rows.push([lines.name[i], { [w.loading]: v, [w.most]: lines.limit[i], [w.state]: broken(v, lines.limit[i]) }]));
    trafoLoading.forEach((v, i) => known(v) && rows.push([trafos.name[i], { [w.loading]: v, [w.most]: trafos.limit[i], [w.state]: broken(v, trafos.limit[i]) }]));
    vm.forEach((v, i) => known(v) && rows.push([buses.name[i], { [w.voltage]: v, [w.least]: buses.low[i], [w.most_pu]: buses.high[i], [w.state]: [0, 4].includes(voltageClass(buses, i, v)) ? w.broken : "" }]));
    const columns = [w.loading, w.most, w.voltage, w.least, w.most_pu, w.state];
    return { data: traces, layout: Object.assign({}, data.layout, { meta: { columns, rows } }) };
  }

  function stepSentence(data, step) {
    const best = (values, sign) => values.reduce((b, v, i) => known(v) && (b < 0 || sign * v > sign * values[b]) ? i : b, -1);
    const w = data.words, said = [data.labels[step] + (step === data.now ? " (" + w.now + ")" : "")];
    const all = [[data.lines, data.lines.loading[step] || []], [data.trafos, data.trafos.loading[step] || []]];
    let most = null;
    for (const [table, values] of all) {
      const i = best(values, 1);
      if (i >= 0 && (most === null || values[i] > most.v)) most = { v: values[i], name: table.name[i], limit: table.limit[i] };
    }
    if (most) said.push(w.say_loading.replace("{name}", most.name).replace("{value}", most.v.toFixed(0)).replace("{limit}", most.limit.toFixed(0)));
    const vm = data.buses.vm[step] || [], low = best(vm, -1), high = best(vm, 1);
    if (low >= 0) said.push(w.say_voltage.replace("{low}", vm[low].toFixed(3)).replace("{low_name}", data.buses.name[low]).replace("{high}", vm[high].toFixed(3)).replace("{high_name}", data.buses.name[high]));
    return said.join(w.join);
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
      whatIfKind: (kind) => [kind !== "outage", kind === "outage"],
      networkNew: (data) => {
        const no = window.dash_clientside.no_update;
        if (!data || !data.labels) return [no, "", no, no, no];
        const kept = chosenStep === null ? -1 : data.labels.indexOf(chosenStep), step = kept >= 0 ? kept : data.now;
        return [networkFigure(data, step), stepSentence(data, step), step, data.labels.length - 1, data.marks];
      },
      networkMoved: (step, data) => {
        const no = window.dash_clientside.no_update;
        if (!data || !data.labels || data.labels[step] === undefined) return [no, no];
        chosenStep = step === data.now ? null : data.labels[step];
        return [networkFigure(data, step), stepSentence(data, step)];
      },
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
  const runIcon = { proposed: "clock", refused: "critical", lapsed: "clock", optimal: "check", feasible: "check", running: "play", requested: "clock", failed: "critical", infeasible: "critical" };
  components.Severity = (props) => marked(props.data.severity, severityIcon[props.data.severity] || "info", props.value);
  components.RunState = (props) => marked("run-" + props.data.state, runIcon[props.data.state] || "info", props.value);
  const answerIcon = { following: "check", accepted: "check", sent: "clock", overdue: "warning", refused: "critical", partly: "warning", off: "warning" };
  const answerTone = { accepted: "good", sent: "notice", overdue: "warning", refused: "critical", partly: "warning", off: "warning" };
  components.Steered = (props) => marked(answerTone[props.data.state] || "notice", answerIcon[props.data.state] || "info", props.value);
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
