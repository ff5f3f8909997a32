"""How a problem is put to the model: as published, with a plan first, or as a question to an instruct model.

- `plain`: the benchmark's prompt, to be continued.
- `plan`: the same, and the beginning of a comment in the function: `# Plan, step by step:` and `# 1.`; the model goes
  on with the comment, then with the code. The plan is part of the program, so there is nothing to extract.
- `chat`: a question to an instruct model, put into its tokenizer's chat template. The answer is kept as it is; its
  code is found by `answers` and put in its place by `assembly`.
- `chat-plan`: the same, asking for a plan in words before the code.
"""

from __future__ import annotations

from dataclasses import replace

from flexlora.data.assembly import body_indentation
from flexlora.data.syntax import SYNTAX, function_to_write
from flexlora.data.types import Problem
from flexlora.errors import UsageError

PLAN = ("Plan, step by step:", "1.")
ASKED = "{name} code in one fenced block, without tests and without examples of its use."
WHOLE = f"Answer with the whole {ASKED}"
PLAN_FIRST = f"First write a short numbered plan in words, then the whole {ASKED}"


def prompted(problem: Problem, style: str) -> Problem:
    """The problem put to the model in a style, which its `prompt_style` then names.

    Raises:
        UsageError: there is no such style.
    """
    if style == "plain":
        return problem
    named = f"{problem.prompt_style}+{style}"
    if style == "plan":
        begun = _plan_begun(problem)
        return replace(
            problem,
            prompt=_on_a_new_line(problem.prompt, begun),
            prefix=_on_a_new_line(problem.prefix, begun),
            prompt_style=named,
        )
    if style in ("chat", "chat-plan"):
        return replace(problem, prompt=_question(problem, style), prompt_style=named, answer="chat")
    raise UsageError(f"prompting.style: no style {style!r}; there are plain, plan, chat and chat-plan.")


def _plan_begun(problem: Problem) -> str:
    indent = " " * body_indentation(problem.opening, problem.language)
    comment = SYNTAX[problem.language].comment
    return "\n".join(f"{indent}{comment} {line}" for line in PLAN)


def _on_a_new_line(text: str, addition: str) -> str:
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{addition}"


def _question(problem: Problem, style: str) -> str:
    syntax = SYNTAX[problem.language]
    how = (WHOLE if style == "chat" else PLAN_FIRST).format(name=syntax.name)
    if function_to_write(problem.language, problem.opening) is None:
        return f"Solve this problem in {syntax.name}. {how}\n\n{problem.prompt.strip()}"
    return f"Complete this {syntax.name} function. {how}\n\n```{syntax.tags[0]}\n{problem.prompt.rstrip()}\n```"
