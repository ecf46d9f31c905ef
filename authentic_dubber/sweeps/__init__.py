"""Studies: a grid of settings, each answered over one evaluation set, and what their differences can tell."""
