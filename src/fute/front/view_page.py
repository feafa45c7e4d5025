"""The template of the page of a run, and the script that draws its map.

All words of a run's own go into the page as escaped text, or as JSON that the script reads. The page forbids scripts
other than its own, and every load from elsewhere.
"""

TEMPLATE = """\
{%- macro heat(table) -%}
<div class="scroll" tabindex="0" role="region" aria-label="{{ table.caption }}">
<table class="heat">
<caption>{{ table.caption }}</caption>
<thead><tr>{% for head in table.heads %}<th scope="col"{% if loop.first %} class="left"{% endif %}>{{ head }}</th>
{%- endfor %}</tr></thead>
<tbody>
{%- for name, cells in table.rows %}
<tr><th scope="row">{{ name }}</th>
{%- for text, shade in cells %}<td{% if shade %} style="--s:{{ shade }}%"{% endif %}>{{ text }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {{ hashes }};
 style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light; --ink: #1f2328; --muted: #5b636e; --line: #d8dce2; --soft: #f5f6f8; --link: #2458a6; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; }
main, header { max-width: 76rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2rem; }
main { padding-bottom: 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 0.6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 0.4rem; }
p, li { max-width: 60rem; overflow-wrap: anywhere; }
.advice { font-weight: 600; border-left: 4px solid var(--link); padding: 0.5rem 1rem; background: var(--soft); }
.muted, caption { color: var(--muted); }
.scroll { overflow-x: auto; margin: 0.8rem 0 1.2rem; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.4rem; }
th, td { padding: 0.3rem 0.7rem; text-align: right; vertical-align: top; font-weight: 400; }
thead th { font-weight: 600; border-bottom: 1px solid var(--muted); vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
th[scope=row], .left { text-align: left; }
.heat td { background: rgb(47 109 179 / var(--s, 0%)); }
caption, td, thead th { white-space: nowrap; }
.words { text-align: left; overflow-wrap: anywhere; min-width: 14rem; max-width: 44rem; }
td.words { white-space: pre-line; }
button, select, input { font: inherit; color: inherit; background: #fff; border: 1px solid var(--muted);
  border-radius: 4px; padding: 0.25rem 0.7rem; }
button { cursor: pointer; }
button[aria-pressed=true] { background: var(--link); border-color: var(--link); color: #fff; }
button:disabled { color: var(--muted); border-style: dashed; cursor: not-allowed; }
th button { border: 0; padding: 0; font-weight: 600; text-align: inherit; background: none; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
:focus-visible { outline: 3px solid #e69f00; outline-offset: 2px; }
.controls { display: flex; flex-wrap: wrap; gap: 0.5rem 1.5rem; align-items: center; }
.controls > * { display: flex; gap: 0.4rem; align-items: center; max-width: 100%; }
#map { height: 34rem; max-height: 90vh; margin-top: 0.6rem; }
#said { white-space: pre-line; overflow-wrap: anywhere; min-height: 1.5em; }
[hidden] { display: none !important; }
th[scope=row] { white-space: nowrap; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; color: var(--link); }
@media print { .controls { display: none; } .scroll { overflow: visible; } }
</style>
</head>
<body>
<header><h1>{{ title }}</h1></header>
<main>
<section aria-labelledby="ranking-title">
<h2 id="ranking-title">Ranking</h2>
{%- for each in rankings %}
<h3>{{ each.title }}</h3>
<p class="advice">{{ each.advice }}</p>
<div class="scroll" tabindex="0" role="region" aria-label="{{ each.title }}">
<table class="sortable">
{%- if each.caption %}
<caption>{{ each.caption }}</caption>
{%- endif %}
<thead><tr>{% for head in each.heads %}
<th scope="col"{% if loop.index == 2 or head == "Text" %} class="left"{% endif %}>{{ head }}</th>
{%- endfor %}</tr></thead>
<tbody>
{%- for row in each.rows %}
<tr>{% for cell in row %}{% if loop.index == 2 %}<th scope="row">{{ cell }}</th>
{%- elif each.heads[loop.index0] == "Text" %}<td class="words">{{ cell }}</td>
{%- else %}<td>{{ cell }}</td>{% endif %}{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
<ul>
{%- for text in each.said %}
<li>{{ text }}</li>
{%- endfor %}
</ul>
{%- if each.confusions %}
<details><summary>Confusion on test rows
{%- if each.confusions|length < each.rows|length %} of the first {{ each.confusions|length }}{% endif %}</summary>
{%- for table in each.confusions %}
{{ heat(table) }}
{%- endfor %}
</details>
{%- endif %}
{%- endfor %}
</section>
<section aria-labelledby="map-title">
<h2 id="map-title">Map</h2>
{%- if no_map %}
<p>{{ no_map }}</p>
{%- else %}
<p class="muted">Points that are close answer alike. Distances between clusters of t-SNE mean nothing. Each model has
its shape; a black ring marks the first of a ranking. With the map in focus, the arrow keys go from point to point.</p>
<div class="controls">
<label{% if maps|length < 2 %} hidden{% endif %}>Map <select id="map-of">
{%- for title in maps %}<option value="{{ loop.index0 }}">{{ title }}</option>{% endfor -%}
</select></label>
<div role="group" aria-label="Projection"><button type="button" data-view="tsne">t-SNE</button>
<button type="button" data-view="pca">PCA</button></div>
<div role="group" aria-label="Colours">Colours by <button type="button" data-colour="class">class</button>
<button type="button" data-colour="model">model</button></div>
<label>Filter <input type="search" id="filter" placeholder="part of a name or text"></label>
<span id="count" role="status"></span>
</div>
<div id="map" tabindex="0" role="application" aria-label="Map of the candidates" aria-describedby="said"></div>
<p id="said" class="muted" aria-live="polite"></p>
<noscript><p>The map needs JavaScript; the tables do not.</p></noscript>
{%- endif %}
</section>
<section aria-labelledby="labels-title">
<h2 id="labels-title">Labels of U, the unlabelled texts</h2>
{%- for each in shares %}
{%- if each.table %}
{{ heat(each.table) }}
{%- endif %}
{%- for note in each.notes %}
<p>{{ note }}</p>
{%- endfor %}
{%- endfor %}
</section>
<section aria-labelledby="apart-title">
<h2 id="apart-title">Texts on which the first two differ</h2>
{%- for each in rankings %}
<h3>{{ each.title }}</h3>
<p>{{ each.apart.note }}</p>
{%- if each.apart.rows %}
<div class="scroll" tabindex="0" role="region" aria-label="Texts on which {{ each.apart.names|join(' and ') }} differ">
<table class="sortable">
<thead><tr><th scope="col" class="left">Text of U</th>
{%- for name in each.apart.names %}<th scope="col" class="left">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for row in each.apart.rows %}
<tr>{% for cell in row %}<td class="{{ 'words' if loop.first else 'left' }}">{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
{%- endif %}
{%- endfor %}
</section>
</main>
<script type="application/json" id="data">{{ data|safe }}</script>
{%- if library %}
<script>{{ library|safe }}</script>
{%- endif %}
<script>{{ script|safe }}</script>
</body>
</html>
"""

