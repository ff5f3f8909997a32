"""A search for settings by Optuna (extra `search`): trials that are ordinary runs, judged on validation problems only.

plan      what is searched, and by what trials are judged: `search.yaml`
space     the values that a trial draws
guard     refuses test problems, whatever a plan names
storage   trials that several workers share, and that a killed one leaves behind
trial     one trial: training, likelihood, programs
signals   source gain and target retention, with intervals
pruning   which trials are stopped early
budget    whether another trial is begun
work      what a worker does
processes workers as processes: their share of the machine, their end
running   the command: workers watched, and what is written at the end
findings  `search.json`: the front, the choice and what mattered
best      `best.yaml`, and `best-12.yaml` of a trial that is named
"""
