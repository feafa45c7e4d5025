"""The report's settings: what was run, in words that a reader of the paper knows."""

from __future__ import annotations

from typing import Any

from fute import paths
from fute.config.finetuning import FinetuneSettings
from fute.config.models import TunedSettings
from fute.display_names import FORM_NAMES, METHOD_TITLES
from fute.plan.plan import Plan

FILES = {
    "results/paper/tables": "the tables as CSV, Markdown and LaTeX",
    "results/paper/figures": "the figures as PDF, PNG and coordinates",
    "results/evaluation": "similarities, performances, rankings, geometry as CSV",
    "results/labels": "what every black box said of the texts, a file for each corpus",
    "results/embeddings": "dataset and model task embeddings",
}
LM_FILES = {
    "results/finetuned": "the fine-tuned language models, their scores and loss curves",
    "results/transfer": "scores after transfer, a file for each source and target",
}
VIEWS = {"raw": "", "centred": ", centred on the start"}


def report_settings(plan: Plan) -> dict[str, Any]:
    """Texts of the report: a `fute.paper.report_step.ReportSettings` as a mapping."""
    config, chosen = plan.config, []
    if plan.lm:
        chosen.append(f"models to transfer from ({'Tables 1 and 2' if 'table2' in plan.lm.tables else 'Table 1'})")
    if plan.llm:
        number = len(plan.llm.settings.baselines)
        beside = f", beside {number} baseline{'s' if number > 1 else ''}" if number else ""
        chosen.append(f"prompts{beside} (Table 3)")
    return {
        "title": config.title,
        "lede": f"Chosen by the cosine of task embeddings (FUTE): {'; '.join(chosen)}.",
        "note": config.note or "",
        "settings": (_lm_run(plan) if plan.lm else {}) | (_llm_run(plan) if plan.llm else {}) | _common_run(plan),
        "lm": _lm_texts(plan) if plan.lm else None,
        "llm": _llm_texts(plan) if plan.llm else None,
        "files": FILES | (LM_FILES if plan.lm else {}),
    }


def _title(plan: Plan, model: str) -> str:
    return plan.run.models[model].title or model


def _titles(plan: Plan, models: tuple[str, ...]) -> str:
    return ", ".join(_title(plan, model) for model in models)


def _dataset_titles(plan: Plan, datasets: list[str] | tuple[str, ...]) -> str:
    return ", ".join(plan.run.datasets[name].title for name in datasets)


def _common_run(plan: Plan) -> dict[str, str]:
    config, surrogate = plan.config, plan.config.surrogate
    has_surrogate = set(config.methods) != {"labelcov"}
    family, form = surrogate.settings.family, FORM_NAMES[surrogate.settings.form]
    rows = {
        "Surrogate": f"{_title(plan, surrogate.name)} ({family}, {form})" if has_surrogate else "none",
        "Precision": _precision(plan),
        "Methods": ", ".join(METHOD_TITLES[method] for method in config.methods),
        "Seed": str(config.seed),
        "Configuration": config.name,
        "Preset": f"{config.preset} (docs/methods.md lists every departure)",
    }
    tuned = plan.lm.settings.models if plan.lm else ()
    kinds = {
        "LLMs": config.llm.models,
        "models that an LLM is fine-tuned from": [how.model for how in plan.run.tuned.values()],
        "language models that are fine-tuned": tuned,
    }
    own = [kind for kind, models in kinds.items() if surrogate.name in models]
    if own and has_surrogate:
        of = " and one of the ".join(own)
        rows["Special case"] = f"the surrogate is one of the {of}: its embeddings are a self-distillation"
    return rows


def _precision(plan: Plan) -> str:
    """Format of every model's weights where they come from, and of what is computed with them."""
    config, surrogate, lm = plan.config, plan.config.surrogate, plan.lm
    number_format = "the server's format" if _is_served(plan) else config.llm.engine.dtype
    roles: dict[str, list[str]] = {model: [f"LLM in {number_format}"] for model in config.llm.models}
    for model in lm.settings.models if lm else ():
        recipes = lm.settings.finetune.of(model)
        predicted = ", its predictions in bf16" if recipes.cr.autocast or recipes.qa.autocast else ""
        roles.setdefault(model, []).append(f"fine-tuned in float32{predicted}")
    on_surrogate = set(config.methods) - {"labelcov"}
    fine_tuned = "taskemb" in on_surrogate
    frozen = on_surrogate - {"taskemb"} or (fine_tuned and config.taskemb.mte.layers is not None)
    uses = {f"frozen in {surrogate.settings.dtype}": frozen, "trained in float32": fine_tuned}
    if on_surrogate:
        told = " and ".join(use for use, holds in uses.items() if holds)
        roles.setdefault(surrogate.name, []).append(f"surrogate {told}")
    if "labelcov" in config.methods:
        roles.setdefault(config.labelcov.encoder, []).append("LabelCov's encoder in float32")
    return "; ".join(
        f"{_title(plan, model)}: {plan.run.models[model].stored_as}; {', '.join(told)}" for model, told in roles.items()
    )


