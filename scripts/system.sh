#!/bin/sh
# System packages that running generated programs needs: bubblewrap (the sandbox) and the toolchains that are light.
#   sh scripts/system.sh        Python, Java, C++, JavaScript, TypeScript, PHP, Bash, Lua, Ruby, Perl
#   sh scripts/system.sh all    C#, Go, Rust, R, Racket, Scala and D too, 1.9 GB
# As root on Debian or Ubuntu, missing ones are installed; otherwise this says what to install, and stops.
set -eu

# Programs see no other folders; a tool elsewhere is as good as missing.
callers_path=$PATH
programs_path=/usr/local/bin:/usr/bin:/bin
PATH=$programs_path
missing=""

# need PACKAGES COMMAND...: the packages are missing unless the command is there and succeeds.
need() {
    packages=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $packages"
}

need bubblewrap command -v bwrap
need libseccomp2 env PATH="$callers_path" python3 -c "import ctypes; ctypes.CDLL('libseccomp.so.2')"
need default-jdk-headless command -v javac
need libjavatuples-java test -e /usr/share/java/javatuples.jar
need python3 test -x /usr/bin/python3
need "g++" command -v g++
need mold command -v mold # links C++ and Rust sooner
need nodejs command -v node
need php-cli command -v php
need lua5.4 command -v lua5.4
need lua-unit lua5.4 -l luaunit -e ""
need ruby command -v ruby
need ruby-test-unit ruby -e "require 'test/unit/version'"
need libtest-deep-perl perl -MTest::Deep -e ""
command -v tsc >/dev/null || need npm command -v npm

if [ "${1:-}" = all ]; then
    need mono-mcs command -v mcs
    need mono-runtime command -v mono
    need libmono-system-core4.0-cil test -e /usr/lib/mono/4.5/System.Core.dll
    need libmono-system-numerics4.0-cil test -e /usr/lib/mono/4.5/System.Numerics.dll
    need libboost-dev test -e /usr/include/boost/any.hpp # HumanEval-X
    need golang-go command -v go
    need golang-github-stretchr-testify-dev test -d /usr/share/gocode/src/github.com/stretchr/testify # HumanEval-X
    need rustc command -v rustc
    need r-base-core command -v Rscript
    need racket command -v racket
    need scala command -v scalac
    need ldc command -v ldmd2
fi

# Made by the Python that the caller has, wherever it is.
need python3-venv env PATH="$callers_path" python3 -c "import ensurepip"
typescript=""
command -v tsc >/dev/null || typescript="npm install --global typescript@5.9"
[ -n "$missing$typescript" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Missing:$missing (Debian's names)${typescript:+, and \`$typescript\`}." >&2
    echo "Install what your system calls these, and run make again." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing system packages. Install them, and run make again:" >&2
    [ -z "$missing" ] || echo "    sudo apt-get install$missing" >&2
    [ -z "$typescript" ] || echo "    sudo $typescript" >&2
    exit 1
fi
if [ -n "$missing" ]; then
    echo "installing$missing"
    export PATH="$callers_path:/usr/sbin:/sbin"
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if [ -n "$typescript" ]; then
    echo "installing typescript"
    PATH=$programs_path $typescript >/dev/null
fi
