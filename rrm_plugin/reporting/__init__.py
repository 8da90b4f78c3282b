"""What hosts and trackers are told of what was judged.

    lookout         metrics of a run, its alarms in the log, and the end of a run
    trainer_log     a batch, for a trainer's log
    outcomes        a response at a time, for hosts that take rewards like that
    match_tables    sampled matches, for the tables of a tracker

What the numbers are is told in `metrics/`. Left out: the service's counters (`service/counters.py`) and the ledger.
Nothing is imported here: rows need one of these modules, and another of them needs rows.
"""
