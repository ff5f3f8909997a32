"""Studies: many runs of one recipe, over arms, grids and seeds, and what they show together.

schema      a study's YAML
cells       its cells: each an ordinary run of one arm at one grid point with one seed
reading     the verdicts of its cells, checked to be of one kind
results     all of them in one compact file
statistics  scores and differences over seeds and problems
fronts      what trade-off curves enclose
comparing   its scores and comparisons; tradeoffs, its curves; measures, its costs and a paper's figures
analysis    all of it, from a folder
findings    what `study.json` holds
search      another thing: trials of drawn values, judged on validation problems only
"""
