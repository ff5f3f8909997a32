"""Studies: many runs of one recipe, over arms, grids and seeds, and what they show together.

schema      a study's YAML
cells       its cells: each an ordinary run of one arm at one grid point with one seed
statistics  differences over seeds and problems
findings    what `study.json` holds
search      another thing: trials of drawn values, judged on validation problems only
"""
