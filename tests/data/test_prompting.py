from pathlib import Path

import pytest

from flexlora.data.multipl_e import LANGUAGES
from flexlora.data.prompting import prompted
from flexlora.data.syntax import SYNTAX, function_to_write
from flexlora.data.tasks import load_problems
from flexlora.errors import UsageError
from flexlora.evaluation.formats.completions import Completions
from flexlora.execution.languages import LANGUAGES as EXECUTED
from flexlora.files import append_jsonl
from flexlora.recipe import Task


def test_every_language_that_is_executed_has_a_syntax() -> None:
    assert SYNTAX.keys() == EXECUTED.keys() == {"py", *LANGUAGES}


def test_a_plan_begins_as_a_comment_in_the_function_in_prompt_and_program(benchmark: Path) -> None:
    problem = load_problems(Task(name="humaneval"), benchmark, "plan")[0][0]
    assert problem.prompt.endswith('"""Double x."""\n    # Plan, step by step:\n    # 1.')
    assert problem.prompt_style == "verbatim+plan"
    program = problem.program(" Multiply by two.\n    return 2 * x\n\nprint(1)")
    assert "    # 1. Multiply by two.\n    return 2 * x\n" in program
    assert "print(1)" not in program
    compile(program, "program", "exec")

    java = load_problems(Task(name="multipl-e/humaneval/java"), benchmark, "plan")[0][0]
    assert java.prompt.endswith("long twice(long x) {\n        // Plan, step by step:\n        // 1.")
    three_shot = load_problems(Task(name="mbpp", prompt_style="three-shot"), benchmark, "plan")[0][0]
    assert three_shot.prompt.endswith("[BEGIN]\n# Plan, step by step:\n# 1.")
    assert three_shot.program(" Add.\ndef f(x):\n    pass").startswith("# Plan, step by step:\n# 1. Add.\ndef f(x)")


@pytest.mark.parametrize("language", ["py", *LANGUAGES])
def test_the_function_to_write_is_known_in_every_problem_of_every_language(language: str, data_dir: Path) -> None:
    name = "humaneval" if language == "py" else f"multipl-e/humaneval/{language}"
    problems = load_problems(Task(name=name), data_dir)[0]
    comment = SYNTAX[language].comment
    for problem in problems:
        function = function_to_write(language, problem.prefix)
        assert function is not None
        assert function in problem.prefix.rstrip().split("\n")[-1] or language in ("py", "pl", "d")
        plan = prompted(problem, "plan").prompt.split("\n")[-2:]
        assert [line.strip() for line in plan] == [f"{comment} Plan, step by step:", f"{comment} 1."]
        assert all(line.startswith(" " * 4) for line in plan)
        # No stop token of the benchmark ends the plan as it is begun.
        assert not any(stop in "\n" + "\n".join(plan) for stop in problem.stop_tokens)
    question = prompted(problems[0], "chat").prompt
    assert question.startswith(f"Complete this {SYNTAX[language].name} function.")
    assert f"\n```{SYNTAX[language].tags[0]}\n" in question


def test_chat_has_no_stop_tokens_and_the_plain_style_changes_nothing(benchmark: Path) -> None:
    task = Task(name="humaneval")
    plain, asked = (load_problems(task, benchmark, style)[0][0] for style in ("plain", "chat-plan"))
    assert plain == load_problems(task, benchmark)[0][0]
    assert plain.ends == plain.stop_tokens
    assert asked.ends == ()
    assert asked.prompt_style == "verbatim+chat-plan"
    assert "plan" in asked.prompt
    with pytest.raises(UsageError, match="no style 'cot'; there are plain, plan, chat and chat-plan"):
        prompted(plain, "cot")


def test_samples_of_a_chat_are_scored_from_their_file_as_in_the_run(benchmark: Path, tmp_path: Path) -> None:
    answer = "Sure:\n```python\ndef double_0(x):\n    return 2 * x\n```"
    record = {"task_id": "HumanEval/0", "sample": 0, "completion": answer, "prompt_style": "verbatim+chat"}
    append_jsonl(tmp_path / "samples.jsonl", record)
    (program,) = Completions(tmp_path / "samples.jsonl", record, "humaneval", benchmark)
    problem = load_problems(Task(name="humaneval"), benchmark, "chat")[0][0]
    assert program.source == problem.program(answer)
