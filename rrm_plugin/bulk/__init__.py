"""Files of groups, scored into files of rows: one file in this process, or any number of them on a Ray cluster.

    ranking   rows in, rows out, in order; what every run of `rrm rank` does
    sources   which files there are, how they are cut into parts, and how a part is read
    folder    the output of a bulk run: what was planned, what is finished, and how a file comes to its place
    replica   one judge of several, which scores parts
    cluster   the judges as actors of Ray, and who scores what

The last four are for `rrm rank --ray`. Ray is imported by `cluster` alone, and pyarrow by `sources` and `folder`, both
where they are used.
"""
