"""The parts of a page that an interactive map takes: style, controls, and the script that draws it.

`fute.paper.interactive_map` makes the map's values. All words of a run's own are in JSON that the script reads.
"""

MACROS = """\
{%- macro map_style() -%}
button, select, input { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--muted);
  border-radius: 4px; padding: 0.25rem 0.7rem; }
button { cursor: pointer; }
button[aria-pressed=true] { background: var(--link); border-color: var(--link); color: var(--ground); }
button:disabled { color: var(--muted); border-style: dashed; cursor: not-allowed; }
:focus-visible { outline: 3px solid #e69f00; outline-offset: 2px; }
.controls { display: flex; flex-wrap: wrap; gap: 0.5rem 1.5rem; align-items: center; }
.controls > * { display: flex; gap: 0.4rem; align-items: center; max-width: 100%; }
#map { height: 34rem; max-height: 90vh; margin-top: 0.6rem; background: #fff; }
#said { white-space: pre-line; overflow-wrap: anywhere; min-height: 1.5em; }
[hidden] { display: none !important; }
@media print { .controls { display: none; } }
{%- endmacro -%}
{%- macro map_policy(hashes) -%}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {{ hashes }};
 style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
{%- endmacro -%}
{%- macro map_body(titles) -%}
<p class="muted">Points that are close answer alike. Distances between clusters of t-SNE mean nothing. Each model has
its shape; a black ring marks the first of a ranking. With the map in focus, the arrow keys go from point to point.</p>
<div class="controls">
<label{% if titles|length < 2 %} hidden{% endif %}>Map <select id="map-of">
{%- for title in titles %}<option value="{{ loop.index0 }}">{{ title }}</option>{% endfor -%}
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
{%- endmacro -%}
{%- macro map_scripts(parts) -%}
<script type="application/json" id="map-data">{{ parts.data|safe }}</script>
<script type="text/plain" id="map-library">{{ parts.library }}</script>
<script>{{ parts.script|safe }}</script>
{%- endmacro -%}
"""

SCRIPT = """
"use strict";
const maps = JSON.parse(document.getElementById("map-data").textContent);
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star", "triangle-down", "pentagon", "x",
  "hexagon"];
const NAMED = 40;
// plotly reads a few tags in its texts
const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const byId = (id) => document.getElementById(id);

// the library that draws is in the page, packed
async function load() {
  const packed = Uint8Array.from(atob(byId("map-library").textContent), (char) => char.charCodeAt(0));
  const script = document.createElement("script");
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
}

function start() {
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
  place.dispatchEvent(new Event("drawn"));
}

load().then(start, (error) => {
  byId("said").textContent = `The map cannot be drawn (${error.message}); a browser of 2023 or later draws it.`;
});
"""
