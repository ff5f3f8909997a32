"""Scala: `scalac`, then `scala`; OK needs exit code 0 and nothing on standard error."""

from __future__ import annotations

from flexlora.execution.languages.java import HEAP, JVM, MEMORY_ERROR
from flexlora.execution.languages.language import Language, MemoryLimit, Toolchain, by_silence, find_tool, tool_version


def probe() -> Toolchain:
    tools = {name: find_tool(name) for name in ("scalac", "scala")}
    return Toolchain(tool_version(tools["scalac"], "-version"), tools)


LANGUAGE = Language(
    code="scala",
    name="Scala",
    extension="scala",
    probe=probe,
    install="apt-get install scala",
    compile=lambda toolchain, _: [toolchain.tools["scalac"], "-encoding", "UTF8", "-d", ".", "program.scala"],
    run=lambda toolchain, _: [toolchain.tools["scala"], "-cp", ".", "Problem"],
    environment={"JAVA_OPTS": " ".join((*JVM, HEAP, "-XX:TieredStopAtLevel=1"))},
    compile_timeout_s=45.0,
    memory_bytes=2 << 30,
    memory_limit=MemoryLimit.DATA,
    memory_error=MEMORY_ERROR,
    judge=by_silence,
    known_good="""\
import scala.collection.mutable._
object Problem {
    def main(args: Array[String]) = {
    assert(List[Long](3l, 1l, 2l).sorted.equals(List[Long](1l, 2l, 3l)));
    }
}
""",
    known_bad="""\
object Problem {
    def main(args: Array[String]) = {
    assert(1 + 1 == 3);
    }
}
""",
)
