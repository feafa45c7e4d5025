"""The template of the page of a run, and the script that sorts its tables.

All words of a run's own go into the page as escaped text, or as JSON that the script of the map reads. The page forbids
scripts other than its own, and every load from elsewhere.
"""

from fute.paper.map_page import MACROS

TEMPLATE = (
    MACROS
    + """\
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
{{ map_policy(hashes) }}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light; --ink: #1f2328; --muted: #5b636e; --line: #d8dce2; --soft: #f5f6f8; --ground: #fff;
  --link: #2458a6; }
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
th button { border: 0; padding: 0; font-weight: 600; text-align: inherit; background: none; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
{{ map_style() }}
th[scope=row] { white-space: nowrap; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; color: var(--link); }
@media print { .scroll { overflow: visible; } }
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
{%- if not map %}
<p>{{ no_map }}</p>
{%- else %}
{{ map_body(map.titles) }}
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
<script>{{ script|safe }}</script>
{%- if map %}
{{ map_scripts(map) }}
{%- endif %}
</body>
</html>
"""
)

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
"""