def _is_served(plan: Plan) -> bool:
    """True for LLMs behind a server, of which `dtype` says nothing."""
    return plan.config.llm.engine.engine == "openai"


def _llm_run(plan: Plan) -> dict[str, str]:
    llm, engine = plan.config.llm, plan.config.llm.engine
    left_out = {"Baselines": plan.llm.left_out} if plan.llm.left_out else {}
    cut = {"Long texts": f"cut so that prompts have at most {engine.max_length} tokens"}
    return {
        "LLMs": _titles(plan, llm.models),
        **({"Fine-tuned LLMs": "; ".join(_tuned(plan, name) for name in plan.run.tuned)} if plan.run.tuned else {}),
        "Prompts": "; ".join(
            f"{title} {', '.join(str(p.number) for p in plan.run.prompts_of(c))}" for c, title in plan.titles
        ),
        "Targets of the LLMs": _dataset_titles(plan, plan.data.llm_targets),
        "Engine": f"{engine.engine}, {'' if _is_served(plan) else f'{engine.dtype}, '}class score by {_scores(plan)}",
        "Calibration": "mean class log-score over U subtracted (the paper has none)"
        if llm.calibration == "unsup"
        else "none",
        **left_out,
        **(cut if llm.long_texts == "cut" else {}),
    }


def _tuned(plan: Plan, model: str) -> str:
    """What an LLM of the run was fine-tuned on."""
    how = plan.run.tuned[model]
    learned = [
        f"{plan.run.title_of(category)} prompts {', '.join(map(str, numbers))} on training rows of "
        f"{_dataset_titles(plan, how.datasets[category])}"
        for category, numbers in how.prompts.items()
    ]
    return f"{_title(plan, model)}: {_title(plan, how.model)}, {_recipe(how)}, {'; '.join(learned)}"


def _scores(plan: Plan) -> str:
    """Where class scores are read, by category where these differ."""
    scores = {title: plan.run.engine_of(name).score for name, title in plan.titles}
    if len(set(scores.values())) == 1:
        return next(iter(scores.values()))
    return ", ".join(f"{score} ({title})" for title, score in scores.items())


def _lm_run(plan: Plan) -> dict[str, str]:
    lm, settings = plan.lm, plan.lm.settings
    rows = {"Language models": _titles(plan, settings.models)}
    if settings.plugins:
        rows["Python functions"] = ", ".join(settings.plugins)
    sets = settings.datasets
    groups = {"CR datasets": sets.cr, "QA datasets": sets.qa, "Domain targets": sets.domain}
    rows |= {group: _dataset_titles(plan, names) for group, names in groups.items() if names}
    transfer = settings.transfer
    seeds = ", ".join(map(str, transfer.seeds))
    rows["Transfer"] = (
        f"{_title(plan, transfer.model)}, {len(lm.transfer.pairs)} pairs, seeds {seeds}"
        if lm.finetune.computes_matrix
        else f"{_title(plan, transfer.model)}, scores as published"
    )
    recipes = settings.finetune.of(transfer.model)
    rows["Its fine-tuning"] = f"CR {_recipe(recipes.cr)}; QA {_recipe(recipes.qa)}"
    return rows


def _recipe(recipe: FinetuneSettings | TunedSettings) -> str:
    length = f"{recipe.steps} steps" if recipe.steps else f"{recipe.epochs} epochs"
    blocks = f", last {recipe.layers} blocks" if recipe.layers else ""
    return f"{length} of {recipe.batch_size} at {recipe.learning_rate:g}{blocks}"


def _figure_texts(plan: Plan, *figures: str) -> list[dict[str, str]]:
    return [
        {
            "base": paths.figure(name),
            "title": f"{plan.captions[figure]['title']} ({METHOD_TITLES[method]}{VIEWS[view]})",
            "caption": plan.captions[figure]["caption"],
        }
        for name, (figure, method, view) in plan.figures(*figures).items()
    ]


def _lm_texts(plan: Plan) -> dict[str, Any]:
    tables = {name: plan.table_texts(name) for name in plan.lm.tables}
    planted = {"base": paths.figure("planted"), **plan.captions["planted"]} if plan.lm.planted_files() else None
    return {"tables": tables, "figures": _figure_texts(plan, "fig3", "figa1"), "planted": planted}


def _llm_texts(plan: Plan) -> dict[str, Any]:
    caption = " ".join(filter(None, [plan.table_texts("table3")["caption"], plan.llm.left_out]))
    colours = {name: plan.run.categories[name].colour for name, _ in plan.titles}
    prompts = {prompt.id: prompt.shown for prompt in plan.run.prompts.values()}
    return {
        "table3_caption": caption,
        "categories": plan.titles,
        "colours": colours,
        "prompts": prompts,
        "figures": _figure_texts(plan, "fig4", "figa2"),
    }
