"""Calibration: a platform's costs from measurements of the user's own host.

::

    perf kvm stat report ─┐                                        ┌─► fits
    kvm-unit-tests log   ─┼─► measurements ─► observations ─► costs ─┼─► a platform's TOML file
    KVM trace events     ─┘   (n, interval)   (which costs     │     └─► what is not identified
                                               each sums)     base

`measurement` holds what was measured, `perf_stat`, `unit_tests` and `kvm_events` read it,
`observations` says which costs each is the sum of, `decompose` solves for them and says what it
could not, `fit` finds distributions, `calibrate` does all of it, and `platform_file` writes the
result. `perf_text` prints a simulated run so that it can be read back.

The rule throughout: a cost is measured, shares a measured sum in the proportions of a base
platform, or is the base's; which of them is said of every cost.
"""
