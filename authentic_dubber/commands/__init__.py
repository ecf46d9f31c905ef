"""The commands of `dub`, one file per group: parse, one call, print."""
