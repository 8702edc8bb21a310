"""`gaia doctor`: what of GAIA and of the machine below it is not as it should be, and the command that mends it.

Each module has the checks of one group; `examination` runs them. A fact that somebody else looks at already (the
health of environments, Django's system checks, what was left behind) is asked of them, not looked at a second time.
"""
