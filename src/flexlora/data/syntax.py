"""What sources of a language look like, as far as prompts need to write and answers need to be read.

No parser: patterns that hold for code as people and models write it, one function at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A type, then the name, then its parameters; a line that ends in a semicolon is a call or a prototype.
TYPED = (
    r"^[ \t]*(?!(?:return|else|new|throw|using|import|package)\b)(?:[\w:<>\[\],.?*&]+[ \t]+)+[*&]*NAME[ \t]*\("
    r"(?![^\n]*;[ \t]*$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """One language."""

    name: str
    """As a model is told it."""
    tags: tuple[str, ...]
    """Words after the opening of a fenced block, in lower case; the first is the one that prompts use."""
    comment: str
    """What a line of comment begins with."""
    function: str
    """Pattern of the line that begins a function; NAME stands for its name."""
    closer: str
    """What the last line of a function begins with; empty where its end is seen by indentation alone."""
    top: str = ""
    """Pattern of lines that have to stand at the top of a file; empty where they may stand anywhere."""

    def definition(self, name: str) -> re.Pattern[str]:
        """Finds the line that begins the function of this name."""
        return re.compile(self.function.replace("NAME", rf"{re.escape(name)}\b"), re.MULTILINE)

    def any_definition(self) -> re.Pattern[str]:
        """Finds lines that begin a function; its name is the one group that matched."""
        return re.compile(self.function.replace("NAME", r"(\w+)"), re.MULTILINE)


SYNTAX = {
    "py": Syntax(
        name="Python",
        tags=("python", "py", "python3"),
        comment="#",
        function=r"^[ \t]*(?:async[ \t]+)?def[ \t]+NAME",
        closer="",
    ),
    "java": Syntax(
        name="Java", tags=("java",), comment="//", function=TYPED, closer="}", top=r"import\s+(?:static\s+)?[\w.*]+;"
    ),
    "cpp": Syntax(name="C++", tags=("cpp", "c++", "cc", "cxx"), comment="//", function=TYPED, closer="}"),
    "cs": Syntax(
        name="C#", tags=("csharp", "cs", "c#"), comment="//", function=TYPED, closer="}", top=r"using\s+[\w.= ]+;"
    ),
    "js": Syntax(
        name="JavaScript",
        tags=("javascript", "js", "node"),
        comment="//",
        function=r"^[ \t]*(?:export[ \t]+)?(?:(?:async[ \t]+)?function[ \t]*\*?[ \t]*NAME|(?:const|let|var)[ \t]+NAME"
        r"[ \t]*=[ \t]*(?:async[ \t]*)?(?:function|\(|\w+[ \t]*=>))",
        closer="}",
    ),
    "ts": Syntax(
        name="TypeScript",
        tags=("typescript", "ts"),
        comment="//",
        function=r"^[ \t]*(?:export[ \t]+)?(?:(?:async[ \t]+)?function[ \t]*\*?[ \t]*NAME|(?:const|let|var)[ \t]+NAME"
        r"[ \t]*(?::[^=\n]+)?=[ \t]*(?:async[ \t]*)?(?:function|\(|\w+[ \t]*=>))",
        closer="}",
    ),
    "php": Syntax(
        name="PHP", tags=("php",), comment="//", function=r"^[ \t]*(?:\w+[ \t]+)*function[ \t]+&?NAME", closer="}"
    ),
    "sh": Syntax(
        name="Bash",
        tags=("bash", "sh", "shell"),
        comment="#",
        function=r"^[ \t]*(?:function[ \t]+NAME|NAME[ \t]*\([ \t]*\))",
        closer="}",
    ),
    "go": Syntax(name="Go", tags=("go", "golang"), comment="//", function=r"^[ \t]*func[ \t]+NAME", closer="}"),
    "rs": Syntax(
        name="Rust", tags=("rust", "rs"), comment="//", function=r"^[ \t]*(?:pub[ \t]+)?fn[ \t]+NAME", closer="}"
    ),
    "rb": Syntax(
        name="Ruby", tags=("ruby", "rb"), comment="#", function=r"^[ \t]*def[ \t]+(?:self\.)?NAME", closer="end"
    ),
    "lua": Syntax(
        name="Lua",
        tags=("lua",),
        comment="--",
        function=r"^[ \t]*(?:local[ \t]+)?(?:function[ \t]+NAME|NAME[ \t]*=[ \t]*function\b)",
        closer="end",
    ),
    "pl": Syntax(name="Perl", tags=("perl", "pl"), comment="#", function=r"^[ \t]*sub[ \t]+NAME", closer="}"),
    "r": Syntax(name="R", tags=("r",), comment="#", function=r"^[ \t]*NAME[ \t]*(?:<-|=)[ \t]*function\b", closer="}"),
    "jl": Syntax(name="Julia", tags=("julia", "jl"), comment="#", function=r"^[ \t]*function[ \t]+NAME", closer="end"),
    "rkt": Syntax(
        name="Racket",
        tags=("racket", "rkt", "scheme"),
        comment=";",
        function=r"^[ \t]*\(define[ \t]+\(NAME",
        closer="",
    ),
    "scala": Syntax(
        name="Scala", tags=("scala",), comment="//", function=r"^[ \t]*(?:[\w@]+[ \t]+)*def[ \t]+NAME", closer="}"
    ),
    "d": Syntax(name="D", tags=("d", "dlang"), comment="//", function=TYPED, closer="}"),
    "swift": Syntax(
        name="Swift", tags=("swift",), comment="//", function=r"^[ \t]*(?:[\w@]+[ \t]+)*func[ \t]+NAME", closer="}"
    ),
}
"""By language code."""


def function_to_write(language: str, prefix: str) -> str | None:
    """The name of the last function that a text begins, which is the one to be written; None where there is none."""
    *_, last = [None, *SYNTAX[language].any_definition().finditer(prefix)]
    return None if last is None else next(name for name in last.groups() if name)


def signature_line(language: str, prefix: str) -> int | None:
    """Index of the line on which the last function of a text begins; None where there is none."""
    *_, last = [None, *SYNTAX[language].any_definition().finditer(prefix)]
    return None if last is None else prefix.count("\n", 0, last.start())


def indentation(line: str) -> int:
    """Columns before the first character, a tab being four."""
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())
