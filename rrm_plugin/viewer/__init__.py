"""A page to look at what a judge did: its ledger, in the browser.

    reading      what a page asks of a ledger, while others may write it
    summary      numbers over training steps, kept up to date
    searching    texts searched for a moment at a time
    played       one group as a tournament: standings, who met whom, rounds
    differences  two responses, word by word
    pages        HTML of all this, from templates that escape every text
    app          the pages over HTTP
    server       a server for this machine alone, for `rrm view`
    export       a run in one file

All judged text is hostile. It reaches a page only through autoescaping templates, and a content security policy lets
nothing run that does not come with the package. Left out: changing anything; a ledger is read.
"""
