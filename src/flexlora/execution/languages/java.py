"""Java: `javac`, then `java -ea`; MultiPL-E's verdict is the exit code, and a failed or slow compile is a SyntaxError.

javatuples (MultiPL-E's `Pair`, `Triplet`) is on both class paths; a harness that drops it from the run fails up to
8 problems that are right.
"""

from __future__ import annotations

import re
from pathlib import Path

from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    ToolchainMissing,
    Warm,
    by_exit_code,
    find_tool,
    inside,
    tool_version,
    warm_folder,
)

JAVATUPLES = "/usr/share/java/javatuples.jar"
HEAP = "-Xmx1g"
# Serial collector and a fixed processor count: the number of JVM threads, and so the process limit that a program
# meets, does not grow with the machine. PerfData is a file for tools that nobody runs here.
# The JVM's own complaints, its crash report too, go to standard error, where memory that ran out is looked for.
JVM = [
    "-XX:+UseSerialGC",
    "-XX:ActiveProcessorCount=2",
    "-XX:-UsePerfData",
    "-XX:+DisplayVMOutputToStderr",
    "-XX:+ErrorFileToStderr",
]
MEMORY_ERROR = re.compile(
    r'^(Exception in thread ".*" |Caused by: )?java\.lang\.OutOfMemoryError'
    "|insufficient memory for the Java Runtime Environment|Could not reserve enough space for",
    re.MULTILINE,
)

NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?(?:\*/|\Z)|"""(?:\\.|[^\\])*?(?:"""|\Z)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL
)
TOP_LEVEL = re.compile(
    r"[{}]|(?P<public>\bpublic\s+(?:(?:abstract|final|sealed|non-sealed|strictfp|static)\s+)*)?"
    r"\b(?:class|interface|enum|record)\s+(?P<name>[^\W\d]\w*)"
    r"|(?P<main>\bstatic\s+(?:(?:public|final|synchronized|strictfp)\s+)*void\s+main\b)"
)
PACKAGE = re.compile(r"\A\s*package\s+(\w+(?:\s*\.\s*\w+)*)\s*;")


def probe() -> Toolchain:
    tools = {name: find_tool(name) for name in ("javac", "java")}
    if not Path(JAVATUPLES).exists():
        raise ToolchainMissing(f"{JAVATUPLES} is missing")
    return Toolchain(tool_version(tools["javac"], "-version"), tools)


def class_names(source: str) -> tuple[str, str]:
    """(name that the file must have, class to start).

    The file is named after its public type, as javac demands. The class to start is `Problem` where there is one
    (MultiPL-E's tests are in it), else the last top-level class opened before `static void main`; with its package.
    """
    code = NOT_CODE.sub(" ", source)
    names: list[str] = []
    depth, public, main = 0, None, None
    for match in TOP_LEVEL.finditer(code):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
        elif match["main"]:
            main = main or (names[-1] if names else None)
        elif depth == 0:
            names.append(match["name"])
            if match["public"] and public is None:
                public = match["name"]
    start = "Problem" if "Problem" in names else main or public or "Main"
    package = PACKAGE.match(code)
    prefix = "".join(package[1].split()) + "." if package else ""
    return _file_safe(public or start), prefix + _file_safe(start)


def _file_safe(name: str) -> str:
    # A file name may have 255 bytes; a class with a longer name is javac's to refuse.
    return name if len(name.encode()) < 200 else "Main"


OPTIONS = ("-proc:none", "-d", ".", "-encoding", "UTF8", "-cp", JAVATUPLES)
"""Of javac; a program brings no annotation processor."""
# Most programs are over before optimising pays. One that the slower code makes late is run again with none of these.
START_FAST = ("-XX:TieredStopAtLevel=1", "-XX:CompileThresholdScaling=4")
MAIN = "flexlora_inside.FlexloraMain"
COMPILER_API = "jdk.compiler/com.sun.tools.javac.api=ALL-UNNAMED"


def run(toolchain: Toolchain, source: str, *flags: str) -> list[str]:
    java = (toolchain.tools["java"], "-ea", *JVM, HEAP, *flags)
    return [*java, "-cp", f"{warm_folder('java')}:/scratch:{JAVATUPLES}", MAIN, class_names(source)[1]]


LANGUAGE = Language(
    code="java",
    name="Java",
    extension="java",
    probe=probe,
    install="apt-get install default-jdk-headless libjavatuples-java",
    stem=lambda source: class_names(source)[0],
    compile=lambda toolchain, source: [
        toolchain.tools["javac"],
        *(f"-J{flag}" for flag in (*JVM, HEAP)),
        *OPTIONS,
        *(inside("FlexloraMain.java"), f"{class_names(source)[0]}.java"),
    ],
    run=run,
    proves_end=True,
    warm=Warm(
        sources=("ResidentCompiler.java", "../inside/FlexloraMain.java"),
        build=lambda toolchain: [
            [toolchain.tools["javac"], "--add-exports", COMPILER_API, "-Xlint:-options", "ResidentCompiler.java"],
            [toolchain.tools["javac"], "-d", ".", "FlexloraMain.java"],
        ],
        compiler=lambda toolchain: [
            *(toolchain.tools["java"], *JVM, HEAP, "-XX:TieredStopAtLevel=1", "--add-exports", COMPILER_API),
            *("-cp", warm_folder("java"), "ResidentCompiler", *OPTIONS),
        ],
        run=lambda toolchain, source: run(toolchain, source, *START_FAST),
    ),
    memory_bytes=2 << 30,  # the heap, and as much again for the JVM's own needs
    memory_limit=MemoryLimit.DATA,
    memory_error=MEMORY_ERROR,
    judge=by_exit_code,
    known_good="""\
import org.javatuples.*;
class Problem {
    public static void main(String[] args) {
        assert Pair.with(1, 2).getValue1() == 2;
    }
}
""",
    known_bad="""\
class Problem {
    public static void main(String[] args) {
        assert args.length == 1;
    }
}
""",
)
