"""The command line: parse, call, render. One module a command; ``app`` is the contents page."""
