import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import Opened
from fake_run import HOSTILE, make_run

from flexlora.errors import UsageError
from flexlora.evaluation import Summary
from flexlora.evaluation.trainings import parameters_of
from flexlora.files import write_json
from flexlora.report import browser as browser_module
from flexlora.report import write_report
from flexlora.report.audits import audits
from flexlora.report.browser import to_inert_json
from flexlora.report.cost import program_costs
from flexlora.report.words import side_name

Fake = tuple[Path, Summary]
Dump = Callable[[Path, str], str]
Open = Callable[[Path, str], Opened]


class Page(HTMLParser):
    """Every tag with its attributes, and the text of the data block."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._in_data = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_data = dict(attrs).get("id") == "data"

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data


def read(run: Path) -> Page:
    return Page((run / "report.html").read_text("utf-8"))


def test_no_tag_points_outside_the_page(fake: Fake) -> None:
    page = read(fake[0])
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "action")]
    assert links
    assert all(str(link).startswith("#") for link in links)
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "base"}
    text = (fake[0] / "report.html").read_text("utf-8")
    assert "@import" not in text
    assert "url(" not in text


def test_hostile_strings_make_no_tags_and_survive_in_the_data(fake: Fake) -> None:
    page = read(fake[0])
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    completions = {sample["id"]: sample["completion"] for sample in json.loads(page.data)["samples"]}
    for number, hostile in enumerate(HOSTILE):
        assert hostile.replace("\ud800", "\ufffd") in completions[f"HumanEval/{number}"]


def test_inert_json_has_no_markup_characters_and_is_the_same_value() -> None:
    text = to_inert_json(HOSTILE)
    assert not set("<>&") & set(text)
    assert json.loads(text) == list(HOSTILE)


def test_the_policy_allows_exactly_the_inlined_script_and_style(fake: Fake) -> None:
    html = (fake[0] / "report.html").read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    assert "unsafe" not in policy[1]
    assert policy[1].count("sha256-") == 2
    assert not re.search(r"\sstyle=", html)  # attributes would need a looser policy


def test_every_section_and_every_metric_is_there(fake: Fake) -> None:
    html = (fake[0] / "report.html").read_text("utf-8")
    for section in ("verdict", "scores", "differences", "training", "samples", "provenance"):
        assert f'<section id="{section}"' in html
    for title in (
        "Training loss",
        "Validation loss",
        "Penalty value",
        "High-frequency share",
        "Gradient norm",
    ):
        assert title in html
    assert "No training was logged for: unlogged" in html
    assert "2 logged values are not finite" in html
    assert "3,671 MB" in html
    assert "158 problems of MultiPL-E" in html


def test_left_out_samples_are_counted_and_flipped_ones_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "MOST_SAMPLES", 100)
    summary, prompts = make_run(tmp_path, problems=40)
    write_report(tmp_path, summary, prompts)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "380 of 480 samples are left out" in html
    assert "all flipped ones are here" in html
    data = json.loads(Page(html).data)
    shown = {
        (data["entries"][s["entry"]]["side"], data["entries"][s["entry"]]["task"], s["id"]) for s in data["samples"]
    }
    for one in summary["comparisons"]:
        for task_id in one["gained"] + one["lost"]:
            assert (side_name(one), one["task"], task_id) in shown
    assert len({s["entry"] for s in data["samples"]}) == 12


def test_long_texts_are_cut_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "MOST_CHARACTERS", 20)
    summary, prompts = make_run(tmp_path, problems=5)
    write_report(tmp_path, summary, prompts)
    assert "more characters in the run" in read(tmp_path).data


def test_a_run_without_arms_logs_or_prompts_renders(tmp_path: Path) -> None:
    summary, _ = make_run(tmp_path, problems=5)
    for log in tmp_path.glob("*/train/log.jsonl"):
        log.unlink()
    summary["scores"] = [score for score in summary["scores"] if score["variant"] == "base"]
    summary["comparisons"] = []
    write_report(tmp_path, summary, {})
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "Nothing was compared" in html
    assert 'id="training"' not in html
    assert "1 problem<" not in html


def test_several_k_give_a_table_and_a_plot_each(tmp_path: Path) -> None:
    summary, prompts = make_run(tmp_path, samples=2, ks=(1, 2), problems=6)
    write_report(tmp_path, summary, prompts)
    html = (tmp_path / "report.html").read_text("utf-8")
    for k in (1, 2):
        assert f"pass@{k} in %" in html
        assert f"pass@{k} against base" in html


def test_every_flipped_problem_has_both_its_programs(fake: Fake) -> None:
    data = json.loads(read(fake[0]).data)
    expected = {
        f"{side_name(one)} against {side_name(one['against'])}, {one['task']}": one["gained"] + one["lost"]
        for one in fake[1]["comparisons"]
        if one["gained"] + one["lost"]
    }
    assert {flip["name"]: [pair["id"] for pair in flip["pairs"]] for flip in data["flips"]} == expected
    for flip in data["flips"]:
        side, against = flip["name"].rpartition(", ")[0].split(" against ")
        for pair in flip["pairs"]:
            left, right = data["samples"][pair["left"]], data["samples"][pair["right"]]
            assert [data["entries"][sample["entry"]]["side"] for sample in (left, right)] == [against, side]
            passed = (left["status"] == "OK", right["status"] == "OK")
            assert passed == ((False, True) if pair["kind"] == "gained" else (True, False))


def test_flips_of_several_samples_show_one_that_flipped(tmp_path: Path) -> None:
    summary, prompts = make_run(tmp_path, samples=3, ks=(1, 3), problems=12)
    write_report(tmp_path, summary, prompts)
    data = json.loads(read(tmp_path).data)
    pairs = [pair for flip in data["flips"] for pair in flip["pairs"]]
    assert pairs
    for pair in pairs:
        winner, loser = (pair["right"], pair["left"]) if pair["kind"] == "gained" else (pair["left"], pair["right"])
        assert data["samples"][winner]["status"] == "OK"
        assert data["samples"][loser]["status"] != "OK"


def test_cost_counts_programs_and_trained_values(fake: Fake, tmp_path: Path) -> None:
    costs = {one.name: one for one in program_costs(*fake)}
    assert costs["base"].programs == 164 + 158
    assert costs["base"].cpu_s == pytest.approx(0.1 * (164 + 158))
    header = json.dumps({"a": {"shape": [8, 64]}, "b": {"shape": [32, 8]}, "__metadata__": {}}).encode()
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    assert parameters_of(tmp_path) == 8 * 64 + 32 * 8
    for damaged in (
        header,
        header[:3],
        b"",
        (2).to_bytes(8, "little") + b"[]",
        (8).to_bytes(8, "little") + b'{"a": 1}',
    ):
        weights.write_bytes(damaged)
        assert parameters_of(tmp_path) is None
    assert parameters_of(tmp_path / "none") is None


def test_a_run_is_cited_with_version_and_hash(fake: Fake) -> None:
    html = (fake[0] / "report.html").read_text("utf-8")
    entry = html[html.index("@misc{flex-run-") :]
    assert "demo \\textless{}b\\textgreater{}run\\textless{}/b\\textgreater{}" in entry
    assert re.search(r"SHA-256 of its summary.json: [0-9a-f]{64}", entry)


def test_the_audit_of_a_merge_is_shown_where_there_is_one(tmp_path: Path) -> None:
    summary, prompts = make_run(tmp_path, problems=5)
    write_report(tmp_path, summary, prompts)
    assert 'id="merge"' not in (tmp_path / "report.html").read_text("utf-8")
    update = {"relative_error": 0.08, "kept": 0.97, "read_error": 0.05, "unchanged": 0.4, "overflow": 0}
    said = {"logit_rms": 0.1, "next_token": 0.02, "answers": 0.03}
    rows = [
        {"dtype": dtype, "rounding": rounding, "update": update, "disagreement": said, "modules": {"q": update}}
        for dtype in ("float32", "bfloat16")
        for rounding in ("nearest", "calibrated")
    ]
    rows.append({**rows[0], "dtype": "float16", "update": {**update, "overflow": 7}, "disagreement": None})
    audit = {"dtype": "bfloat16", "rounding": "nearest", "notes": [HOSTILE[0]], "rows": rows}
    audit["adapter_effect"] = {"logit_rms": 1.0, "next_token": 0.5}
    write_json(tmp_path / "fourier" / "merged" / "merge_audit.json", audit)
    write_report(tmp_path, summary, prompts)
    html = (tmp_path / "report.html").read_text("utf-8")
    section = html[html.index('<section id="merge"') : html.index('<section id="cost"')]
    assert "<code>fourier/merged</code>" in section
    assert section.count("<tr") == 1 + 5
    assert section.count('<tr class="chosen"><th scope="row">bfloat16</th><td class="number">nearest') == 1
    assert "7 weights too large" in section
    assert "merging it in bfloat16 errs by 8.0 % of its update" in section
    write_json(tmp_path / "fourier" / "merged" / "merge_audit.json", {"rows": 1})
    with pytest.raises(UsageError, match=r"fourier/merged/merge_audit\.json: not an audit"):
        audits(tmp_path)


def test_a_run_opens_in_a_browser_without_errors_or_requests(fake: Fake, open_page: Open) -> None:
    run, summary = fake
    chosen = next(one for one in summary["comparisons"] if len(one["lost"]) > 1)
    flips = [flip["name"] for flip in json.loads(read(run).data)["flips"]]
    name = f"{side_name(chosen)} against {side_name(chosen['against'])}, {chosen['task']}"
    opened = open_page(run / "report.html", f"#comparison={flips.index(name)}&problem={chosen['lost'][1]}")
    assert opened.console == []
    assert opened.requests == []
    assert f">Problem {len(chosen['gained']) + 2} of {len(chosen['gained'] + chosen['lost'])}<" in opened.dom
    place = opened.dom[opened.dom.index('<div id="flip">') : opened.dom.index("<noscript>")]
    statuses = re.findall(r'class="status \w+">(\w+)<', place)
    assert statuses[0] == "OK"
    assert statuses[1] != "OK"
    assert "Standard error of" in place
    assert f"{len(json.loads(read(run).data)['samples']):,} samples, page 1 of" in opened.dom


def test_deep_links_filter_in_a_browser(fake: Fake, dump_dom: Dump) -> None:
    run, summary = fake
    dom = dump_dom(run / "report.html", "#task=humaneval&variant=base&status=Exception")
    count = summary["scores"][0]["statuses"]["Exception"]
    assert f">{count} of 1,932 samples, page 1 of" in dom
    listed = dom[dom.index('id="list"') :]
    assert set(re.findall(r'class="status \w+">(\w+)<', listed)) == {"Exception"}
    assert set(re.findall(r'class="where">([^<]+)<', listed)) == {"base · humaneval"}


def test_flipped_only_and_one_problem_in_a_browser(fake: Fake, dump_dom: Dump) -> None:
    run, summary = fake
    chosen = next(one for one in summary["comparisons"] if one["gained"] and one["arm"])
    side = side_name(chosen)
    assert chosen["against"]["variant"] == "base"
    dom = dump_dom(run / "report.html", f"#variant={side}&task={chosen['task']}&flip=gained")
    assert len(re.findall(r'<details class="sample"', dom)) >= len(chosen["gained"])
    dom = dump_dom(run / "report.html", "#q=id:HumanEval/1")
    assert re.findall(r'class="id">([^<]+)<', dom) == ["HumanEval/1"] * 6
    assert "No sample matches" in dump_dom(run / "report.html", "#status=Nonsense")


def test_hostile_strings_do_not_run_in_a_browser(fake: Fake, dump_dom: Dump) -> None:
    dom = dump_dom(fake[0] / "report.html", "#open=1&task=humaneval&variant=base")
    assert "<title>demo &lt;b&gt;run&lt;/b&gt; · FLeX report</title>" in dom
    listed = dom[dom.index('id="list"') : dom.rindex("<noscript>")]
    assert "&lt;img src=x onerror=" in listed  # drawn, as text
    assert "<img" not in listed
    assert "<script" not in listed
