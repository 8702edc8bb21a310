"""`gaia VERB`: everything an operator does.

`__main__` parses; `fast` answers what only reads by asking the running console, without importing Django; the other
modules hold one room's verbs each and are imported when one of theirs is called.
"""
