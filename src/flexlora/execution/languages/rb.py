"""Ruby: `ruby`; MultiPL-E's tests use test-unit, which sets the exit code that is the verdict."""

from __future__ import annotations

import re

from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    by_exit_code,
    find_tool,
    tool_version,
)


def probe() -> Toolchain:
    ruby = find_tool("ruby")
    version = tool_version(ruby, "-e", "require 'test/unit/version'; puts RUBY_VERSION")
    return Toolchain(version, {"ruby": ruby})


LANGUAGE = Language(
    code="rb",
    name="Ruby",
    extension="rb",
    probe=probe,
    install="apt-get install ruby ruby-test-unit",
    run=lambda toolchain, _: [toolchain.tools["ruby"], "program.rb"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.ADDRESS_SPACE,
    memory_error=re.compile(r"NoMemoryError|\[FATAL\] failed to allocate memory"),
    judge=by_exit_code,
    known_good="""\
require 'test/unit'
class TestHumanEval < Test::Unit::TestCase
  def test_sort
    assert_equal([1, 2, 3], [3, 1, 2].sort)
  end
end
""",
    known_bad="""\
require 'test/unit'
class TestHumanEval < Test::Unit::TestCase
  def test_sort
    assert_equal([3, 2, 1], [3, 1, 2].sort)
  end
end
""",
)
