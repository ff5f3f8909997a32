import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flexlora.evaluation import Summary
from flexlora.files import write_whole
from flexlora.report.curves import Curve, Panel
from flexlora.report.exports import OF_A_STUDY, write_exports, write_run_exports
from flexlora.report.figures import Figure, Group, Row, Tick
from flexlora.report.latex import Table, comma_separated, escaped, latex
from flexlora.report.study_curves import grid_panels
from flexlora.report.study_tables import study_tables
from flexlora.report.svg import panel_svg, plot_svg
from flexlora.studies.findings import Findings

SVG = "{http://www.w3.org/2000/svg}"


def drawing(text: str) -> ElementTree.Element:
    """The root of a standalone SVG; fails where it is no XML."""
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>')
    root = ElementTree.fromstring(text.encode())
    assert root.tag == f"{SVG}svg"
    return root


def box(root: ElementTree.Element) -> tuple[float, float, float, float]:
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    return left, top, left + width, top + height


def test_a_study_writes_every_figure_and_table(study: tuple[Path, Findings]) -> None:
    folder, findings = study
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"scores.svg", "primary.svg", "confirmatory-against-none.svg", "tradeoff.svg"} <= names
    assert {"training-gradient-norm.svg", "spectrum-a.svg", "grid-lam-java-tiny-a-java.svg"} <= names
    tables = {table.name for table in study_tables(findings)}
    assert tables == {"scores", "comparisons", "areas", "tradeoffs", "cost", "paper"}
    written = {path.name for path in (folder / "tables").iterdir()}
    assert written == {f"{name}.{ending}" for name in tables for ending in ("tex", "csv")}


def test_what_an_earlier_report_left_is_removed_and_nothing_else(study: tuple[Path, Findings], tmp_path: Path) -> None:
    stale = ["figures/grid-rank-java.svg", "figures/confirmatory-against-gone.svg", "tables/tradeoffs.csv"]
    own = ["figures/talk.svg", "figures/grid-lam.pdf", "tables/notes.tex"]
    for name in (*stale, *own):
        write_whole(tmp_path / name, "")
    few: Findings = {**study[1], "tradeoffs": None}
    written = write_exports(tmp_path, few)
    there = {path for folder in ("figures", "tables") for path in (tmp_path / folder).iterdir()}
    assert there == {*written, *(tmp_path / name for name in own)}
    for path in (*(study[0] / "figures").iterdir(), *(study[0] / "tables").iterdir()):
        assert OF_A_STUDY[path.parent.name].fullmatch(path.name), path


def test_grid_keys_that_end_alike_keep_their_curves_and_files_apart(
    study: tuple[Path, Findings], tmp_path: Path
) -> None:
    train, sampling = "train.batch_size", "sampling.batch_size"
    template, score = study[1]["configurations"][0], study[1]["scores"][0]
    points = [{train: a, sampling: b} for a in (2, 4) for b in (8, 16)]
    named = [(f"none {train}={point[train]} {sampling}={point[sampling]}", point) for point in points]
    findings: Findings = {
        **study[1],
        "keys": {train: train, sampling: sampling},
        "configurations": [{**template, "name": name, "point": point} for name, point in named],
        "scores": [{**score, "config": name, "variant": "adapter"} for name, _ in named],
        "comparisons": [],
        "tradeoffs": None,
    }
    curves, panels = grid_panels(findings, train)
    assert curves == [f"none {sampling}=8", f"none {sampling}=16"]
    assert [len(curve.marks) for curve in panels[0].curves] == [2, 2]
    grids = [path.name for path in write_exports(tmp_path, findings) if path.name.startswith("grid-")]
    assert len(set(grids)) == len(grids) == 2


def test_every_svg_stands_alone_and_keeps_within_its_box(study: tuple[Path, Findings]) -> None:
    for path in (study[0] / "figures").iterdir():
        root = drawing(path.read_text("utf-8"))
        left, top, right, bottom = box(root)
        for one in root.iter():
            assert not set(one.attrib) & {"class", "style", "href"}
            for name in ("x", "x1", "x2", "cx"):
                assert "%" in one.get(name, "%") or left <= float(one.attrib[name]) <= right, path.name
            for name in ("y", "y1", "y2", "cy"):
                assert "%" in one.get(name, "%") or top <= float(one.attrib[name]) <= bottom, path.name