SCRIPT = """
"use strict";
// a click on a column's head sorts by it
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows];
      const numbers = rows.every((row) => !text(row) || !Number.isNaN(parseFloat(text(row))));
      rows.sort((a, b) => {
        if (!text(a) || !text(b)) return (text(a) ? 0 : 1) - (text(b) ? 0 : 1);
        const order = numbers ? parseFloat(text(a)) - parseFloat(text(b)) : text(a).localeCompare(text(b));
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

const maps = JSON.parse(document.getElementById("data").textContent);
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star", "triangle-down", "pentagon", "x",
  "hexagon"];
const NAMED = 40;
// plotly reads a few tags in its texts
const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

if (maps.length) {
  const byId = (id) => document.getElementById(id);
  const place = byId("map");
  const state = { map: maps[0], view: "tsne", colour: "class", filter: "", at: -1, order: [] };

  function draw() {
    const { map, colour } = state;
    const view = map[state.view] ? state.view : "pca";
    const models = [...new Set(map.model)];
    const shown = map.label.map((label, i) => i).filter((i) =>
      [map.label[i], map.class[i], ...map.said[i]].join(" ").toLowerCase().includes(state.filter));
    const traces = [];
    state.order = [];
    for (const [group, [title, hue]] of Object.entries(map.colours[colour])) {
      const own = shown.filter((i) => map[colour][i] === group);
      if (!own.length) continue;
      own.forEach((i, position) => state.order.push([traces.length, position, i]));
      traces.push({
        type: "scatter", name: escaped(title), mode: shown.length > NAMED ? "markers" : "markers+text",
        x: own.map((i) => map[view][0][i]), y: own.map((i) => map[view][1][i]),
        text: own.map((i) => escaped(map.label[i])), textposition: "top center", cliponaxis: false,
        hovertext: own.map((i) => map.said[i].map(escaped).join("<br>")), hoverinfo: "text",
        marker: {
          color: hue, size: own.map((i) => (map.best[i] ? 15 : 11)),
          symbol: own.map((i) => SYMBOLS[models.indexOf(map.model[i]) % SYMBOLS.length]),
          line: {
            color: own.map((i) => (map.best[i] ? "#000" : "#fff")), width: own.map((i) => (map.best[i] ? 2.5 : 1)),
          },
        },
      });
    }
    state.at = -1;
    const axis = { showticklabels: false, zeroline: false, gridcolor: "#eceef1" };
    const label = view === "tsne" ? "t-SNE" : "PCA, component";
    Plotly.react(place, traces, {
      font: { color: "#1f2328", size: 13 }, margin: { l: 40, r: 20, t: 20, b: 40 },
      showlegend: true, hovermode: "closest",
      legend: { orientation: "h", y: 1.08 }, hoverlabel: { align: "left", bgcolor: "#fff", font: { color: "#1f2328" } },
      xaxis: { ...axis, title: { text: `${label} 1` } }, yaxis: { ...axis, title: { text: `${label} 2` } },
    }, { responsive: true, displaylogo: false, typesetMath: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
    byId("count").textContent = `${shown.length} of ${map.label.length} points`;
    byId("said").textContent = map.tsne ? "" : "t-SNE is not defined for so few points.";
    for (const button of document.querySelectorAll("[data-view]")) {
      button.disabled = !map[button.dataset.view];
      button.setAttribute("aria-pressed", button.dataset.view === view);
    }
    for (const button of document.querySelectorAll("[data-colour]"))
      button.setAttribute("aria-pressed", button.dataset.colour === colour);
  }

  function set(key, value) {
    state[key] = value;
    draw();
  }
  for (const button of document.querySelectorAll("[data-view]"))
    button.addEventListener("click", () => set("view", button.dataset.view));
  for (const button of document.querySelectorAll("[data-colour]"))
    button.addEventListener("click", () => set("colour", button.dataset.colour));
  byId("map-of").addEventListener("change", (event) => set("map", maps[Number(event.target.value)]));
  byId("filter").addEventListener("input", (event) => set("filter", event.target.value.trim().toLowerCase()));
  place.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !state.order.length) return;
    event.preventDefault();
    const last = state.order.length - 1;
    state.at += step;
    if (state.at < 0) state.at = last;
    if (state.at > last) state.at = 0;
    const [curveNumber, pointNumber, i] = state.order[state.at];
    Plotly.Fx.hover(place, [{ curveNumber, pointNumber }]);
    byId("said").textContent = state.map.said[i].join("\\n");
  });
  draw();
  place.on("plotly_hover", ({ points }) => {
    const found = state.order.find(([curve, position]) =>
      curve === points[0].curveNumber && position === points[0].pointNumber);
    byId("said").textContent = state.map.said[found[2]].join("\\n");
  });
}
"""
