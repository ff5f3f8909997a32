"""Lua: MultiPL-E's tests use luaunit, whose number of failures is the exit code; the verdict is the exit code."""

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
    lua = find_tool("lua5.4", "lua")
    return Toolchain(tool_version(lua, "-l", "luaunit", "-v"), {"lua": lua})


LANGUAGE = Language(
    code="lua",
    name="Lua",
    extension="lua",
    probe=probe,
    install="apt-get install lua5.4 lua-unit",
    run=lambda toolchain, _: [toolchain.tools["lua"], "program.lua"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.ADDRESS_SPACE,
    memory_error=re.compile(r"not enough memory"),
    judge=by_exit_code,
    known_good="""\
lu = require('luaunit')
function test_humaneval()
    lu.assertEquals({1, {a = 2}}, {1, {a = 2}})
end
os.exit(lu.LuaUnit.run())
""",
    known_bad="""\
lu = require('luaunit')
function test_humaneval()
    lu.assertEquals({1, 2}, {2, 1})
end
os.exit(lu.LuaUnit.run())
""",
)
