"""The template of the HTML report.

It is a string in a module, not a separate file, so that the hash of the step's imports covers it: an edit here
rebuilds the report.
"""

from fute.paper.map_page import MACROS

TEMPLATE = (
    MACROS
    + """\
{%- macro grid(table) -%}
<div class="scroll" tabindex="0" role="region" aria-label="{{ table.caption }}">
<table>
<caption>{{ table.caption }}</caption>
<thead>
{%- for line in table.head %}
<tr>{% for head in line %}
{%- if head.text %}<th scope="{{ 'colgroup' if head.span > 1 else 'col' }}"
{%- if head.span > 1 %} colspan="{{ head.span }}"{% endif %}{% if head.left %} class="left"{% endif %}>
{{- head.text }}</th>
{%- else %}<td{% if head.span > 1 %} colspan="{{ head.span }}"{% endif %}></td>{% endif %}
{%- endfor %}</tr>
{%- endfor %}
</thead>
{%- for group in table.groups %}
<tbody>
{%- if group.name %}
<tr class="group"><th scope="rowgroup" colspan="{{ table.width }}">{{ group.name }}</th></tr>
{%- endif %}
{%- for row in group.rows %}
<tr{% if row.reference %} class="reference"{% endif %}><th scope="row">{{ row.name }}</th>
{%- for cell in row.cells %}<td{% if cell.left %} class="left"{% endif %}>
{%- if cell.strong %}<strong>{{ cell.text }}</strong>{% else %}{{ cell.text }}{% endif %}
{%- if cell.small %}<span class="interval">{{ cell.small }}</span>{% endif %}</td>
{%- endfor %}</tr>
{%- endfor %}
</tbody>
{%- endfor %}
</table>
</div>
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{{ map_policy(map.hashes|join(" ") if map else "'none'") }}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { --ink: #1f2328; --muted: #5b636e; --line: #d8dce2; --ground: #fff; --soft: #f5f6f8;
  --link: #2458a6;
  --warn: #7a4d00; --warn-ground: #fff6e0; --warn-line: #e0a100; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --muted: #a0a8b3; --line: #363b43; --ground: #15181c; --soft: #1d2126;
    --link: #8ab4f8;
    --warn: #f2cf80; --warn-ground: #2b2410; --warn-line: #9c7a1e; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; }
main, header, nav { max-width: 76rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3rem; }
main { padding-bottom: 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 0.3rem; }
h2 { font-size: 1.25rem; margin: 3.2rem 0 0.6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p, li, dd { max-width: 46rem; }
.lede, .muted, figcaption { color: var(--muted); }
a { color: var(--link); }
.note { background: var(--warn-ground); color: var(--warn); border-left: 4px solid var(--warn-line);
  padding: 0.7rem 1rem; margin: 1.5rem 0; max-width: none; }
nav ol { columns: 16rem; column-gap: 3.5rem; padding-left: 2rem; margin: 1.5rem 0 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1.5rem; margin: 1rem 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
ul.plain { padding-left: 1.2rem; }
ul.plain li { margin: 0.4rem 0; }
.scroll { overflow-x: auto; margin: 1.4rem 0 1.8rem; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: 0.5rem; }
th, td { padding: 0.28rem 0.7rem; text-align: right; white-space: nowrap; vertical-align: top;
  font-weight: 400; }
th[scope=row], th[scope=rowgroup], .left { text-align: left; }
tr > :first-child { padding-left: 0; }
thead th { font-weight: 600; vertical-align: bottom; white-space: normal; max-width: 9rem; }
thead th[scope=colgroup] { white-space: nowrap; max-width: none; }
thead th[scope=colgroup] { text-align: center;
  box-shadow: inset 0.7rem 0 var(--ground), inset -0.7rem 0 var(--ground),
  inset 0 -1px var(--line); }
thead tr:last-child > * { border-bottom: 1px solid var(--muted); }
.group th { font-weight: 600; padding: 0.9rem 0 0.2rem; }
tbody tr:not(.group):hover > * { background: var(--soft); }
.reference > * { color: var(--muted); }
tr:not(.reference) + .reference > * { border-top: 1px solid var(--line); }
.interval { display: block; font-size: 0.72rem; line-height: 1.2; color: var(--muted); }
figure { margin: 1.5rem 0 2.5rem; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 4px; padding: 0.6rem; }
figcaption { margin-top: 0.6rem; max-width: 46rem; font-size: 0.9rem; }
code { font: 0.85em ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
{{ map_style() }}
@media print { .scroll { overflow: visible; }
  h2 { break-after: avoid; } table, figure { break-inside: avoid; } }
</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="lede">{{ lede }}</p>
{%- if note %}
<p class="note" role="note">{{ note }}</p>
{%- endif %}
</header>
<nav aria-label="Contents">
<ol>
{%- for section in sections %}
<li><a href="#{{ section.anchor }}">{{ section.title }}</a></li>
{%- endfor %}
</ol>
</nav>
<main>
{%- for section in sections %}
<section id="{{ section.anchor }}" aria-labelledby="{{ section.anchor }}-title">
<h2 id="{{ section.anchor }}-title">{{ section.title }}</h2>
{%- for text in section.texts %}
<p>{{ text }}</p>
{%- endfor %}
{%- if section.anchor == "interactive-map" %}
{{ map_body(map.titles) }}
{%- endif %}
{%- if section.pairs %}
<dl>
{%- for name, value in section.pairs %}
<dt>{% if section.paths %}<code>{{ name }}</code>{% else %}{{ name }}{% endif %}</dt><dd>{{ value }}</dd>
{%- endfor %}
</dl>
{%- endif %}
{%- if section.sentences %}
<ul class="plain">
{%- for sentence in section.sentences %}
<li>{{ sentence }}</li>
{%- endfor %}
</ul>
{%- endif %}
{%- for table in section.tables %}
{{ grid(table) }}
{%- endfor %}
{%- for figure in section.figures %}
<figure>
<img src="{{ figure.source }}" alt="{{ figure.title }}. {{ figure.caption }}">
<figcaption><strong>{{ figure.title }}.</strong> {{ figure.caption }}</figcaption>
</figure>
{%- endfor %}
</section>
{%- endfor %}
</main>
{%- if map %}
{{ map_scripts(map) }}
{%- endif %}
</body>
</html>
"""
)