def test_labels_of_an_svg_do_not_run_into_the_plot() -> None:
    long = "factors lam=0.02 targets=mlp weighting=sigmoid view=delta"
    row = Row(long, "adapter", "+3.1", "[+0.4, +5.9]", 60, 52, 70, note="p = 0.03 after correction")
    figure = Figure("pass@1", "points", [Tick(0, "−10"), Tick(100, "+10")], [Group("Java", "tiny", 50.0, [row])])
    root = drawing(plot_svg(figure))
    label = next(one for one in root.iter(f"{SVG}text") if one.text == long)
    first = min(float(one.attrib["x1"]) for one in root.iter(f"{SVG}line"))
    # Helvetica at 11 px: about 5.5 px a character.
    assert float(label.attrib["x"]) + 5.5 * len(long) < first
    value = next(one for one in root.iter(f"{SVG}text") if (one.text or "").startswith("+3.1"))
    assert float(value.attrib["x"]) + 5.5 * len(value.text or "") < box(root)[2]


def test_hostile_names_are_text_in_an_svg() -> None:
    hostile = "<script>alert(1)</script> & \x00\x1b ]]>"
    row = Row(hostile, "base", "1", "[0, 2]", 50, 40, 60, bar=True)
    root = drawing(plot_svg(Figure(hostile, "%", [], [Group(hostile, "", None, [row])])))
    assert not list(root.iter(f"{SVG}script"))
    curve = Curve(hostile, 0, "0,0 1000,1000", None, "", "")
    root = drawing(panel_svg(Panel(hostile, [], [], [curve], 0), [hostile, "b"]))
    assert "<script>alert(1)</script> &  ]]>" in [one.text for one in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("5 % of $x_1 & #2 {a}~^", r"5 \% of \$x\_1 \& \#2 \{a\}\textasciitilde{}\textasciicircum{}"),
        ("a\\b <c> |d|", r"a\textbackslash{}b \textless{}c\textgreater{} \textbar{}d\textbar{}"),
        ("−1.3 → 2\u00a0× 3", r"$-$1.3 $\rightarrow$ 2~$\times$ 3"),
        ("two\nlines\x00", "two lines"),
    ],
)
def test_latex_prints_text_as_it_is(text: str, tex: str) -> None:
    assert escaped(text) == tex


def test_latex_tables_have_a_cell_for_every_column(study: tuple[Path, Findings]) -> None:
    for table in study_tables(study[1]):
        text = latex(table)
        columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
        assert columns
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 1 + len(table.rows)
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(columns[1]) - 1
        assert text.count("{") == text.count("}")
        for environment in ("table", "tabular"):
            assert text.count(f"\\begin{{{environment}}}") == text.count(f"\\end{{{environment}}}") == 1
        assert not re.search(r"(?<!\\)[%#]", "\n".join(text.splitlines()[1:]))


def test_a_row_that_begins_with_a_bracket_is_no_argument() -> None:
    text = latex(Table(name="t", caption="", columns=["a"], rows=[["[1, 2]"], ["[3, 4]"]]))
    assert r"{}[3, 4] \\" in text


def test_csv_has_every_digit_of_the_findings(study: tuple[Path, Findings]) -> None:
    folder, findings = study
    rows = list(csv.DictReader((folder / "tables" / "scores.csv").open(encoding="utf-8")))
    assert [float(row["estimate"]) for row in rows] == [one["estimate"] for one in findings["scores"]]
    rows = list(csv.DictReader((folder / "tables" / "comparisons.csv").open(encoding="utf-8")))
    assert [row["gained"].split() for row in rows] == [one["gained"] for one in findings["comparisons"]]
    assert {row["kind"] for row in rows} == {"primary", "confirmatory", "exploratory"}


def test_csv_keeps_commas_quotes_and_what_is_not_known() -> None:
    table = Table(name="t", caption="", columns=["a"], rows=[], records=[{"a": 'x, "y"\nz', "b": None}])
    assert list(csv.reader(io.StringIO(comma_separated(table)))) == [["a", "b"], ['x, "y"\nz', ""]]


def test_the_papers_figures_never_stand_without_what_must_be_said(study: tuple[Path, Findings]) -> None:
    text = (study[0] / "tables" / "paper.tex").read_text("utf-8")
    assert "3,671 MB" in text
    assert "158 problems of MultiPL-E" in text
    assert "the maximum over unstated runs" in text


def test_a_run_exports_its_own(fake: tuple[Path, Summary], tmp_path: Path) -> None:
    run, summary = fake
    paths = write_run_exports(run, summary, tmp_path)
    assert all(path.stat().st_size for path in paths)
    names = {path.name for path in paths}
    assert {"scores.svg", "training-gradient-norm.svg", "spectrum-a.svg"} <= names
    assert {"scores.tex", "comparisons.csv", "cost.tex", "published.tex"} <= names
    for path in paths:
        if path.suffix == ".svg":
            drawing(path.read_text("utf-8"))
    assert "158 problems of MultiPL-E" in (tmp_path / "tables" / "published.tex").read_text("utf-8")
    rows = list(csv.DictReader((tmp_path / "tables" / "scores.csv").open(encoding="utf-8")))
    assert len(rows) == len(summary["scores"])
