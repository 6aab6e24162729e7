"""Measuring exits on this very host, through /dev/kvm, without a guest image.

::

    guests (machine code) ─► machine (VM, vCPU) ─► loop (compiled: KVM_RUN, a device)
                                                     │
    probes, composites ─► blocks (timed, paired) ────┘
         │
    worker (a child process) ◄─► children (time limits) ─► survey (everything, in rounds)
                                                             │
                              calibration of a platform ◄────┤────► validation of predictions

A survey gives measurements; `calibration` makes a platform's costs of them; `validation` predicts
with these costs, and the simulator, what composite guests take, and holds that against the host.
"""

from vmexit_sim.probe.calibration import Calibration, calibrate
from vmexit_sim.probe.host_platform import write_host
from vmexit_sim.probe.survey import Survey, survey
from vmexit_sim.probe.validation import Prediction, validate

__all__ = ["Calibration", "Prediction", "Survey", "calibrate", "survey", "validate", "write_host"]
