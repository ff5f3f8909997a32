"""Completions of MultiPL-E problems written by hand, right ones and one wrong one, by language and problem."""

from __future__ import annotations

ADD, INCREMENT, LARGEST_SMALLEST = (
    "HumanEval_53_add",
    "HumanEval_42_incr_list",
    "HumanEval_136_largest_smallest_integers",
)

RIGHT = {
    "d": {
        ADD: "{\n    return x + y;\n}\n\n",
        INCREMENT: "{\n    import std.algorithm, std.array;\n    return l.map!(x => x + 1).array;\n}\n\n",
        LARGEST_SMALLEST: (
            "{\n    Nullable!long a, b;\n    foreach (x; lst) {\n"
            "        if (x < 0 && (a.isNull || x > a.get)) a = x;\n"
            "        if (x > 0 && (b.isNull || x < b.get)) b = x;\n    }\n    return tuple(a, b);\n}\n\n"
        ),
    },
    "go": {
        ADD: "    return x + y\n}\n\nfunc main() {\n}\n",
        INCREMENT: "    for i := range l {\n        l[i]++\n    }\n    return l\n}\n",
        LARGEST_SMALLEST: (
            "    result := []interface{}{nil, nil}\n    for _, x := range lst {\n"
            "        if x < 0 && (result[0] == nil || x > result[0].(int)) {\n            result[0] = x\n        }\n"
            "        if x > 0 && (result[1] == nil || x < result[1].(int)) {\n            result[1] = x\n        }\n"
            "    }\n    return result\n}\n"
        ),
    },
    "lua": {
        ADD: "    return x + y\nend\n\nprint(add(1, 2))\n",
        INCREMENT: "    local r = {}\n    for i, x in ipairs(l) do r[i] = x + 1 end\n    return r\nend\n\n",
        LARGEST_SMALLEST: (
            "    local a, b\n    for _, x in ipairs(lst) do\n"
            "        if x < 0 and (a == nil or x > a) then a = x end\n"
            "        if x > 0 and (b == nil or x < b) then b = x end\n    end\n    return {a, b}\nend\n\n"
        ),
    },
    "pl": {
        ADD: "    return $x + $y;\n}\n\nprint add(1, 2);\n",
        INCREMENT: "    return [map { $_ + 1 } @$l];\n}\n\n",
        LARGEST_SMALLEST: (
            "    my ($s, $t);\n    for my $x (@$lst) {\n        $s = $x if $x < 0 && (!defined $s || $x > $s);\n"
            "        $t = $x if $x > 0 && (!defined $t || $x < $t);\n    }\n    return [$s, $t];\n}\n\n"
        ),
    },
    "r": {
        ADD: "    x + y\n}\n\n# add(1, 2)\n",
        INCREMENT: "    if (length(l) == 0) return(c())\n    l + 1\n}\n",
    },
    "rb": {
        ADD: "  x + y\nend\n\nputs add(1, 2)\n",
        INCREMENT: "  l.map { |x| x + 1 }\nend\n\n",
        LARGEST_SMALLEST: "  [lst.select(&:negative?).max, lst.select(&:positive?).min]\nend\n\n",
    },
    "rkt": {
        ADD: "  (+ x y))\n\n(define (other) 1)\n",
        INCREMENT: "  (map add1 l))\n",
        LARGEST_SMALLEST: (
            "  (define negatives (filter negative? lst))\n  (define positives (filter positive? lst))\n"
            "  (list (and (pair? negatives) (apply max negatives)) (and (pair? positives) (apply min positives))))\n"
        ),
    },
    "rs": {
        ADD: "    x + y\n}\n\nfn other() {\n}\n",
        INCREMENT: "    l.into_iter().map(|x| x + 1).collect()\n}\n",
        LARGEST_SMALLEST: (
            "    (lst.iter().filter(|x| **x < 0).max().cloned(), lst.iter().filter(|x| **x > 0).min().cloned())\n}\n"
        ),
    },
    "scala": {
        ADD: "        x + y\n    }\n    def other() = {\n    }\n",
        INCREMENT: "        l.map(_ + 1)\n    }\n",
    },
}

WRONG = {
    "d": "{\n    return x - y;\n}\n\n",
    "go": "    return x - y\n}\n",
    "lua": "    return x - y\nend\n",
    "pl": "    return $x - $y;\n}\n",
    "r": "    x - y\n}\n",
    "rb": "  x - y\nend\n",
    "rkt": "  (- x y))\n",
    "rs": "    x - y\n}\n",
    "scala": "        x - y\n    }\n",
}
"""Of ADD."""
