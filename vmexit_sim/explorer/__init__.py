"""The explorer: a page on this machine where a person moves what decides a verdict, and sees it move.

::

    query ──► State ──► scenario ──► Exploration ──► Answer ──► page
    (URL)     (checked)  (data, TOML)  (replications)   (tables, bars, dots)

A state is what a person chose, and stands in the page's address. It means one scenario, which the
page exports: what `compare` says of that file is what the page says. Which guests there are, and
what can be moved in each, is data: ``guests.toml``.
"""  # noqa: E501
