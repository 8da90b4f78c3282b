"""Simulated judges and groups whose truth is known, to compare ways of spending judge calls.

`judges` makes groups and verdicts, `fitting` takes a judge from recorded verdicts, `plays` has real schedules judged,
`rivals` holds other projects' ways to a reward, rebuilt from their descriptions. No real judge is asked anything.
"""
