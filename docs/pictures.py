"""Draws the pictures of docs/tiny.md: a run's pass@1, one panel a set, languages side by side, a bar a variant.

Run: python docs/pictures.py RUN PICTURE, for instance `python docs/pictures.py runs/demo docs/images/tiny-demo.png`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from flexlora.evaluation.schema import Score, read_summary
from flexlora.report.words import language_name, score_name

COLOURS = ("#8c8c8c", "#1f77b4", "#d62728", "#2ca02c")


def main(run: Path, picture: Path) -> None:
    """Draw the scores of a run on tasks `tiny/SET/LANG`."""
    scores = read_summary(run)["scores"]
    sets = list(dict.fromkeys(score["task"].split("/")[1] for score in scores))
    figure, panels = plt.subplots(1, len(sets), figsize=(3.2 * len(sets) + 1, 3.4), sharey=True, squeeze=False)
    for panel, name in zip(panels[0], sets, strict=True):
        _draw(panel, [score for score in scores if score["task"].split("/")[1] == name])
        panel.set_title(f"set {name}")
    panels[0][0].set_ylabel("solved, % (95 % interval)")
    if len(handles := panels[0][0].get_legend_handles_labels()[0]) > 1:
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
        figure.tight_layout(rect=(0, 0.08, 1, 1))
    else:
        figure.tight_layout()
    figure.savefig(picture, dpi=110)


def _draw(panel: Any, scores: list[Score]) -> None:
    variants = list(dict.fromkeys(score_name(score, scores) for score in scores))
    languages = list(dict.fromkeys(score["language"] for score in scores))
    width = 0.8 / len(variants)
    for number, variant in enumerate(variants):
        of_variant = [score for score in scores if score_name(score, scores) == variant]
        found = [score["pass_at_k"]["1"] for score in of_variant]
        heights = [100 * one["estimate"] for one in found]
        whiskers = [
            [height - 100 * one["low"] for height, one in zip(heights, found, strict=True)],
            [100 * one["high"] - height for height, one in zip(heights, found, strict=True)],
        ]
        places = [at + (number - (len(variants) - 1) / 2) * width for at in range(len(languages))]
        panel.bar(
            places, heights, width, yerr=whiskers, color=COLOURS[number % 4], label=variant, error_kw={"linewidth": 0.8}
        )
    panel.set_xticks(range(len(languages)), [language_name(language) for language in languages])
    panel.set_ylim(0, 100)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
